"""Tasks for tests of the executor: each does one thing that a task may do, and counts its runs."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from whence.errors import BadInput
from whence.runs.config import OutputConfig
from whence.runs.finding import Finding
from whence.runs.jsonfile import write_json
from whence.runs.store import open_run
from whence.sweep.layout import PLAN, TASKS, plan_folder
from whence.sweep.tasks import Task, write_tasks

HERE = "sweep_toy"


class ToyConfig(OutputConfig):
    not_identity: ClassVar[frozenset[str]] = frozenset({"seconds", "marks"})

    n: int = 0
    do: str = "double"
    seconds: float = 0.0
    marks: Path


@dataclass(frozen=True)
class ToyResult:
    n: int
    done: bool

    def finding(self) -> Finding:
        return Finding(f"twice {self.n} is {2 * self.n}")


def toy(config: ToyConfig) -> ToyResult:
    """Write 2n to `answer.json`; on the way there do what `do` says."""
    with open_run(config.output_dir, command="toy", config=config) as run:
        if run.done:
            return ToyResult(config.n, True)
        runs = config.marks / f"{config.n}"
        with runs.open("a") as file:
            file.write("run\n")
        first = runs.read_text().count("run") == 1
        print(f"printed {config.n}")
        os.write(1, b"written to descriptor 1\n")
        subprocess.run([sys.executable, "-c", "print('said by a child')"], check=True)
        logging.getLogger("whence.toy").info("logged")
        if config.do == "bad input":
            raise BadInput("n: no such number")
        if config.do == "raise" or (config.do == "raise once" and first):
            raise ValueError("the first line\nthe second")
        if config.do == "exit":
            sys.exit(3)
        if config.do == "die" or (config.do == "die once" and first):
            os.kill(os.getpid(), signal.SIGKILL)
        if config.do == "fork and die" and first:
            if os.fork() == 0:  # holds all that its parent held, the pipe too
                time.sleep(600)
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(config.seconds)
        write_json(run.folder / "answer.json", 2 * config.n)
    return ToyResult(config.n, False)


def leave_a_mess(config: ToyConfig) -> None:
    """Change everything that a process has one of."""
    os.chdir("/")
    os.environ["LEFT_BEHIND"] = "1"
    os.environ.pop("KEPT", None)
    logging.getLogger().addHandler(logging.NullHandler())
    logging.getLogger().setLevel(logging.DEBUG)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("error")


def toy_task(home: Path, n: int, do: str = "double", **more: Any) -> Task:
    """A task; more: seconds, and fields of `Task`."""
    home = home.absolute()
    marks = home / "marks"
    marks.mkdir(parents=True, exist_ok=True)
    return Task(
        id=f"t{n}",
        label=f"n={n} {do}",
        kind=more.pop("kind", "toy"),
        config=f"{HERE}:ToyConfig",
        function=more.pop("function", f"{HERE}:toy"),
        settings={
            "n": n,
            "do": do,
            "seconds": more.pop("seconds", 0.0),
            "marks": str(marks),
            "output_dir": str(home / "runs" / f"t{n}"),
        },
        output=f"runs/t{n}",
        **more,
    )


def planned(home: Path, tasks: Sequence[Task], stage: str = "one", number: int = 1) -> Path:
    """The folder with these tasks as the plan of a stage."""
    write_tasks(plan_folder(home, stage) / TASKS, tasks)
    plan = {
        "stage": stage,
        "number": number,
        "configurations": len(tasks),
        "trial": {},
        "inputs": {},
    }
    write_json(plan_folder(home, stage) / PLAN, plan)
    return home


def counted(home: Path) -> dict[int, int]:
    """n → how often its function began to work."""
    return {int(p.name): p.read_text().count("run") for p in (home / "marks").iterdir()}


def answers(home: Path) -> dict[str, str]:
    """Task → what it found, as bytes on disk."""
    return {p.parent.name: p.read_text() for p in home.glob("runs/*/answer.json")}


DRIVER = """
import signal
import sys
# A test suite in the background (`… &`) hands on that SIGINT is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
from pathlib import Path
from whence.__main__ import main
sys.path.insert(0, {here!r})
from whence.sweep.run import RunConfig, run_sweep
from whence.cli.show import show_finding, complain
from whence.errors import WhenceError
try:
    finding = run_sweep(RunConfig(sweep=Path({home!r}), **{flags!r})).finding()
except WhenceError as error:
    complain("error", str(error))
    sys.exit(error.exit_code)
except KeyboardInterrupt:
    sys.exit(130)
show_finding(finding)
sys.exit(1 if finding.failed else 0)
"""


def driver(home: Path, **flags: Any) -> subprocess.Popen[str]:
    """`whence sweep run` in a process of its own, which can be killed."""
    code = DRIVER.format(here=str(Path(__file__).parent), home=str(home), flags=flags)
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(what: Any, seconds: float = 60.0) -> None:
    """Poll until `what()` is true."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)
