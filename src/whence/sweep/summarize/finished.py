"""Which runs of a stage are finished, and a mark of what each holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whence.errors import BadInput
from whence.runs.fingerprint import fingerprint
from whence.runs.jsonfile import read_json
from whence.runs.progress import track
from whence.runs.record import read_record
from whence.sweep.entries import Entry, read_manifest
from whence.sweep.layout import MANIFEST, PLAN, plan_folder, stages_planned


@dataclass(frozen=True)
class Stage:
    """A planned stage and what is finished of it.

    plan: `plan.json`. results: finished run → mark of its outputs. missing: runs that are not.
    """

    home: Path
    name: str
    plan: Mapping[str, Any]
    entries: Sequence[Entry]
    results: Mapping[str, str]
    missing: Sequence[str]

    def output(self, run: str) -> Path:
        """Where a run's result is."""
        return self.home / next(entry.output for entry in self.entries if entry.run == run)


def read_stage(home: Path, name: str) -> Stage:
    """Raises BadInput for a stage that is not planned."""
    folder = plan_folder(home, name)
    if not (folder / PLAN).is_file():
        known = ", ".join(stages_planned(home))
        raise BadInput(f"--stage {name}: {home} has no plan of it; planned: {known}")
    entries = read_manifest(folder / MANIFEST)
    outputs = {entry.run: home / entry.output for entry in entries}
    results: dict[str, str] = {}
    missing = []
    for run, output in track(outputs.items(), len(outputs), f"looking at {name}", "runs"):
        found = result_of(output)
        if found is None:
            missing.append(run)
        else:
            results[run] = found
    return Stage(home, name, read_json(folder / PLAN), entries, results, missing)


def result_of(output: Path) -> str | None:
    """A mark of what a finished run wrote, by its own record; None where it is not whole, or its
    record cannot be read."""
    try:
        record = read_record(output)
    except BadInput:
        return None
    if record is None or record.status != "done":
        return None
    hashes = {name: made["sha256"] for name, made in record.outputs.items()}
    return fingerprint(hashes)[:16]


def last_finished(home: Path) -> Stage:
    """The last planned stage whose runs are all done. Raises BadInput where there is none."""
    told = []
    for name in reversed(stages_planned(home)):
        stage = read_stage(home, name)
        if not stage.missing:
            return stage
        count = len(stage.results) + len(stage.missing)
        told.append(f"{name} has {len(stage.results)} of {count} runs")
    raise BadInput(
        f"{home}: no stage is finished ({', '.join(told)}); `whence sweep run {home}` goes on, or "
        "summarise what is there with --stage S --partial"
    )
