"""The process of a trial: small tasks one after the other, as a worker would run them.

    python -m whence.sweep.campaigns.trial_process TASKS FOLDER PARENT

runs the tasks in the file TASKS and adds a line to `timings.jsonl` in FOLDER after each, so that
what was measured stands where the rest takes too long.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from whence.errors import WhenceError
from whence.sweep.tasks import read_tasks

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


def run(spec: Path, folder: Path) -> None:
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


def serve(function: Callable[[Path, Path], None]) -> None:
    """Call it with what the command line says: the file of tasks and the folder. What goes wrong is
    the last line on stderr; the process ends when its parent is gone."""
    from whence.sweep.execute.process import end_with

    spec, folder, parent = sys.argv[1:]
    threading.Thread(target=end_with, args=(int(parent),), daemon=True).start()
    try:
        function(Path(spec), Path(folder))
    except WhenceError as error:
        sys.exit(str(error))


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    serve(run)
