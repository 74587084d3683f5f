"""What a stage costs in seconds and bytes, by what its trial found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whence.sweep.campaigns.trial import Tried
    from whence.sweep.tasks import Task


def priced(tasks: Sequence[Task], cost: Mapping[str, Any], tried: Tried) -> dict[str, Any]:
    """Keys of `plan.json`: `trial`, kind → seconds a unit of work; `seconds` of one worker for all
    tasks, its start included; `bytes_tried`; `cost`, with notes of what is not counted.

    A total is None where a kind of task was not tried.
    """
    seconds, untimed = _total(tasks, tried.seconds)
    if seconds is not None:
        seconds += tried.start
    size, unmeasured = _total(tasks, tried.bytes)
    notes = list(cost["notes"])
    if untimed:
        notes.append(
            f"seconds: tasks of kind {', '.join(untimed)} were not tried; `whence sweep run` says "
            "how long the rest takes once one of each kind has finished"
        )
    if cost["bytes"] is None and unmeasured:
        notes.append(f"bytes on disk: tasks of kind {', '.join(unmeasured)} were not tried")
    return {
        "trial": dict(tried.seconds),
        "seconds": seconds,
        "bytes_tried": size,
        "cost": {**cost, "notes": notes},
    }


def _total(tasks: Sequence[Task], each_unit: Mapping[str, float]) -> tuple[float | None, list[str]]:
    """Of all tasks, or None and the kinds that are not known."""
    unknown = sorted({task.kind for task in tasks} - set(each_unit))
    if unknown:
        return None, unknown
    return sum(each_unit[task.kind] * task.work for task in tasks), []
