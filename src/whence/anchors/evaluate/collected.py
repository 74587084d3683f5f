"""Metrics of several runs read into one shape: whose, which setting, which seed, which numbers.

A run is a folder of `whence anchors train` or `cv`, or what the earlier study left: one
`metrics_seed_<n>.json` or a folder of them. Runs of one setting (same sentences, labels, target,
split and model) under several seeds are one run with several seeds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whence.errors import BadInput
from whence.runs.fingerprint import fingerprint
from whence.runs.jsonfile import read_json

EARLIER = re.compile(r"metrics_seed_(\d+)\.json")
SETTING = (
    "kind", "target", "anchor_percentile", "residualize", "fixed", "settings", "layer", "pooling",
    "model", "vertical", "features_fingerprint", "metadata_sha256", "splits", "folds", "problems",
)  # fmt: skip
EARLIER_SETTING = ("cache_provenance", "target_mode", "residualize_against", "splits")
EARLIER_METRICS = {"pr_auc": "pr_auc_trapezoid"}
"""What the earlier study called PR-AUC is the trapezoid's."""

Numbers = dict[str, float | None]


@dataclass
class Collected:
    """One setting. kind: train, cv or earlier.

    values: split → probe → seed → metric → value. per_problem: probe → metric → (seeds behind it,
    problem → value), one of each run. comparisons, selected, tripwires: as the runs have them.
    """

    name: str
    kind: str
    target: str
    primary_metric: str
    values: dict[str, dict[str, dict[int, Numbers]]] = field(default_factory=dict)
    per_problem: dict[str, dict[str, list[tuple[int, Numbers]]]] = field(default_factory=dict)
    comparisons: list[dict[str, Any]] = field(default_factory=list)
    selected: list[dict[str, Any]] = field(default_factory=list)
    tripwires: list[dict[str, Any]] = field(default_factory=list)

    def put(self, split: str, probe: str, seed: int, numbers: Numbers, source: str) -> None:
        """Add one seed's numbers; the same numbers again do no harm, others are refused."""
        place = self.values.setdefault(split, {}).setdefault(probe, {})
        if place.get(seed, numbers) != numbers:
            raise BadInput(
                f"{source}: {probe} under seed {seed} has other numbers than an earlier run of the "
                "same setting and seed; give one of the two"
            )
        place[seed] = numbers


def collect(paths: Sequence[Path]) -> list[Collected]:
    """Read all runs, settings in the order of their first run.

    Raises BadInput naming the path that holds no metrics, or whose metrics are of no known kind.
    """
    files = metric_files(paths)
    names = _names(list(dict.fromkeys(file.parent for file in files)))
    found: dict[str, Collected] = {}
    for file in files:
        metrics = read_json(file)
        if not isinstance(metrics, Mapping):
            raise BadInput(f"{file}: an object was expected, not {type(metrics).__name__}")
        earlier = EARLIER.fullmatch(file.name)
        key = _setting(metrics, bool(earlier))
        name = names[file.parent]
        if earlier:
            primary = str(metrics.get("primary_metric_name", "pr_auc"))
            made = Collected(
                name,
                "earlier",
                str(metrics.get("target_mode", "anchor_binary")),
                EARLIER_METRICS.get(primary, primary),
            )
            one = found.setdefault(key, made)
            _add_earlier(one, metrics, int(earlier[1]), file)
        elif metrics.get("kind") in ("train", "cv"):
            made = Collected(name, metrics["kind"], metrics["target"], metrics["primary_metric"])
            one = found.setdefault(key, made)
            (_add_train if one.kind == "train" else _add_cv)(one, metrics, str(file))
        else:
            raise BadInput(
                f"{file}: not metrics of `whence anchors train` or `cv`, and not a "
                "metrics_seed_<n>.json of the earlier study"
            )
    return list(found.values())


def metric_files(paths: Sequence[Path]) -> list[Path]:
    """The files that hold the metrics of these runs, each once. Raises BadInput as `collect`."""
    return list(dict.fromkeys(file for path in paths for file in _files(path)))


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise BadInput(f"{path}: no such file or folder")
    if (path / "metrics.json").is_file():
        return [path / "metrics.json"]
    earlier = [each for each in path.iterdir() if EARLIER.fullmatch(each.name)]
    if earlier:
        return sorted(earlier, key=lambda each: int(each.stem.rpartition("_")[2]))
    below = [each / "metrics.json" for each in sorted(path.iterdir()) if each.is_dir()]
    runs = [file for file in below if file.is_file() and _is_ours(file)]
    if not runs:
        raise BadInput(
            f"{path}: neither metrics.json nor metrics_seed_<n>.json in it, and no folder of "
            "`whence anchors train` or `cv`"
        )
    return runs


def _is_ours(file: Path) -> bool:
    """Whether a metrics.json found by looking is one of probes: a folder may hold others."""
    metrics = read_json(file)
    return isinstance(metrics, Mapping) and metrics.get("kind") in ("train", "cv")


def _names(folders: Sequence[Path]) -> dict[Path, str]:
    """The shortest ends of their paths that tell folders apart."""
    parts = {folder: folder.absolute().parts for folder in folders}
    names = {}
    for folder, own in parts.items():
        length = 1
        while length < len(own) and any(
            other[-length:] == own[-length:] for each, other in parts.items() if each != folder
        ):
            length += 1
        names[folder] = "/".join(own[-length:])
    return names


def _setting(metrics: Mapping[str, Any], earlier: bool) -> str:
    if earlier:
        return fingerprint({name: metrics.get(name) for name in EARLIER_SETTING})
    return fingerprint({name: metrics.get(name) for name in SETTING})


def _add_earlier(one: Collected, metrics: Mapping[str, Any], seed: int, file: Path) -> None:
    if not isinstance(metrics.get("test"), Mapping):
        raise BadInput(f"{file}: no metrics of a test split in it")
    for split in ("test", "val"):
        for probe, values in metrics.get(split, {}).items():
            numbers = {
                EARLIER_METRICS.get(name, name): _finite(value)
                for name, value in values.items()
                if value is None or isinstance(value, int | float)
            }
            one.put(split, probe, seed, numbers, str(file))


def _add_train(one: Collected, metrics: Mapping[str, Any], source: str) -> None:
    for split in ("test", "val"):
        for probe, values in metrics[split].items():
            for seed, numbers in values["per_seed"].items():
                one.put(split, probe, int(seed), dict(numbers), source)
    _add_rest(one, metrics)
    if metrics["selected"] is not None:
        one.selected.append({**metrics["selected"], "seeds": metrics["seeds"]})


def _add_cv(one: Collected, metrics: Mapping[str, Any], source: str) -> None:
    for probe, seeds in metrics["per_seed"].items():
        for seed, numbers in seeds.items():
            one.put("cv", probe, int(seed), dict(numbers), source)
    for probe, found in metrics["cv"].items():
        for metric, values in found.items():
            place = one.per_problem.setdefault(probe, {}).setdefault(metric, [])
            place.append((len(metrics["per_seed"][probe]), values["per_problem"]))
    _add_rest(one, metrics)


def _add_rest(one: Collected, metrics: Mapping[str, Any]) -> None:
    seeds = {"seeds": metrics["seeds"]}
    one.comparisons += metrics["comparisons"]
    checks = [
        {"check": name, "passed": check["passed"], "sentence": check.get("sentence")} | seeds
        for name, check in metrics["tripwires"].items()
        if isinstance(check, Mapping)
    ]
    one.tripwires += checks


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
