"""What a report on probes reads: `metrics.json` of `train` and `cv`, made alike.

Whatever a file lacks is None or empty here; no section needs to know which command wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from whence.report import notation

MAIN = ("pr_auc", "spearman_mean", "spearman", "top_5_recall", "top_10_recall")
"""Metrics in the order in which they are shown; others follow."""


@dataclass(frozen=True)
class Level:
    """How well one probe does on one metric. interval: over problems. per_problem: values that are
    defined. reason: why something is missing.
    """

    value: float | None
    interval: tuple[float, float] | None
    per_problem: Mapping[str, float]
    reason: str | None


@dataclass(frozen=True)
class Told:
    """One evaluation.

    kind: "train" or "cv". levels: probe → metric → level, on test or out of fold. chance, ceiling:
    metric → value. baselines: probes that are there to be compared with.
    """

    kind: str
    raw: Mapping[str, Any]
    primary: str
    levels: Mapping[str, Mapping[str, Level]]
    chance: Mapping[str, float]
    ceiling: Mapping[str, float]
    baselines: frozenset[str]
    comparisons: Sequence[Mapping[str, Any]]

    @property
    def metrics(self) -> list[str]:
        """Metrics that at least one probe has: the primary one, then the main ones, then others."""
        found = list(dict.fromkeys(name for own in self.levels.values() for name in own))
        return sorted(
            found, key=lambda name: (name != self.primary, _place(name), found.index(name))
        )

    @property
    def on(self) -> str:
        """What the levels were measured on."""
        if self.kind == "cv":
            problems = self.raw.get("problems") or []
            return f"{len(problems):,} problems, each scored by probes that never saw it"
        test = (self.raw.get("splits") or {}).get("test") or []
        rows = (self.raw.get("rows") or {}).get("test")
        one = len(test) == 1
        sentences = f", {rows:,} sentences" if rows is not None else ""
        return f"{len(test)} test problem{'' if one else 's'}{sentences}"

    def ranked(self, metric: str | None = None) -> list[str]:
        """Probes by a metric (the primary one), best first; those without it last."""
        metric = metric or self.primary
        sign = 1 if notation.metric(metric).lower_is_better else -1

        def key(probe: str) -> tuple[bool, float]:
            level = self.levels[probe].get(metric)
            value = level.value if level else None
            return (value is None, 0.0 if value is None else sign * value)

        return sorted(self.levels, key=key)


def read_told(raw: Mapping[str, Any]) -> Told:
    """raw: the content of a `metrics.json`."""
    kind = str(raw.get("kind") or ("cv" if "cv" in raw else "train"))
    found = raw.get("cv" if kind == "cv" else "test") or {}
    level = _cv_level if kind == "cv" else _train_level
    levels = {probe: level(own) for probe, own in found.items()}
    primary = str(raw.get("primary_metric") or "pr_auc")
    measured = {name for own in levels.values() for name in own}
    if f"{primary}_mean" in measured:
        primary = f"{primary}_mean"
    elif primary not in measured:
        primary = next((name for name in MAIN if name in measured), primary)
    probes = raw.get("probes") or {}
    comparisons = list(raw.get("comparisons") or [])
    baselines = {name for name, about in probes.items() if about.get("baseline")}
    return Told(
        kind=kind,
        raw=raw,
        primary=primary,
        levels=levels,
        chance=_chance(raw, kind),
        ceiling=_ceiling(raw, kind),
        baselines=frozenset(baselines | {c["control"] for c in comparisons}),
        comparisons=comparisons,
    )


def _train_level(own: Mapping[str, Any]) -> dict[str, Level]:
    intervals = own.get("intervals") or {}
    problems = own.get("per_problem") or {}
    levels = {}
    for name, value in own.items():
        if not isinstance(value, int | float) and value is not None:
            continue
        # What is a mean over problems is shown with them; a pooled metric is not their mean.
        bare = name.removesuffix("_mean")
        per = {p: v[bare] for p, v in problems.items() if v.get(bare) is not None}
        pooled = name.startswith("pr_auc")
        levels[name] = Level(value, _pair(intervals.get(name)), {} if pooled else per, None)
    calibration = own.get("calibration") or {}
    for name in ("brier", "ece"):
        if name in calibration:
            levels[name] = Level(calibration[name], None, {}, None)
    return levels


def _cv_level(own: Mapping[str, Any]) -> dict[str, Level]:
    return {
        name: Level(
            told.get("mean"),
            _pair(told.get("interval")),
            {p: v for p, v in (told.get("per_problem") or {}).items() if v is not None},
            told.get("reason"),
        )
        for name, told in own.items()
        if isinstance(told, Mapping) and "mean" in told
    }


def _chance(raw: Mapping[str, Any], kind: str) -> dict[str, float]:
    chance = raw.get("chance") or {}
    if kind != "cv":
        chance = chance.get("test") or {}
    return {name: value for name, value in chance.items() if notation.known(value)}


def _ceiling(raw: Mapping[str, Any], kind: str) -> dict[str, float]:
    """Pooled where a split is judged as a whole, means over problems under cross-validation."""
    ceiling = raw.get("noise_ceiling") or {}
    means = {name: told.get("mean") for name, told in (ceiling.get("mean") or {}).items()}
    found = means if kind == "cv" else means | (ceiling.get("pooled") or {})
    return {name: value for name, value in found.items() if notation.known(value)}


def _pair(interval: Any) -> tuple[float, float] | None:
    return None if interval is None else (float(interval[0]), float(interval[1]))


def _place(name: str) -> int:
    return MAIN.index(name) if name in MAIN else len(MAIN)
