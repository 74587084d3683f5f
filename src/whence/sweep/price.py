"""What a stage costs in seconds and bytes, by what its trial found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whence.sweep.campaigns.trial import Tried
    from whence.sweep.tasks import Task


def priced(
    left: Sequence[Task], done: int, cost: Mapping[str, Any], tried: Tried
) -> dict[str, Any]:
    """Keys of `plan.json` for tasks that are left, where `done` of the stage are finished.

    `trial`: kind → seconds a unit of work; `left`: kind → work; `start`: seconds of a worker before
    its first task; `seconds`: of one worker for all; `bytes_tried`; `cost`, with notes of what is
    not counted. A total is None where a kind of task was not tried.
    """
    work: dict[str, float] = {}
    for task in left:
        work[task.kind] = work.get(task.kind, 0.0) + task.work
    seconds, untimed = _total(work, tried.seconds)
    size, unmeasured = _total(work, tried.bytes)
    notes = [*cost["notes"], *tried.notes]
    if untimed:
        notes.append(
            f"seconds, of tasks of kind {', '.join(untimed)}; `whence sweep run` tells the time "
            "left once one of each kind has finished"
        )
    if cost["bytes"] is None and unmeasured:
        notes.append(f"bytes on disk, of tasks of kind {', '.join(unmeasured)}")
    return {
        "done": done,
        "left": work,
        "trial": dict(tried.seconds),
        "start": tried.start,
        "seconds": None if seconds is None else seconds + tried.start,
        "bytes_tried": size,
        "cost": {**cost, "notes": notes},
    }


def _total(
    work: Mapping[str, float], each_unit: Mapping[str, float]
) -> tuple[float | None, list[str]]:
    """Of all kinds, or None and those that are not known."""
    unknown = sorted(set(work) - set(each_unit))
    if unknown:
        return None, unknown
    return sum(each_unit[kind] * own for kind, own in work.items()), []
