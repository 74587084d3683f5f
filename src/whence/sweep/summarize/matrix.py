"""The matrix of several files: each setting's own best, on the same problems, side by side.

Settings are not ranked against each other: their texts are others. What can be compared is what
each says of its own baselines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from whence.runs.record import read_record
from whence.sweep.entries import Entry
from whence.sweep.layout import TASKS, plan_folder
from whence.sweep.settings import CONFIG
from whence.sweep.tasks import read_tasks


def matrix_of(
    plan: Mapping[str, Any],
    groups: Sequence[Mapping[str, Any]],
    entries: Sequence[Entry],
    home: Path,
) -> dict[str, Any] | None:
    """What `summary.json` holds under `matrix`; None where the stage is not made of files.

    differ: setting → file → value of what differs between files, which parity allowed. shared:
    problems in common and the sizes of the parts. settings: a row a file and question: its winner
    on selection, the winner's confirmation, its differences from baselines, and bytes of what its
    runs rest on.
    """
    if not plan["differ"]:
        return None
    bytes_of = _storage(plan["stage"], entries, home)
    rows = []
    for group in groups:
        winner = group["winner"]
        found = winner["confirmation"] or {"mean": None, "interval": None}
        compared = group["comparisons"]
        apart = [
            each for each in compared if each["interval"] and not _holds_zero(each["interval"])
        ]
        rows.append(
            {
                "setting": group["per"].get(CONFIG, group["name"]),
                "best": winner["series"],
                "metric": group["metric"],
                "selection": winner["selection"],
                "confirmation": found["mean"],
                "interval": found["interval"],
                "against_baselines": winner["against_baselines"],
                "differences": len(compared),
                "differences_without_zero": len(apart),
                "bytes": bytes_of.get(group["per"].get(CONFIG)),
            }
        )
    return {"differ": plan["differ"], "shared": plan["shared"], "settings": rows}


def _storage(stage: str, entries: Sequence[Entry], home: Path) -> dict[str, int]:
    """File of the factor `config` → bytes of the folders that its runs need."""
    tasks = {task.id: task for task in read_tasks(plan_folder(home, stage) / TASKS)}
    sizes: dict[str, int] = {}
    needed: dict[str, set[str]] = {}
    for entry in entries:
        if entry.run in tasks and CONFIG in entry.factors:
            needed.setdefault(str(entry.factors[CONFIG]), set()).update(tasks[entry.run].needs)
    for name, needs in needed.items():
        for need in needs:
            record = read_record(home / tasks[need].output)
            made = record.outputs.values() if record else ()
            sizes[name] = sizes.get(name, 0) + sum(int(each["bytes"]) for each in made)
    return sizes


def _holds_zero(ends: Sequence[float]) -> bool:
    return ends[0] <= 0 <= ends[1]
