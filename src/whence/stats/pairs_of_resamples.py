"""A mean over pairs of resamples, judged against both of its chances: which resamples, which rows.

Rankings made from R resamples of the queries are compared pair by pair, on the rows of one pool.
Other resamples would have given other pairs: the jackknife over resamples sees that (Efron & Stein
1981; for a mean over pairs it errs on the wide side). Other rows would have given another pool: the
bootstrap over rows sees that. The two are independent, so their variances add; the interval is
Student's t with R − 1 degrees of freedom.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from whence.stats.agreement import Agreement
from whence.stats.intervals import CONFIDENCE, MIN_CLUSTERS, Interval, NoInterval

Blocks = Sequence[Sequence[int]]
"""Blocks of rankings, one ranking per resample in each, resamples in the same order."""


def without_each(agreement: Agreement, measure: str, blocks: Blocks) -> NDArray[np.float64]:
    """The mean over pairs within blocks, with each resample left out in turn. [resamples]"""
    return np.array(
        [
            agreement.value(measure, pairs_within(agreement, blocks, left_out))
            for left_out in range(len(blocks[0]))
        ]
    )


def pairs_within(agreement: Agreement, blocks: Blocks, left_out: int | None = None) -> list[int]:
    """Numbers of the pairs of rankings of one block, a resample left out if one is named."""
    kept = [[each for at, each in enumerate(block) if at != left_out] for block in blocks]
    at = {pair: number for number, pair in enumerate(agreement.pairs)}
    return [at[min(pair), max(pair)] for block in kept for pair in combinations(block, 2)]


def two_chances(
    value: float,
    draws: NDArray[np.float64],
    without: NDArray[np.float64],
    clusters: int,
    *,
    confidence: float = CONFIDENCE,
    bounds: tuple[float, float] = (-1.0, 1.0),
) -> tuple[Interval | NoInterval, float | None]:
    """Interval of `value` and two-sided p for "it is 0".

    draws: `value` over resampled rows, [draws]. without: `value` with each resample left out,
    [resamples]. clusters: of rows. bounds: what `value` can be at least and at
    most; ends are cut there. Fewer than five clusters or resamples, or no spread at all: no
    interval and no p.
    """
    from scipy.stats import t

    resamples = len(without)
    if clusters < MIN_CLUSTERS:
        noun = "cluster" if clusters == 1 else "clusters"
        return NoInterval(
            f"{clusters} {noun} of rows, and an interval needs at least {MIN_CLUSTERS}", clusters
        ), None
    if resamples < MIN_CLUSTERS:
        return NoInterval(
            f"{resamples} resamples, and an interval needs at least {MIN_CLUSTERS}", clusters
        ), None
    jackknife = (resamples - 1) / resamples * float(((without - without.mean()) ** 2).sum())
    error = float(np.sqrt(jackknife + draws.var(ddof=1)))
    if error <= 1e-12:
        return NoInterval("neither resamples nor rows change it", clusters), None
    reach = float(t.ppf((1 + confidence) / 2, resamples - 1)) * error
    method = f"Student's t over {resamples} resamples and {clusters} clusters of rows"
    interval = Interval(
        max(bounds[0], value - reach), min(bounds[1], value + reach), confidence, method, clusters
    )
    return interval, float(2 * t.sf(abs(value) / error, resamples - 1))
