"""Paired differences: the same items under two arms, so that what items share cancels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from whence.errors import BadInput
from whence.stats.intervals import (
    CONFIDENCE,
    DRAWS,
    Interval,
    bootstrap_means,
    bootstrap_p,
    cluster_totals,
    finite_vector,
    percentile_ends,
    too_little_to_resample,
)


@dataclass(frozen=True)
class PairedDifference:
    """Mean of a − b over paired rows, in the values' unit, and how sure it is.

    interval, p and standard_error are None together, and then `reason` says why.
    clusters: how many independent units were resampled; items: paired rows;
    standard_error: of the mean over clusters (n − 1 in the denominator).
    """

    effect: float
    interval: Interval | None
    reason: str | None
    p: float | None
    clusters: int
    items: int
    standard_error: float | None


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    clusters: Sequence[object] | NDArray[np.generic] | None = None,
    *,
    draws: int = DRAWS,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> PairedDifference:
    """Mean of a − b with a percentile bootstrap over clusters and the p that goes with it.

    a, b: values of the same rows in the same order, [n] each. clusters: a label per row [n]; None
    makes each row its own cluster. p is the interval inverted (`bootstrap_p`): it is at most
    1 − confidence exactly when the interval leaves out 0, and never 0. Fewer than five clusters, or
    differences that are all equal: no interval and no p. Coverage: see `cluster_bootstrap`.

    Raises BadInput for lengths that differ, no rows, or a value that is not finite.
    """
    left, right = finite_vector(a, "a"), finite_vector(b, "b")
    if len(left) != len(right):
        raise BadInput(f"a has {len(left)} rows and b has {len(right)}: they must be the same rows")
    sums, sizes = cluster_totals(left - right, clusters)
    return difference_from_totals(sums, sizes, draws=draws, confidence=confidence, seed=seed)


def difference_from_totals(
    sums: NDArray[np.float64],
    sizes: NDArray[np.float64],
    *,
    draws: int,
    confidence: float,
    seed: int,
) -> PairedDifference:
    """`paired_difference` from the total difference and row count of each cluster, [clusters]."""
    count, items = len(sums), int(sizes.sum())
    effect = float(sums.sum() / sizes.sum())
    reason = too_little_to_resample(sums, sizes)
    if reason is not None:
        return PairedDifference(effect, None, reason, None, count, items, None)
    means = bootstrap_means(sums, sizes, draws=draws, seed=seed)
    low, high = percentile_ends(means, confidence)
    method = f"percentile bootstrap over {count} clusters, {draws} draws"
    # Linearised ratio estimator (Cochran 1977, ch. 6): plain s/√n when clusters have one row each.
    influence = (sums - effect * sizes) * count / sizes.sum()
    return PairedDifference(
        effect=effect,
        interval=Interval(low, high, confidence, method, count),
        reason=None,
        p=bootstrap_p(means),
        clusters=count,
        items=items,
        standard_error=float(np.sqrt(influence @ influence / (count - 1) / count)),
    )


def mcnemar_exact(a_right: ArrayLike, b_right: ArrayLike) -> float:
    """Exact two-sided McNemar p for paired right/wrong answers [n] (0/1 or bool).

    Only items where a and b disagree carry information; under no difference each side wins such an
    item with probability ½ (McNemar 1947; exact binomial form). No disagreement: p = 1.

    Raises BadInput for values other than 0/1 or lengths that differ.
    """
    from scipy.stats import binomtest

    a, b = finite_vector(a_right, "a_right"), finite_vector(b_right, "b_right")
    if len(a) != len(b):
        raise BadInput(f"a_right has {len(a)} rows and b_right has {len(b)}: same rows, please")
    if not (is_right_wrong(a) and is_right_wrong(b)):
        raise BadInput("McNemar's test needs right/wrong values: 0 or 1 in every row")
    a_only = int(np.count_nonzero(a > b))
    b_only = int(np.count_nonzero(b > a))
    if a_only + b_only == 0:
        return 1.0
    return float(binomtest(a_only, a_only + b_only, 0.5).pvalue)


def is_right_wrong(values: NDArray[np.float64]) -> bool:
    """Whether every value is 0 or 1."""
    return bool(np.all((values == 0) | (values == 1)))
