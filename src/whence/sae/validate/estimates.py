"""Rank correlations with intervals, those of the same rows on the same resamples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whence.sae.validate.ranks import partial_rank_correlation
from whence.stats.intervals import Interval
from whence.stats.whole import (
    Statistic,
    statistic_differences,
    statistic_interval,
    value_of,
    widened,
)

LEAST_ROWS = 3
"""Fewer rows than that have no rank correlation worth the name."""


@dataclass(frozen=True)
class Side:
    """Positions of some rows [n] among all, and their groups [n]."""

    rows: NDArray[np.int64]
    groups: NDArray[np.str_]

    @property
    def about(self) -> dict[str, int]:
        return {"rows": len(self.rows), "groups": len(np.unique(self.groups))}


@dataclass(frozen=True)
class Asked:
    """One correlation: of x and y, given others, all [all rows], on the rows of `side`.

    folds: how many fits made x, each without its fold; its interval is then `widened`.
    """

    names: tuple[str, str]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    given: Sequence[NDArray[np.float64]]
    side: Side
    folds: int | None = None


def estimates(asked: Sequence[Asked], seed: int) -> list[dict[str, Any]]:
    """Of each: rows, groups, value, interval, p, minimum_detectable_effect, and `reason` where one
    of them is None.
    """
    told: list[dict[str, Any]] = [{} for _ in asked]
    alike: dict[bytes, dict[str, Statistic]] = {}
    for at, each in enumerate(asked):
        statistic, reason = _statistic(each)
        if statistic is None:
            told[at] = _nothing(None, reason)
        else:
            alike.setdefault(each.side.rows.tobytes(), {})[str(at)] = statistic
    for statistics in alike.values():
        side = asked[int(next(iter(statistics)))].side
        for name, found in _estimated(statistics, side, seed):
            told[int(name)] = found
    return [each.side.about | found for each, found in zip(asked, told, strict=True)]


def _statistic(asked: Asked) -> tuple[Statistic | None, str]:
    """The statistic, or None and why there is none."""
    rows = asked.side.rows
    if len(rows) < LEAST_ROWS:
        return None, f"{len(rows)} {'row has' if len(rows) == 1 else 'rows have'} both, too few"
    for name, vector in zip(asked.names, (asked.x, asked.y), strict=True):
        if np.ptp(vector[rows]) == 0:
            return None, f"{name} is the same in all {len(rows)} rows"
    statistic = partial_rank_correlation(
        asked.x[rows], asked.y[rows], [vector[rows] for vector in asked.given]
    )
    if value_of(statistic, len(rows)) is None:
        return None, "what is given leaves nothing of one of them"
    if asked.folds is not None:
        statistic = widened(statistic, len(rows), asked.folds, lowest=-1.0)
    return statistic, ""


def _estimated(
    statistics: Mapping[str, Statistic], side: Side, seed: int
) -> Iterable[tuple[str, dict[str, Any]]]:
    # The court compares two arms; the other one here is a correlation that is always 0.
    arms = {**statistics, "nil": lambda _: 0.0}
    pairs = [(name, "nil") for name in statistics]
    count = len(side.rows)
    for found in statistic_differences(arms, pairs, "ρ", count, side.groups, seed=seed):
        if found.interval is None:
            none = statistic_interval(statistics[found.arm], count, side.groups, seed=seed)
            reason = "" if isinstance(none, Interval) else none.reason
            yield found.arm, _nothing(found.effect, reason)
        else:
            yield (
                found.arm,
                {
                    "value": found.effect,
                    "interval": list(found.interval),
                    "p": found.p,
                    "minimum_detectable_effect": found.minimum_detectable_effect,
                    "reason": None,
                },
            )


def _nothing(value: float | None, reason: str) -> dict[str, Any]:
    known = {"interval": None, "p": None, "minimum_detectable_effect": None}
    return {"value": value, **known, "reason": reason}
