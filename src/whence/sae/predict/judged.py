"""How good predictions are on rows, and whether one predictor is better than another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whence.stats import Comparison, Interval, overlap_at_k
from whence.stats.whole import (
    Rows,
    Statistic,
    linear_correlation,
    rank_correlation,
    statistic_differences,
    statistic_interval,
    value_of,
    widened,
)

PREDICTOR = "sae_features"
ENDS = {"pearson": (-1.0, 1.0), "spearman": (-1.0, 1.0)}
"""What a statistic can be; others are 0 or more."""
CONSTANT = "predictions or targets do not vary over these rows"


def judge(
    predicted: NDArray[np.float64],
    target: NDArray[np.float64],
    groups: Sequence[str],
    top_k: int,
    *,
    intervals: bool = True,
    folds: int | None = None,
) -> dict[str, Any]:
    """pearson, spearman, rmse, mae of all rows (None where there is none, with the reason), each
    with its interval over groups, and how many of the top `top_k` by target are predicted so.

    folds: how many fits, each without its fold, made the predictions; intervals are then `widened`.
    None: all are of one fit.
    """
    statistics = {
        "pearson": linear_correlation(predicted, target),
        "spearman": rank_correlation(predicted, target),
        "rmse": _root_mean_square(predicted - target),
        "mae": _mean_absolute(predicted - target),
    }
    rows = len(target)
    values = {name: value_of(statistic, rows) for name, statistic in statistics.items()}
    found: dict[str, Any] = {"rows": rows, "groups": len(set(groups)), **values}
    if intervals:
        found["intervals"], found["reasons"] = {}, {}
        for name, statistic in statistics.items():
            if values[name] is None:
                found["intervals"][name], found["reasons"][name] = None, CONSTANT
                continue
            if folds is not None:
                lowest, highest = ENDS.get(name, (0.0, np.inf))
                statistic = widened(statistic, rows, folds, lowest=lowest, highest=highest)
            got = statistic_interval(statistic, rows, groups)
            if isinstance(got, Interval):
                found["intervals"][name] = [got.low, got.high]
                found["interval_method"] = got.method
            else:
                found["intervals"][name], found["reasons"][name] = None, got.reason
    return {**found, "topk_overlap": overlap(predicted, target, top_k)}


def overlap(
    predicted: NDArray[np.float64], target: NDArray[np.float64], top_k: int
) -> dict[str, Any]:
    """The k best by prediction that are among the k best by target; ties count by their share."""
    found = overlap_at_k(predicted, target, top_k)
    count = (found.value or 0.0) * top_k
    whole = round(count)
    interval = found.interval
    return {
        "k": top_k,
        "overlap_count": whole if abs(count - whole) < 1e-9 else count,
        "overlap_fraction": found.value,
        "chance": found.chance,
        "interval": None if interval is None else [interval.low, interval.high],
        "reason": found.reason,
    }


def scaled_top(top_k: int, part: int, rows: int) -> int:
    """The top of a part of the rows that is the same share of it as `top_k` of all."""
    return max(1, round(top_k * part / rows))


def compare(
    predicted: NDArray[np.float64],
    others: Mapping[str, NDArray[np.float64]],
    target: NDArray[np.float64],
    groups: Sequence[str],
) -> tuple[list[Comparison], dict[str, str]]:
    """The predictor's Spearman minus each other's on the same rows; and why some are left out."""
    arms = {PREDICTOR: predicted, **others}
    statistics: dict[str, Statistic] = {
        name: rank_correlation(each, target) for name, each in arms.items()
    }
    left_out = {
        name: f"{name}: {CONSTANT}, so there is no rank correlation"
        for name, statistic in statistics.items()
        if value_of(statistic, len(target)) is None
    }
    if PREDICTOR in left_out:
        return [], dict.fromkeys(others, left_out[PREDICTOR])
    pairs = [(PREDICTOR, name) for name in others if name not in left_out]
    found = statistic_differences(statistics, pairs, "spearman", len(target), groups)
    return found, left_out


def _root_mean_square(errors: NDArray[np.float64]) -> Statistic:
    def statistic(rows: Rows) -> float | None:
        return float(np.sqrt(np.mean(errors[rows] ** 2)))

    return statistic


def _mean_absolute(errors: NDArray[np.float64]) -> Statistic:
    def statistic(rows: Rows) -> float | None:
        return float(np.mean(np.abs(errors[rows])))

    return statistic
