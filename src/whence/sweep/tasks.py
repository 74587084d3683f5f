"""A task: one call of one command's function, on settings that are whole, into one folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from whence.errors import BadInput
from whence.runs.jsonfile import read_jsonl, write_jsonl


@dataclass(frozen=True)
class Resources:
    """What a task needs while it runs. cpus: cores; gpus: may be a part of one, on Ray."""

    cpus: float = 1.0
    gpus: float = 0.0
    memory_gb: float | None = None


@dataclass(frozen=True)
class Task:
    """A piece of work that can run in any process, on any node that sees the folder.

    id: a fingerprint of all that decides its result. kind: what sort of work it is (extract,
    judge, …), for the live table and the time left. config, function: "module:name" of the
    pydantic model and of the function that takes one; the function writes a run folder at
    `output` (below the sweep's), and is done at once where it is there already.
    settings: of that model, every path absolute. needs: ids of the tasks whose output it reads.
    work: how much it is beside others of its kind.
    """

    id: str
    label: str
    kind: str
    config: str
    function: str
    settings: Mapping[str, Any]
    output: str
    needs: Sequence[str] = ()
    resources: Resources = field(default_factory=Resources)
    work: float = 1.0


def write_tasks(path: Path, tasks: Iterable[Task]) -> None:
    """One line a task."""
    write_jsonl(path, [asdict(task) for task in tasks])


def read_tasks(path: Path) -> list[Task]:
    """Raises BadInput naming the line that is no task."""
    tasks = []
    for number, line in enumerate(read_jsonl(path), start=1):
        try:
            tasks.append(Task(**{**line, "resources": Resources(**line["resources"])}))
        except (KeyError, TypeError) as error:
            raise BadInput(
                f"{path}, line {number}: not a task ({error}); plan the stage again"
            ) from None
    return tasks


def in_order(tasks: Sequence[Task]) -> list[Task]:
    """Every task behind those it needs. Raises BadInput for a need that is not among them, or that
    goes round in a circle."""
    known = {task.id: task for task in tasks}
    for task in tasks:
        absent = [need for need in task.needs if need not in known]
        if absent:
            raise BadInput(f"task {task.id} ({task.label}) needs {absent[0]}, which is not planned")
    try:
        order = TopologicalSorter({task.id: task.needs for task in tasks}).static_order()
        return [known[name] for name in order]
    except CycleError as error:
        raise BadInput(f"tasks need each other: {' → '.join(error.args[1])}") from None
