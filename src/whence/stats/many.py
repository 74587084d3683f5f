"""Paired differences for a thousand comparisons over the same clusters, from one set of resamples.

A sweep over heads asks the same prompts about every head. Each resample of the prompts is drawn
once, as the number of times that each prompt was drawn, and the means of all comparisons under all
resamples are one matrix product: counts [draws, clusters] @ totals [clusters, comparisons]. That is
the bootstrap of `paired_difference`, as fast as a matrix multiplies; comparisons that share their
resamples also share their luck, so differences between them are no noisier than the data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from whence.errors import BadInput
from whence.stats.intervals import CONFIDENCE, DRAWS, percentile_ends, too_little_to_resample
from whence.stats.multiplicity import benjamini_hochberg

Floats = NDArray[np.float64]

# Elements of the largest array held at once: 4 M float64 are 32 MB, whatever the comparison count.
_ELEMENTS_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class ManyDifferences:
    """Mean difference per comparison, [comparisons] each, in the unit of that comparison's values.

    low, high, p and standard_error are NaN together, where `reason` says why; elsewhere it is None.
    clusters: how many independent units were resampled; rows: rows behind each mean.
    """

    effect: Floats
    low: Floats
    high: Floats
    p: Floats
    standard_error: Floats
    reason: tuple[str | None, ...]
    clusters: int
    rows: int


def many_differences(
    deltas: ArrayLike,
    clusters: Sequence[object] | NDArray[np.generic] | None = None,
    *,
    weights: ArrayLike | None = None,
    draws: int = DRAWS,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> ManyDifferences:
    """Mean of each column of `deltas` [rows, comparisons] with interval and p, clusters resampled.

    clusters: a label per row [rows]; None makes each row its own cluster. weights: of the rows in
    the mean [rows], positive; None weighs all alike. The effect is that of `paired_difference`, the
    interval its percentile interval up to Monte-Carlo error (the draws are others). Fewer than five
    clusters, or a column whose clusters all agree: no interval and no p.

    p is the bootstrap's, which cannot fall below 2/(draws + 1): too coarse to survive a correction
    for a thousand heads. Where no resample reaches zero, so that p stands at that floor, the tail
    beyond is taken from Student's t of effect/standard error with clusters − 1 degrees of freedom,
    and the smaller of the two is p. So p ≤ 1 − confidence still holds exactly where the interval
    leaves out 0; far in the tail, p leans on the mean of prompts being nearly normal.

    The same numbers come out whatever the number of BLAS threads (see `exactly_summable`).
    Memory: about 150 MB beyond `deltas`, plus draws × clusters bytes.

    Raises BadInput for wrong shapes, no rows, values that are not finite, or too few draws.
    """
    values, weight = _checked(deltas, weights)
    sums, sizes = _totals(values, clusters, weight)
    comparisons, count = sums.shape
    effect = sums.sum(axis=1) / sizes.sum()
    reason = tuple(too_little_to_resample(own, sizes) for own in sums)
    low, high, p, error = (np.full(comparisons, np.nan) for _ in range(4))
    shown = np.flatnonzero([why is None for why in reason])
    if shown.size:
        counts = resampled_counts(count, draws, seed)
        error[shown] = _standard_errors(sums[shown], sizes, effect[shown])
        at_once = max(1, _ELEMENTS_AT_ONCE // draws)
        for some in np.split(shown, range(at_once, shown.size, at_once)):
            means = _resampled_means(sums[some], sizes, counts)
            p[some] = _tail_p(means, effect[some], error[some], count - 1)
            ends = np.array([percentile_ends(own, confidence) for own in means])
            low[some], high[some] = ends.T
    return ManyDifferences(effect, low, high, p, error, reason, count, len(values))


def false_discovery(p: ArrayLike) -> Floats:
    """Benjamini–Hochberg q of each p [comparisons]; NaN stays NaN and is not in the family."""
    known = [None if np.isnan(value) else float(value) for value in np.asarray(p, np.float64)]
    return np.array([np.nan if q is None else q for q in benjamini_hochberg(known)])


def percentile_within(values: ArrayLike, groups: Sequence[object] | NDArray[np.generic]) -> Floats:
    """100 × share of the values of its own group that are ≤ it, for each of `values` [n].

    groups: a label per value [n]. The largest of a group has 100, the smallest of k has 100/k; tied
    values share the higher percentile.
    """
    numbers = np.asarray(values, dtype=np.float64)
    codes = np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1)
    result = np.empty(len(numbers))
    for code in range(codes.max(initial=-1) + 1):
        own = codes == code
        result[own] = percentile_among(numbers[own], numbers[own])
    return result


def percentile_among(values: ArrayLike, reference: ArrayLike) -> Floats:
    """100 × share of `reference` [m] that is ≤ each of `values` [n] → [n]; m ≥ 1."""
    ordered = np.sort(np.asarray(reference, dtype=np.float64))
    found = np.searchsorted(ordered, np.asarray(values, dtype=np.float64), side="right")
    return np.asarray(100.0 * found / len(ordered))


def _checked(deltas: ArrayLike, weights: ArrayLike | None) -> tuple[Floats, Floats | None]:
    values = np.asarray(deltas, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] == 0:
        raise BadInput(f"deltas has shape {values.shape}: expected [rows, comparisons]")
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = bad[0]
        raise BadInput(
            f"deltas row {row} of comparison {column} is {values[row, column]}: expected finite "
            f"numbers ({len(bad)} of {values.size} are not)"
        )
    if weights is None:
        return values, None
    weight = np.asarray(weights, dtype=np.float64)
    if weight.shape != values.shape[:1] or not (np.isfinite(weight) & (weight > 0)).all():
        raise BadInput(f"weights must be {len(values)} positive numbers, one per row of deltas")
    return values, weight


def _totals(
    values: Floats,
    clusters: Sequence[object] | NDArray[np.generic] | None,
    weights: Floats | None,
) -> tuple[Floats, Floats]:
    """Weighted sums [comparisons, clusters] and sizes [clusters], clusters in order of label."""
    if weights is not None:
        values = values * weights[:, None]
    if clusters is None:
        sizes = np.ones(len(values)) if weights is None else weights
        return np.ascontiguousarray(values.T), sizes
    if len(clusters) != len(values):
        raise BadInput(f"{len(values)} rows but {len(clusters)} cluster labels: one each, please")
    codes = np.unique(np.asarray(clusters), return_inverse=True)[1].reshape(-1)
    sizes = np.bincount(codes, weights=weights).astype(np.float64)
    sums = np.empty((values.shape[1], len(sizes)))
    for column, own in enumerate(np.ascontiguousarray(values.T)):
        sums[column] = np.bincount(codes, weights=own)
    return sums, sizes


def resampled_counts(clusters: int, draws: int, seed: int) -> NDArray[np.uint8]:
    """How often each cluster is in each resample [draws, clusters]; every row sums to `clusters`.

    A count is nearly Poisson with mean 1, so it never comes near the 255 that a byte holds.
    """
    rng = np.random.default_rng(seed)
    counts = np.empty((draws, clusters), dtype=np.uint8)
    for rows in _slices(draws, clusters):
        size = rows.stop - rows.start
        counts[rows] = rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=size)
    return counts


def _resampled_means(sums: Floats, sizes: Floats, counts: NDArray[np.uint8]) -> Floats:
    """Mean of each comparison in each resample → [comparisons, draws]."""
    totals, rows = exactly_summable(sums), exactly_summable(sizes[None, :])
    means = np.empty((len(sums), len(counts)))
    for some in _slices(len(counts), counts.shape[1]):
        drawn = counts[some].T.astype(np.float64)
        means[:, some] = totals @ drawn
        means[:, some] /= rows @ drawn
    return means


def exactly_summable(sums: Floats) -> Floats:
    """`sums` [comparisons, clusters] rounded so that any resample of them adds up without error.

    Each row is rounded to a multiple of a power of two so coarse that the sum of `clusters` of them
    keeps within float64's 53 bits. Then no order of summation differs from another, and the matrix
    product is the same number on any machine with any number of threads. The rounding is relative
    to the row's largest entry, at most clusters × 2⁻⁵².
    """
    largest = np.abs(sums).max(axis=1, keepdims=True) * sums.shape[1]
    exponent = np.ceil(np.log2(np.where(largest > 0, largest, 1.0))) - 52
    step = np.exp2(np.maximum(exponent, -1022))
    return np.asarray(np.rint(sums / step) * step)


def _standard_errors(sums: Floats, sizes: Floats, effect: Floats) -> Floats:
    # Linearised ratio estimator (Cochran 1977, ch. 6), as in `paired_difference`.
    count = sums.shape[1]
    influence = (sums - effect[:, None] * sizes) * count / sizes.sum()
    return np.asarray(np.sqrt((influence**2).sum(axis=1) / (count - 1) / count))


def _tail_p(means: Floats, effect: Floats, error: Floats, df: int) -> Floats:
    from scipy.stats import t

    draws = means.shape[1]
    below, above = (means <= 0).sum(axis=1), (means >= 0).sum(axis=1)
    smaller = np.minimum(below, above)
    p = np.minimum(1.0, 2 * (1 + smaller) / (draws + 1))
    beyond = 2 * t.sf(np.abs(effect) / error, df)
    return np.asarray(np.where(smaller == 0, np.minimum(p, beyond), p))


def _slices(rows: int, columns: int) -> Iterator[slice]:
    at_once = max(1, _ELEMENTS_AT_ONCE // columns)
    for start in range(0, rows, at_once):
        yield slice(start, min(start + at_once, rows))
