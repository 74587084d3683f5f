"""Features found on some rows, measured again on the others, with intervals over groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whence.stats.intervals import CONFIDENCE, MIN_CLUSTERS, percentile_ends
from whence.stats.whole import DRAWS, MOST_UNDEFINED

# Entries of the largest array held at once: 4 M float64 are 32 MB.
_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class RateDifferences:
    """low, high [features]: NaN together, where `reason` says why."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    reason: Sequence[str | None]


def rate_differences(
    present: NDArray[np.bool_],
    top: NDArray[np.bool_],
    groups: NDArray[np.str_],
    *,
    draws: int = DRAWS,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> RateDifferences:
    """Interval of each feature's rate among top rows minus its rate among the rest.

    present: bool [rows, features]; top: bool [rows]; groups: a label per row. Percentile bootstrap
    over groups: all features under all draws are one matrix product, counts [draws, groups] @ sums
    [groups, features], of whole numbers and so the same on any machine.
    """
    features = present.shape[1]
    nothing = np.full(features, np.nan)
    codes = np.unique(groups, return_inverse=True)[1]
    count = int(codes.max(initial=-1)) + 1
    if count < MIN_CLUSTERS:
        noun = "group" if count == 1 else "groups"
        why = f"{count} {noun} held out, and an interval needs at least {MIN_CLUSTERS}"
        return RateDifferences(nothing, nothing, [why] * features)
    sums = [_by_group(present[side], codes[side], count) for side in (top, ~top)]
    sizes = [np.bincount(codes[side], minlength=count).astype(np.float64) for side in (top, ~top)]
    rng = np.random.default_rng(seed)
    even = np.full(count, 1 / count)
    drawn = np.full((draws, features), np.nan)
    at_once = max(1, _AT_ONCE // count)
    for start in range(0, draws, at_once):
        size = min(at_once, draws - start)
        counts = rng.multinomial(count, even, size=size).astype(np.float64)
        rows = [counts @ own for own in sizes]
        both = (rows[0] > 0) & (rows[1] > 0)
        rates = [counts[both] @ own / n[both, None] for own, n in zip(sums, rows, strict=True)]
        drawn[start : start + size][both] = rates[0] - rates[1]
    known = drawn[np.isfinite(drawn[:, :1]).all(axis=1)] if features else drawn
    if len(known) < (1 - MOST_UNDEFINED) * draws:
        why = f"{draws - len(known)} of {draws} resamples have no top row or no other, too many"
        return RateDifferences(nothing, nothing, [why] * features)
    low, high = nothing.copy(), nothing.copy()
    reason: list[str | None] = []
    for at in range(features):
        own = known[:, at]
        alike = bool(np.ptp(own) <= 1e-12 * np.abs(own).max())
        reason.append("resampling sees no spread" if alike else None)
        if not alike:
            low[at], high[at] = percentile_ends(own, confidence)
    return RateDifferences(low, high, reason)


def _by_group(
    present: NDArray[np.bool_], codes: NDArray[np.int64], count: int
) -> NDArray[np.float64]:
    """Rows of each group that have each feature, [groups, features]."""
    sums = np.zeros((count, present.shape[1]))
    np.add.at(sums, codes, present)
    return sums
