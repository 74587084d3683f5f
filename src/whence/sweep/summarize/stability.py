"""Would another seed, or other units, have ranked the same?"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from whence.sweep.summarize.board import Board, label, seed_means, telling
from whence.sweep.summarize.contest import Contest, Floats, one_seed

if TYPE_CHECKING:
    import pandas as pd

HALVINGS = 20
MOST_PAIRS = 45
"""Pairs of seeds that are compared; of more seeds the first of them in order."""


def stability_table(board: Board) -> pd.DataFrame:
    """A row per competing row: `sd_over_seeds`, the best and the worst place it has under single
    seeds (empty where fewer than two seeds differ)."""
    import pandas as pd

    contest, order = board.contest, board.ranking
    names = telling(contest)
    places = ranks_by_seed(contest, order)
    several = places.shape[1] > 1
    empty = np.full(len(order), np.nan)
    return pd.DataFrame(
        {
            "group": contest.name,
            "rank": board.rank[order],
            "row": [
                label(contest.standings[row], contest.series[row], names) for row in order
            ],
            "seeds": np.where(contest.seeded[order], board.overall.seeds[order], 0),
            "sd_over_seeds": board.sd[order],
            "best_rank": np.nanmin(places, axis=1) if several else empty,
            "worst_rank": np.nanmax(places, axis=1) if several else empty,
        }
    )  # fmt: skip


def ranks_by_seed(contest: Contest, rows: NDArray[np.int64]) -> Floats:
    """Place of each row under each seed that most rows have [rows, seeds]; ties share the mean
    place. A row that no seed changes has the same number under each."""
    from scipy.stats import rankdata

    means = _means(contest, rows)
    return np.asarray(rankdata(-means * contest.sign, axis=0, nan_policy="omit"))


def agreement(board: Board, seed: int = 0) -> dict[str, Any]:
    """How far rankings agree: mean Spearman's ρ and Kendall's τ between every two seeds, and
    between two halves of the units, drawn twenty times; None, with a reason, where there are none.
    """
    contest, rows = board.contest, board.ranking
    found: dict[str, Any] = {}
    if len(rows) < 2:
        why = {"reason": "one row has no order"}
        return {"seeds": why, "halves": why}
    means = _means(contest, rows)
    by_seed = list(combinations(range(means.shape[1]), 2))[:MOST_PAIRS]
    if not contest.seeded[rows].any() or not by_seed:
        found["seeds"] = {"reason": "fewer than two seeds that differ"}
    else:
        pairs = ((means[:, a], means[:, b]) for a, b in by_seed)
        found["seeds"] = _agree(pairs) | {"seeds": means.shape[1]}
    units = len(contest.units)
    if units < 4:
        found["halves"] = {"reason": f"{units} units cannot be halved"}
    else:
        found["halves"] = _agree(_halves(contest, rows, seed)) | {"units": units}
    return found


def _halves(
    contest: Contest, rows: NDArray[np.int64], seed: int
) -> Iterator[tuple[Floats, Floats]]:
    by_unit = one_seed(contest.test[rows])
    rng = np.random.default_rng(seed)
    for _ in range(HALVINGS):
        drawn = rng.permutation(by_unit.shape[1])
        cut = len(drawn) // 2
        yield _unit_means(by_unit[:, drawn[:cut]]), _unit_means(by_unit[:, drawn[cut:]])


def _unit_means(values: Floats) -> Floats:
    return one_seed(values[:, :, None])[:, 0]


def _means(contest: Contest, rows: NDArray[np.int64]) -> Floats:
    """Means under each seed that at least half of the rows have [rows, seeds]."""
    means = seed_means(contest.test[rows])
    still = ~contest.seeded[rows]
    means[still] = one_seed(means[still][:, :, None])
    return means[:, (~np.isnan(means)).mean(axis=0) >= 0.5]


def _agree(pairs: Iterator[tuple[Floats, Floats]]) -> dict[str, Any]:
    from scipy.stats import kendalltau, spearmanr

    rho, tau = [], []
    for a, b in pairs:
        both = ~(np.isnan(a) | np.isnan(b))
        a, b = a[both], b[both]
        if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
            continue
        rho.append(float(spearmanr(a, b).statistic))
        tau.append(float(kendalltau(a, b).statistic))
    if not rho:
        return {"reason": "all rows have the same number"}
    return {"spearman": float(np.mean(rho)), "kendall": float(np.mean(tau)), "pairs": len(rho)}
