"""Where everything of a sweep is, below the one folder that all its commands are given.

    DIR/plan/<stage>/            what `sweep plan` wrote, a run folder
        plan.json                counts, what was collapsed and why, cost, inputs
        manifest.jsonl           one entry a configuration of the grid (`whence.sweep.entries`)
        tasks.jsonl              one task a piece of work (`whence.sweep.tasks`)
        plan.md                  the same for people
    DIR/shared/<task>/           what several configurations rest on: labels, features, scores
    DIR/runs/<task>/             the output folder of one configuration
    DIR/registry.jsonl           what happened to each task (`whence.sweep.execute.registry`)
    DIR/logs/<task>.<attempt>.log
    DIR/summary/<stage>/         what `sweep summarize` wrote, a run folder
    DIR/gate/                    what `sweep gate` wrote, a run folder

Tasks name folders below DIR, so that equal work of two stages is done once.
"""

from __future__ import annotations

from pathlib import Path

from whence.errors import BadInput

MANIFEST = "manifest.jsonl"
TASKS = "tasks.jsonl"
PLAN = "plan.json"


def plan_folder(home: Path, stage: str) -> Path:
    return home / "plan" / stage


def summary_folder(home: Path, stage: str) -> Path:
    return home / "summary" / stage


def registry_file(home: Path) -> Path:
    return home / "registry.jsonl"


def log_file(home: Path, task: str, attempt: int) -> Path:
    return home / "logs" / f"{task}.{attempt}.log"


def stages_planned(home: Path) -> list[str]:
    """Stages with a whole plan, in the order of the file that they were planned from.

    Raises BadInput where there is none, and for a file that is no plan.
    """
    from whence.runs.jsonfile import read_json

    found: list[tuple[int, str]] = []
    for path in home.glob(f"plan/*/{PLAN}"):
        plan = read_json(path)
        try:
            found.append((int(plan["number"]), str(plan["stage"])))
        except (KeyError, TypeError, ValueError):
            raise BadInput(f"{path}: not a plan; plan the stage again") from None
    if not found:
        raise BadInput(f"{home}: no plan in it; `whence sweep plan` makes one")
    return [stage for _, stage in sorted(found)]
