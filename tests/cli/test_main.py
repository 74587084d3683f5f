"""The command line as a person meets it: speed, exit codes, one line where something is wrong."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from whence import __version__
from whence.__main__ import main
from whence.commands import COMMANDS, GROUPS

PROGRAM = """
import dataclasses, sys, time
from pathlib import Path
from whence.__main__ import main
from whence import commands
from whence.errors import WhenceError
from whence.runs.config import OutputConfig
from whence.runs.finding import Finding
from whence.runs.jsonfile import write_json
from whence.runs.progress import track
from whence.runs.store import open_run

class ToyConfig(OutputConfig):
    act: str = "work"
    seconds: float = 0

@dataclasses.dataclass
class Toy:
    folder: Path
    failed: bool = False
    def finding(self):
        rows = [["a\\x1b[31mred", "1.5"]]
        return Finding("It is so.", ["what", "value"], rows, {"result": self.folder}, self.failed)

def toy(config):
    with open_run(config.output_dir, command="toy", config=config) as run:
        if not run.done:
            if config.act == "bug":
                {}["key"]
            if config.act == "fail":
                raise WhenceError("the model\\ndid not load")
            if config.act == "stop":
                raise KeyboardInterrupt
            if config.seconds:
                print("held", flush=True)
            for _ in track(range(2)):
                time.sleep(config.seconds / 2)
            write_json(run.folder / "a.json", {"seconds": config.seconds})
    return Toy(config.output_dir, config.act == "false")

toy_command = commands.Command("__main__:ToyConfig", "__main__:toy", "Toy.", "whence toy")
commands.COMMANDS["toy"] = toy_command
sys.exit(main())
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "toy.py"
    path.write_text(PROGRAM)
    return path


def whence(program: Path, *words: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload]
        [sys.executable, str(program), *words],
        capture_output=True, text=True, timeout=60, **options,
    )  # fmt: skip


def cpu_seconds_of_children() -> float:
    """What finished subprocesses used: the wall time of an idle machine, on a busy one too."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("words", [[], ["--help"], ["data", "--help"], ["tiny"]])
def test_overviews_are_quick_and_light(words: list[str]) -> None:
    before = cpu_seconds_of_children()
    done = subprocess.run(
        [sys.executable, "-m", "whence", *words], capture_output=True, text=True, check=True
    )
    assert cpu_seconds_of_children() - before < 0.5
    assert "usage" in done.stdout or "COMMAND --help" in done.stdout


@pytest.mark.parametrize("words", [[], ["data", "--help"]])
def test_overviews_import_nothing_heavy(words: list[str]) -> None:
    code = "import sys; from whence.__main__ import main; main(sys.argv[1:]); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
    )
    imported = set(done.stdout.splitlines()[-1].split())
    assert "whence.commands" in imported
    assert not imported & {"torch", "transformers", "numpy", "pandas", "pydantic", "tyro"}


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"whence {__version__}\n"


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_lists_its_commands(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([group]) == 0
    out = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert (command.summary in out) == name.startswith(f"{group} ")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["dta"], "error: no command `dta`; did you mean `whence data`?\n"),
        (["data", "scor"], "error: no command `data scor`; did you mean `whence data score`?\n"),
        (["qqq"], "error: no command `qqq`; `whence --help` lists them\n"),
    ],
)
def test_an_unknown_command(
    words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err == line


def test_a_finding_is_printed_and_a_second_run_is_done(program: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "o")
    first = whence(program, "toy", "--output-dir", out)
    assert first.returncode == 0
    assert first.stderr == ""
    lines = first.stdout.splitlines()
    assert lines[0] == "It is so."
    assert "\x1b" not in first.stdout
    assert lines[-1] == f"result  {out}"
    before = cpu_seconds_of_children()
    second = whence(program, "toy", "--output-dir", out)
    assert cpu_seconds_of_children() - before < 2
    assert second.stderr == f"already done: {out}\n"
    assert second.stdout == first.stdout


@pytest.mark.parametrize(
    ("act", "code", "line"),
    [
        ("bug", 1, "failed: KeyError: 'key' (run again with --debug for the traceback)\n"),
        ("fail", 1, "failed: the model did not load\n"),
        ("stop", 130, "interrupted: run the same command again to resume\n"),
        ("false", 1, ""),
    ],
)
def test_exit_codes(program: Path, tmp_path: Path, act: str, code: int, line: str) -> None:
    done = whence(program, "toy", "--output-dir", str(tmp_path / "o"), "--act", act)
    assert (done.returncode, done.stderr) == (code, line)


def test_debug_shows_the_traceback(program: Path, tmp_path: Path) -> None:
    done = whence(program, "toy", "--output-dir", str(tmp_path / "o"), "--act=bug", "--debug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    done = whence(program, "toy", "--outputdir", "o", "--debug")
    assert done.returncode == 2


def test_bad_flags_and_keys_exit_2(program: Path, tmp_path: Path) -> None:
    done = whence(program, "toy", "--output-dr", "o")
    assert done.returncode == 2
    assert done.stderr == "error: no flag --output-dr; did you mean --output-dir?\n"
    done = whence(program, "toy", "--seconds", "long", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --output-dir is required; --seconds: should be a valid")
    assert list(tmp_path.iterdir()) == []


def test_two_processes_on_one_folder(program: Path, tmp_path: Path) -> None:
    words = ["toy", "--output-dir", str(tmp_path / "o"), "--seconds", "30"]
    with subprocess.Popen(
        [sys.executable, str(program), *words], stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        second = whence(program, *words)
        first.kill()
    assert second.returncode == 2
    assert f"another whence process (pid {first.pid}) is writing here" in second.stderr
    assert second.stderr.count("\n") == 1


def test_a_reader_that_leaves_is_no_error() -> None:
    shell = f"{sys.executable} -m whence --help | head -1"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=30)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
