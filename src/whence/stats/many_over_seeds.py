"""Means over seeds × units for thousands of rows at once, each with the interval that
`hierarchical_bootstrap` and `over_clusters` give to one.

A sweep asks the same units (problems, prompts, items) about every configuration, under several
seeds. Rows that have the same cells share their resamples: units are drawn once, as counts
[draws, units], seeds as weights [draws, seeds], and the crossed means of all rows are one matrix
product a seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from whence.errors import BadInput
from whence.stats.intervals import CONFIDENCE, DRAWS, MIN_CLUSTERS
from whence.stats.many import exactly_summable, resampled_counts

Floats = NDArray[np.float64]

_ELEMENTS_AT_ONCE = 1 << 22
MOST_EMPTY = 0.01
"""Share of resamples that may hold no cell at all; above it there is no interval."""


@dataclass(frozen=True)
class ManyMeans:
    """Mean of the cells of each row, [rows] each.

    low, high, p, standard_error: NaN together, where `reason` says why. seeds, units: counted.
    """

    effect: Floats
    low: Floats
    high: Floats
    p: Floats
    standard_error: Floats
    seeds: NDArray[np.int64]
    units: NDArray[np.int64]
    reason: tuple[str | None, ...]


def many_over_seeds(
    values: ArrayLike,
    *,
    draws: int = DRAWS,
    confidence: float = CONFIDENCE,
    seed: int = 0,
    noun: str = "unit",
) -> ManyMeans:
    """Mean of every row of `values` [rows, seeds, units], NaN where a cell is absent.

    Two seeds or more: the widest, end by end, of the crossed percentile bootstrap (seeds and units
    drawn independently), Student's t over seed means and Student's t over unit means. One seed: the
    wider of the percentile bootstrap over units and t over them. p is the largest of the p's, so
    that p ≤ 1 − confidence exactly where 0 is outside; where no resample reaches 0, the bootstrap
    has no more to say than that, and t decides. Fewer than five units, or no spread: no interval.

    noun: what a unit is called in `reason`. The numbers do not depend on the number of threads, nor
    on what other rows there are. Raises BadInput for a wrong shape, an infinite value, or too few
    draws.
    """
    cells = np.asarray(values, dtype=np.float64)
    if cells.ndim != 3:
        raise BadInput(f"values has shape {cells.shape}: expected [rows, seeds, units]")
    if np.isinf(cells).any():
        raise BadInput("values holds an infinite number")
    tail = _tail(draws, confidence)
    rows = len(cells)
    effect, low, high, p, error = (np.full(rows, np.nan) for _ in range(5))
    seeds, units = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    reason: list[str | None] = ["no value"] * rows
    counted: dict[int, NDArray[np.uint8]] = {}
    for members, present in _alike(cells):
        by_seed, by_unit = present.any(axis=1), present.any(axis=0)
        mask = present[np.ix_(by_seed, by_unit)]
        seeds[members], units[members] = mask.shape
        count = mask.shape[1]
        if not count:
            continue
        # One row's cells alone may be many: as many rows at once as fit.
        for some in _chunks(members, max(draws, mask.size)):
            own = cells[some][:, by_seed][:, :, by_unit]
            own = np.where(mask, own, 0.0)
            effect[some] = own.sum(axis=(1, 2)) / mask.sum()
            why = _too_little(own, mask, effect[some], noun)
            for at, told in zip(some, why, strict=True):
                reason[at] = told
            known = np.array([told is None for told in why])
            if not known.any():
                continue
            if count not in counted:
                counted[count] = resampled_counts(count, draws, seed)
            means, whole = _resampled(own[known], mask, counted[count], seed)
            if whole.mean() < 1 - MOST_EMPTY:
                for at in some[known]:
                    reason[at] = "many resamples hold no value"
                continue
            found = _ends(
                own[known], mask, effect[some[known]], means[:, whole], tail, draws, confidence
            )
            low[some[known]], high[some[known]], p[some[known]], error[some[known]] = found
    return ManyMeans(effect, low, high, p, error, seeds, units, tuple(reason))


def within(found: ManyMeans, lowest: float, highest: float) -> ManyMeans:
    """The same with intervals cut off where values end: Student's t does not know of that."""
    return replace(found, low=np.maximum(found.low, lowest), high=np.minimum(found.high, highest))


def joined(parts: Sequence[ManyMeans]) -> ManyMeans:
    """Rows of several, one below the other."""
    return ManyMeans(
        effect=np.concatenate([part.effect for part in parts]),
        low=np.concatenate([part.low for part in parts]),
        high=np.concatenate([part.high for part in parts]),
        p=np.concatenate([part.p for part in parts]),
        standard_error=np.concatenate([part.standard_error for part in parts]),
        seeds=np.concatenate([part.seeds for part in parts]),
        units=np.concatenate([part.units for part in parts]),
        reason=tuple(why for part in parts for why in part.reason),
    )


def _alike(cells: Floats) -> Iterator[tuple[NDArray[np.int64], NDArray[np.bool_]]]:
    """Rows that have the same cells, and which these are [seeds, units]."""
    present = ~np.isnan(cells)
    packed = np.packbits(present.reshape(len(cells), -1), axis=1)
    groups: dict[bytes, list[int]] = {}
    for row, key in enumerate(packed):
        groups.setdefault(key.tobytes(), []).append(row)
    for rows in groups.values():
        yield np.array(rows), present[rows[0]]


def _chunks(members: NDArray[np.int64], width: int) -> list[NDArray[np.int64]]:
    at_once = max(1, _ELEMENTS_AT_ONCE // width)
    return np.split(members, range(at_once, len(members), at_once))


def _too_little(
    own: Floats, mask: NDArray[np.bool_], effect: Floats, noun: str
) -> list[str | None]:
    units = mask.shape[1]
    if units < MIN_CLUSTERS:
        told = f"{units} {noun}{'s' * (units != 1)}, and an interval needs at least {MIN_CLUSTERS}"
        return [told] * len(own)
    off = np.where(mask, np.abs(own - effect[:, None, None]), 0.0).max(axis=(1, 2))
    flat = off <= 1e-12 * np.abs(effect)
    told = f"all {noun}s show the same value, so resampling sees no spread"
    return [told if each else None for each in flat]


def _resampled(
    own: Floats, mask: NDArray[np.bool_], counts: NDArray[np.uint8], seed: int
) -> tuple[Floats, NDArray[np.bool_]]:
    """Mean of each row in each draw of seeds × units → [rows, draws], and draws that had a cell."""
    seeds, draws = len(mask), len(counts)
    weights = np.ones((draws, 1))
    if seeds > 1:
        # Another stream than the counts' own: seeds and units are drawn independently.
        rng = np.random.default_rng([seed, seeds])
        weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws).astype(float)
    summable = exactly_summable(own.reshape(len(own), -1)).reshape(own.shape)
    total = np.zeros((len(own), draws))
    cells = np.zeros(draws)
    at_once = max(1, _ELEMENTS_AT_ONCE // mask.shape[1])
    for start in range(0, draws, at_once):
        part = slice(start, start + at_once)
        drawn = counts[part].T.astype(np.float64)
        for s in range(seeds):
            total[:, part] += (summable[:, s] @ drawn) * weights[part, s]
            cells[part] += (mask[s].astype(np.float64) @ drawn) * weights[part, s]
    whole = cells > 0
    return total / np.where(whole, cells, 1.0), whole


def _ends(
    own: Floats,
    mask: NDArray[np.bool_],
    effect: Floats,
    means: Floats,
    tail: int,
    draws: int,
    confidence: float,
) -> tuple[Floats, Floats, Floats, Floats]:
    """low, high, p and standard error of each row [rows]."""
    left = means.shape[1]
    if left < draws:  # some resamples were empty
        tail = _tail(left, confidence)
    part = np.partition(means, (tail - 1, left - tail), axis=1)
    low, high = part[:, tail - 1].copy(), part[:, left - tail].copy()
    smaller = np.minimum((means <= 0).sum(axis=1), (means >= 0).sum(axis=1))
    p = np.where(smaller > 0, np.minimum(1.0, 2 * (1 + smaller) / (left + 1)), 0.0)
    # Influence of each cell on the ratio of totals; the plain deviation where none is missing.
    deviations = (own - effect[:, None, None] * mask) * mask.size / mask.sum()
    seeds, units = mask.shape
    error = np.zeros(len(own))
    axes = [(1, units)] if seeds == 1 else [(1, units), (2, seeds)]
    for axis, count in axes:
        own_error = deviations.mean(axis=axis).std(axis=1, ddof=1) / np.sqrt(count)
        reach, own_p = _student(effect, own_error, count - 1, confidence)
        low, high = np.minimum(low, effect - reach), np.maximum(high, effect + reach)
        p, error = np.maximum(p, own_p), np.maximum(error, own_error)
    if seeds > 1:
        error = np.maximum(error, means.std(axis=1))
    return low, high, p, error


def _student(effect: Floats, error: Floats, df: int, confidence: float) -> tuple[Floats, Floats]:
    from scipy.stats import t

    reach = t.ppf((1 + confidence) / 2, df) * error
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.where(
            error > 0, 2 * t.sf(np.abs(effect) / error, df), np.where(effect == 0, 1.0, 0.0)
        )
    return reach, p


def _tail(draws: int, confidence: float) -> int:
    """As `percentile_ends` counts: the order statistics that leave out the right share."""
    if not 0 < confidence < 1:
        raise BadInput(f"confidence is {confidence}: expected a number between 0 and 1, like 0.95")
    k = int(np.floor((draws + 1) * (1 - confidence) / 2 + 1e-9))
    if k < 1:
        raise BadInput(f"draws is {draws}: too few for a {confidence:.4g} interval")
    return k
