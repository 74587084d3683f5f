"""What tasks cost here, by small ones of the same kinds, run as a worker would run them.

    python -m whence.sweep.campaigns.trial TASKS FOLDER PARENT

runs the tasks in the file TASKS one after the other and adds a line to `timings.jsonl` in FOLDER
after each, so that what was measured stands where the rest takes too long.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from whence.runs.jsonfile import read_jsonl
from whence.runs.progress import track
from whence.sweep.execute.isolation import THREAD_VARIABLES
from whence.sweep.execute.resources import threads_of
from whence.sweep.tasks import Resources, Task, read_tasks, write_tasks

logger = logging.getLogger(__name__)

LONGEST = 90.0
"""Seconds that the trial of one model may take; what is not done by then is not tried."""
TOGETHER = 240.0
"""Seconds that all trials of a plan may take."""
TIMINGS = "timings.jsonl"


@dataclass(frozen=True)
class Timing:
    """A small task: its kind and work, how long it took, what it left on disk, and whether it is
    the first of its kind in the process, which loads modules and perhaps a model."""

    kind: str
    work: float
    seconds: float
    bytes: int = 0
    first: bool = False


@dataclass(frozen=True)
class Tried:
    """What one unit of `Task.work` costs here, by kind of task; without the kinds that could not be
    tried. start: seconds that a worker spends beside, on modules and models."""

    seconds: Mapping[str, float] = field(default_factory=dict)
    bytes: Mapping[str, float] = field(default_factory=dict)
    start: float = 0.0


@dataclass(frozen=True)
class Sample:
    """planned: tasks of one model. small: what is run in their place, each kind more than once and
    of growing work. folder: of this sample alone; outputs of small tasks are named from it. module:
    runs them."""

    planned: Sequence[Task]
    small: Sequence[Task]
    folder: Path
    module: str = __name__


def tried(samples: Sequence[Sample]) -> Tried:
    """Run the samples, the one with most work first, until `TOGETHER` is over.

    A kind is told only where all its planned tasks have been tried.
    """
    found: dict[str, list[_Expected]] = {}
    missing: set[str] = set()
    end = time.monotonic() + TOGETHER
    largest = sorted(samples, key=lambda each: -sum(task.work for task in each.planned))
    for sample in track(largest, label="trial of small tasks", unit="models"):
        timings = _run(sample, min(LONGEST, end - time.monotonic()))
        for kind in {task.kind for task in sample.planned}:
            own = [each for each in timings if each.kind == kind]
            works = [task.work for task in sample.planned if task.kind == kind]
            if any(not each.first for each in own):
                found.setdefault(kind, []).append(_expected(own, works))
            else:
                missing.add(kind)
    told = {kind: each for kind, each in found.items() if kind not in missing}
    work = {kind: sum(one.work for one in each) for kind, each in told.items()}
    return Tried(
        {kind: sum(one.seconds for one in each) / work[kind] for kind, each in told.items()},
        {kind: sum(one.bytes for one in each) / work[kind] for kind, each in told.items()},
        sum(one.start for each in told.values() for one in each),
    )


def main(spec: Path, folder: Path) -> None:
    """Run the tasks of a sample."""
    from whence.sweep.execute.worker import run_task

    begun: set[str] = set()
    for task in read_tasks(spec):
        outcome = run_task(task, folder, attempt=1)
        if outcome.failure is not None:
            sys.exit(outcome.error)
        size, first = _size(folder / task.output), task.kind not in begun
        note(folder, Timing(task.kind, task.work, outcome.seconds, size, first))
        begun.add(task.kind)


def note(folder: Path, timing: Timing) -> None:
    """Add a line to the timings."""
    with (folder / TIMINGS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(timing)) + "\n")


def begin() -> tuple[Path, Path]:
    """Paths of a trial's process, from its command line; it ends when its parent is gone."""
    from whence.sweep.execute.process import end_with

    spec, folder, parent = sys.argv[1:]
    threading.Thread(target=end_with, args=(int(parent),), daemon=True).start()
    return Path(spec), Path(folder)


def _run(sample: Sample, longest: float) -> list[Timing]:
    if longest <= 0 or not sample.small:
        return []
    needs = {task.kind: task.resources for task in sample.planned}
    small = [replace(task, resources=needs.get(task.kind, Resources())) for task in sample.small]
    sample.folder.mkdir(parents=True, exist_ok=True)
    spec = sample.folder / "tasks.jsonl"
    write_tasks(spec, small)
    process = subprocess.Popen(
        [sys.executable, "-m", sample.module, str(spec), str(sample.folder), str(os.getpid())],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        env=_environment(list(needs.values())), start_new_session=True, text=True,
    )  # fmt: skip
    try:
        said = process.communicate(timeout=longest)[1].strip()
        if process.returncode:
            last = said.rpartition("\n")[2]
            logger.warning("the trial of %s ended: %s", sample.planned[0].label, last)
    except subprocess.TimeoutExpired:
        pass
    finally:  # with all that it started
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    timings = sample.folder / TIMINGS
    return [Timing(**line) for line in read_jsonl(timings)] if timings.is_file() else []


def _environment(needs: Sequence[Resources]) -> dict[str, str]:
    """As a worker has it: no GPU where none is asked for, threads as there are cores."""
    threads = str(max(map(threads_of, needs)))
    hidden = {} if any(each.gpus for each in needs) else {"CUDA_VISIBLE_DEVICES": ""}
    path = os.pathsep.join(each or os.getcwd() for each in sys.path)
    return {**os.environ, **dict.fromkeys(THREAD_VARIABLES, threads), **hidden, "PYTHONPATH": path}


@dataclass(frozen=True)
class _Expected:
    """Of all planned tasks of one kind and model. start: what the first of them pays beside."""

    work: float
    seconds: float
    bytes: float
    start: float


def _expected(timings: Sequence[Timing], works: Sequence[float]) -> _Expected:
    """By straight lines through what was measured, the first timing aside."""
    counted = [each for each in timings if not each.first]
    measured = [each.work for each in counted]
    total, many = sum(works), len(works)
    fixed, slope = _line(measured, [each.seconds for each in counted])
    fixed_bytes, bytes_slope = _line(measured, [each.bytes for each in counted])
    start = sum(each.seconds - fixed - slope * each.work for each in timings if each.first)
    return _Expected(
        total,
        fixed * many + slope * total,
        fixed_bytes * many + bytes_slope * total,
        max(start, 0.0),
    )


def _line(works: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """What any task costs, and what each unit of work adds; neither is negative. From one size
    alone, all of it is taken to grow with the work."""
    if len(set(works)) < 2:
        return 0.0, float(np.mean(values) / works[0])
    slope, fixed = np.polyfit(works, values, 1)
    if slope < 0:
        return float(np.mean(values)), 0.0
    return (float(fixed), float(slope)) if fixed > 0 else (0.0, float(np.sum(values) / sum(works)))


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main(*begin())
