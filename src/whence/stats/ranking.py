"""How far two rankings agree, and how many of the wanted rows a ranking puts first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from whence.errors import BadInput
from whence.stats.intervals import CONFIDENCE, MIN_CLUSTERS, Interval, finite_vector


@dataclass(frozen=True)
class RankStatistic:
    """value, with what pure chance would give; `reason` where value or interval is None.

    rows: rows ranked; k: depth, None for a whole-list statistic.
    """

    value: float | None
    interval: Interval | None
    reason: str | None
    chance: float
    rows: int
    k: int | None = None


def spearman(x: ArrayLike, y: ArrayLike, *, confidence: float = CONFIDENCE) -> RankStatistic:
    """Spearman's ρ of two score vectors [n], ties at their mean rank.

    Interval: Fisher z with the variance (1 + ρ²/2)/(n − 3) of Bonett & Wright 2000 (Psychometrika
    65:23); measured coverage of the nominal 95 % on bivariate normals: 0.95 – 0.96 for n from 20 to
    300 and ρ up to 0.9. Fewer than five rows or |ρ| = 1: no interval. A constant vector: no value.

    Raises BadInput for lengths that differ or a value that is not finite.
    """
    from scipy.stats import norm, spearmanr

    a, b = _same_length(x, y, "x", "y")
    n = len(a)
    for name, vector in (("x", a), ("y", b)):
        if np.ptp(vector) == 0:
            return RankStatistic(None, None, f"{name} is the same in all {n} rows", 0.0, n)
    rho = float(spearmanr(a, b).statistic)
    if n < MIN_CLUSTERS:
        reason = f"{n} rows, and an interval needs at least {MIN_CLUSTERS}"
        return RankStatistic(rho, None, reason, 0.0, n)
    if abs(rho) >= 1 - 1e-12:
        return RankStatistic(rho, None, "the rankings are the same or reversed", 0.0, n)
    reach = float(norm.ppf((1 + confidence) / 2)) * np.sqrt((1 + rho**2 / 2) / (n - 3))
    centre = np.arctanh(rho)
    low, high = float(np.tanh(centre - reach)), float(np.tanh(centre + reach))
    interval = Interval(low, high, confidence, f"Bonett–Wright over {n} rows", n)
    return RankStatistic(rho, interval, None, 0.0, n)


def precision_at_k(
    scores: ArrayLike, wanted: ArrayLike, k: int, *, confidence: float = CONFIDENCE
) -> RankStatistic:
    """Share of `wanted` rows (bool [n]) among the k highest `scores` [n].

    Rows tied at the k-th place count by the share of them that fits, so the order of rows never
    matters. chance: the share of wanted rows in the whole pool. Interval: Wilson 1927 on k rows,
    never of zero width; measured coverage of the nominal 95 % over fresh pools 0.93 – 0.97 (k from
    20 to 200). Fewer than five rows in the top: none.

    Raises BadInput for lengths that differ, a value that is not finite, or k outside 1…n.
    """
    ranked, flags = _same_length(scores, wanted, "scores", "wanted")
    if not np.all((flags == 0) | (flags == 1)):
        raise BadInput("wanted must be true or false (1 or 0) in every row")
    share = float(_top_share(ranked, k) @ flags) / k
    return _proportion(share, float(flags.mean()), len(ranked), k, confidence)


def overlap_at_k(
    a: ArrayLike, b: ArrayLike, k: int, *, confidence: float = CONFIDENCE
) -> RankStatistic:
    """Share of the k highest of `a` [n] that are also among the k highest of `b` [n].

    chance: k/n. Ties at the k-th place are broken in each list on its own. Interval as in
    `precision_at_k`; measured coverage 0.96 – 0.99.

    Raises BadInput for lengths that differ, a value that is not finite, or k outside 1…n.
    """
    left, right = _same_length(a, b, "a", "b")
    share = float(_top_share(left, k) @ _top_share(right, k)) / k
    return _proportion(share, k / len(left), len(left), k, confidence)


def _top_share(scores: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """1 above the cut, 0 below, and the share that fits for rows tied at it; sums to k. [n]"""
    if not 1 <= k <= len(scores):
        raise BadInput(f"k is {k}: expected between 1 and the {len(scores)} rows there are")
    cut = np.partition(scores, len(scores) - k)[len(scores) - k]
    above, tied = scores > cut, scores == cut
    return np.asarray(above + tied * (k - above.sum()) / tied.sum())


def _proportion(share: float, chance: float, rows: int, k: int, confidence: float) -> RankStatistic:
    from scipy.stats import norm

    if k < MIN_CLUSTERS:
        reason = f"{k} rows at the top, and an interval needs at least {MIN_CLUSTERS}"
        return RankStatistic(share, None, reason, chance, rows, k)
    # Written out because scipy's proportion_ci takes whole counts only, and ties make shares.
    z = float(norm.ppf((1 + confidence) / 2))
    centre = (share + z**2 / (2 * k)) / (1 + z**2 / k)
    reach = z / (1 + z**2 / k) * np.sqrt(share * (1 - share) / k + z**2 / (4 * k**2))
    low, high = max(0.0, float(centre - reach)), min(1.0, float(centre + reach))
    return RankStatistic(
        share, Interval(low, high, confidence, f"Wilson over {k} rows", k), None, chance, rows, k
    )


def _same_length(
    x: ArrayLike, y: ArrayLike, x_name: str, y_name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b = finite_vector(x, x_name), finite_vector(y, y_name)
    if len(a) != len(b):
        raise BadInput(f"{x_name} has {len(a)} rows and {y_name} has {len(b)}: same rows, please")
    return a, b
