"""Percentile bootstrap over clusters: the interval that every Whence number carries.

Rows that share a problem, a prompt or a seed are not independent, so whole clusters are drawn with
replacement and the mean over their rows is taken anew each time (Field & Welsh 2007, "Bootstrapping
clustered data", JRSS-B 69:369; Davison & Hinkley 1997, §3.8).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from whence.errors import BadInput

DRAWS = 10_000
CONFIDENCE = 0.95
MIN_CLUSTERS = 5
# Drawn indices held at once: 4 M int64 and as many float64 are 64 MB, whatever the cluster count.
_INDICES_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Interval:
    """low ≤ high in the unit of the values; `clusters` were resampled as `method` says."""

    low: float
    high: float
    confidence: float
    method: str
    clusters: int


@dataclass(frozen=True)
class NoInterval:
    """Why there is no honest interval."""

    reason: str
    clusters: int


def cluster_bootstrap(
    values: ArrayLike,
    clusters: Sequence[object] | NDArray[np.generic] | None = None,
    *,
    draws: int = DRAWS,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Interval | NoInterval:
    """Interval for the mean of `values` [n], resampling whole clusters.

    clusters: a label per value [n]; None makes each value its own cluster. Fewer than five, or
    clusters that all agree, give `NoInterval`: a resample of so little shows a spread that is too
    small or none. Above that the plain percentile interval is still a little narrow while
    clusters are few: measured coverage of the nominal 95 % on normal data is 0.83 with 5 clusters,
    0.90 with 10, 0.93 with 20, 0.94 with 50.

    Raises BadInput for no values, a value that is not finite, lengths that differ, or too few draws
    for the confidence.
    """
    sums, sizes = cluster_totals(finite_vector(values, "values"), clusters)
    reason = too_little_to_resample(sums, sizes)
    if reason is not None:
        return NoInterval(reason, len(sums))
    means = bootstrap_means(sums, sizes, draws=draws, seed=seed)
    low, high = percentile_ends(means, confidence)
    method = f"percentile bootstrap over {len(sums)} clusters, {draws} draws"
    return Interval(low, high, confidence, method, len(sums))


def too_little_to_resample(sums: NDArray[np.float64], sizes: NDArray[np.float64]) -> str | None:
    """Why totals per cluster [clusters] cannot carry an interval, or None when they can."""
    count = len(sums)
    if count < MIN_CLUSTERS:
        noun = "cluster" if count == 1 else "clusters"
        return f"{count} {noun}, and an interval needs at least {MIN_CLUSTERS}"
    # Equal up to rounding: the mean of three 0.1s is not the mean of two of them, to the last bit.
    means = sums / sizes
    if np.ptp(means) <= 1e-12 * np.abs(means).max():
        return f"all {count} clusters have the same mean, so resampling sees no spread"
    return None


def bootstrap_means(
    sums: NDArray[np.float64], sizes: NDArray[np.float64], *, draws: int, seed: int
) -> NDArray[np.float64]:
    """Mean over rows in each of `draws` resamples of the clusters → [draws].

    sums, sizes: [clusters], total of the values and number of rows per cluster. Gathers and sums
    rather than a matrix product: NumPy's own sums do not change with the number of BLAS threads.
    """
    same_size = bool(np.all(sizes == sizes[0]))
    means = np.empty(draws)
    done = 0
    for drawn in resampled_indices(np.random.default_rng(seed), len(sums), draws):
        rows = len(sums) * sizes[0] if same_size else sizes.take(drawn).sum(axis=1)
        means[done : done + len(drawn)] = sums.take(drawn).sum(axis=1) / rows
        done += len(drawn)
    return means


def resampled_indices(
    rng: np.random.Generator, count: int, draws: int
) -> Iterator[NDArray[np.int64]]:
    """Indices drawn with replacement, [some of the draws, count] at a time, bounded in memory."""
    at_once = max(1, _INDICES_AT_ONCE // count)
    for start in range(0, draws, at_once):
        yield rng.integers(0, count, size=(min(at_once, draws - start), count))


def percentile_ends(means: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """The order statistics number k and B+1−k of B draws, k = ⌊(B+1)(1−confidence)/2⌋.

    Order statistics rather than interpolated quantiles, so that 0 lies outside exactly when
    `bootstrap_p` is at most 1 − confidence. Raises BadInput when B is too small for k ≥ 1.
    """
    if not 0 < confidence < 1:
        raise BadInput(f"confidence is {confidence}: expected a number between 0 and 1, like 0.95")
    draws = len(means)
    k = _tail_count(draws, confidence)
    if k < 1:
        raise BadInput(
            f"draws is {draws}: a {confidence:.4g} interval needs at least "
            f"{int(np.ceil(2 / (1 - confidence) - 1e-9)) - 1}"
        )
    part = np.partition(means, (k - 1, draws - k))
    return float(part[k - 1]), float(part[draws - k])


def bootstrap_p(means: NDArray[np.float64]) -> float:
    """Two-sided p for "the mean is 0": twice the smaller tail, each tail (1 + count)/(B + 1).

    The interval inverted (Davison & Hinkley 1997, ch. 5): p ≤ 1 − confidence exactly when
    0 is outside `percentile_ends`. Draws equal to 0 count in both tails; p is never 0, at least
    2/(B + 1).
    """
    draws = len(means)
    smaller = min(int(np.count_nonzero(means <= 0)), int(np.count_nonzero(means >= 0)))
    return min(1.0, 2 * (1 + smaller) / (draws + 1))


def cluster_totals(
    values: NDArray[np.float64], clusters: Sequence[object] | NDArray[np.generic] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and row count per cluster, [clusters] each.

    Clusters come in sorted order of their labels, so the order of rows does not matter.
    """
    if clusters is None:
        return values, np.ones(len(values))
    if len(clusters) != len(values):
        raise BadInput(f"{len(values)} values but {len(clusters)} cluster labels: one each, please")
    codes = np.unique(np.asarray(clusters), return_inverse=True)[1].reshape(-1)
    sums = np.bincount(codes, weights=values)
    return np.asarray(sums, dtype=np.float64), np.bincount(codes).astype(np.float64)


def finite_vector(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """`values` as float64 [n]; BadInput naming `name` and the row when empty or not finite."""
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1 or vector.size == 0:
        raise BadInput(f"{name} has shape {vector.shape}: expected one number per row")
    bad = np.flatnonzero(~np.isfinite(vector))
    if bad.size:
        raise BadInput(
            f"{name} row {bad[0]} is {vector[bad[0]]}: expected finite numbers "
            f"({bad.size} of {vector.size} are not)"
        )
    return vector


def _tail_count(draws: int, confidence: float) -> int:
    # 1 − 0.95 is 0.05000000000000004 in floating point; the slack keeps whole tails whole.
    return int(np.floor((draws + 1) * (1 - confidence) / 2 + 1e-9))
