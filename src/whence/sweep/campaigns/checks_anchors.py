"""What must hold of a finished evaluation of probes before it is released."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from whence.runs.jsonfile import read_json
from whence.runs.record import read_record
from whence.sweep.campaigns.campaign import Check
from whence.sweep.campaigns.measures_anchors import METRICS, metrics_folder

TRIPWIRES = {
    "shuffled_labels": "shuffled labels at chance",
    "memorisation": "one problem memorised",
}


def checks_anchors(output: Path) -> list[Check]:
    """Both tripwires, no trace left out of the features, and finite metrics.

    Raises BadInput where the folder holds no run of train, cv or a study.
    """
    folder = metrics_folder(output)
    found = read_json(folder / METRICS)
    return [*_tripwires(found["tripwires"]), _extraction(folder), _finite(found)]


def _tripwires(found: Mapping[str, Any]) -> Iterator[Check]:
    for key, name in TRIPWIRES.items():
        if key not in found:
            yield Check(name, False, f"was not run ({found.get('reason', 'no reason is given')})")
            continue
        own = found[key]
        passed = own["passed"]
        yield Check(name, passed is not False, str(own["sentence"]), proved=passed is not None)


def _extraction(folder: Path) -> Check:
    """Traces that the features were made without."""
    name = "no trace left out of the features"
    record = read_record(folder)
    features = None if record is None else record.config.get("features")
    if features is None:
        return Check(name, True, "no probe reads features")
    path = Path(str(features)) / "failures.json"
    if not path.is_file():
        return Check(name, True, f"{path} is not there any more", proved=False)
    failures = read_json(path)
    if not failures:
        return Check(name, True, "none was left out")
    first = failures[0]
    told = f"{len(failures)} left out, first {first['problem_id']}: {first['cause']}"
    return Check(name, False, told)


def _finite(found: Mapping[str, Any]) -> Check:
    """Every number of every probe is one; what a problem cannot have is null, and said so."""
    name = "finite metrics"
    parts = ("val", "test") if found["kind"] == "train" else ("cv",)
    primary = found["primary_metric"]
    summary = "spearman_mean" if found["kind"] == "train" and primary == "spearman" else primary
    for part in parts:
        for probe, own in found[part].items():
            if any(not math.isfinite(value) for value in _numbers(own)):
                return Check(name, False, f"{probe} has a number on {part} that is not finite")
            value = own.get(summary)
            value = value.get("mean") if isinstance(value, Mapping) else value
            if value is None:
                return Check(name, False, f"{probe} has no {primary} on {part}")
    return Check(name, True, f"{primary} of {len(found['probes'])} probes")


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, Mapping):
        for each in value.values():
            yield from _numbers(each)
    elif isinstance(value, list):
        for each in value:
            yield from _numbers(each)
    elif isinstance(value, float):
        yield value
