"""Two thresholds on a score: below one a sentence is no anchor, above the other it is, else defer.

    score ≥ t_pos             anchor
    score ≤ t_neg             no anchor, unless it is also ≥ t_pos
    between                   deferred: its label is measured by rollouts

Candidates are quantiles of the scores and a value beyond either end; every pair t_neg ≤ t_pos is
looked at. With k candidates a search costs k² counts, however many rows there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Objective = Literal["budget", "error"]

NEGATIVE, POSITIVE, DEFER = 0, 1, 2
DECISIONS = ("no anchor", "anchor", "defer")
"""What a decision is called, by its number."""

BEYOND = 1e-6
"""How far the outermost candidates lie outside the scores."""
SLACK = 1e-12
"""A deferral above its budget by this much is rounding."""


@dataclass(frozen=True)
class Thresholds:
    """t_neg ≤ t_pos, in units of the score."""

    t_neg: float
    t_pos: float

    def decide(self, scores: NDArray[np.floating]) -> NDArray[np.int8]:
        """NEGATIVE, POSITIVE or DEFER for every score, [rows]."""
        values = np.asarray(scores, dtype=np.float64)
        decisions = np.full(len(values), DEFER, dtype=np.int8)
        decisions[values <= self.t_neg] = NEGATIVE
        decisions[values >= self.t_pos] = POSITIVE
        return decisions


@dataclass(frozen=True)
class Chosen:
    """thresholds: the best pair. meets: whether it does what was asked of it."""

    thresholds: Thresholds
    meets: bool


@dataclass(frozen=True)
class Pairs:
    """Every pair of candidates on one set of rows.

    t_neg, t_pos: [pairs]. accepted, wrong: how many of the `rows` each pair decides, and decides
    wrongly, [pairs].
    """

    t_neg: NDArray[np.float64]
    t_pos: NDArray[np.float64]
    accepted: NDArray[np.int64]
    wrong: NDArray[np.int64]
    rows: int

    def choose(self, objective: Objective, limit: float) -> Chosen:
        """The best pair.

        budget: least (error, deferral, t_neg, t_pos) with deferral ≤ limit.
        error: least (deferral, error, t_neg, t_pos) with error ≤ limit. Where no pair does that,
        the one with least (error, deferral, t_neg, t_pos), and `meets` is False.

        A pair that accepts nothing has no error and is never chosen.
        """
        some = self.accepted > 0
        error = self.wrong[some] / self.accepted[some]
        deferral = (self.rows - self.accepted[some]) / self.rows
        t_neg, t_pos = self.t_neg[some], self.t_pos[some]
        feasible = deferral <= limit + SLACK if objective == "budget" else error <= limit
        meets = bool(feasible.any())
        among = np.flatnonzero(feasible if meets else np.ones(len(error), dtype=bool))
        first, second = (deferral, error) if objective == "error" and meets else (error, deferral)
        order = np.lexsort((t_pos[among], t_neg[among], second[among], first[among]))
        best = among[order[0]]
        return Chosen(Thresholds(float(t_neg[best]), float(t_pos[best])), meets)


def candidates(scores: NDArray[np.float32], grid_size: int) -> NDArray[np.float64]:
    """Distinct values to cut at: `grid_size` quantiles of the scores, and one beyond either end."""
    quantiles = np.quantile(scores, np.linspace(0.0, 1.0, grid_size)).astype(np.float64)
    ends = [float(scores.min()) - BEYOND, float(scores.max()) + BEYOND]
    return np.unique(np.concatenate([ends, quantiles]))


def all_pairs(
    scores: NDArray[np.float32], anchors: NDArray[np.bool_], grid_size: int = 101
) -> Pairs:
    """Count what every pair of candidates would decide.

    scores: [rows], at least one. anchors: the truth, [rows].
    """
    cuts = candidates(scores, grid_size)
    order = np.argsort(scores, kind="stable")
    ordered = np.asarray(scores, dtype=np.float64)[order]
    anchors_before = np.concatenate([[0], np.cumsum(anchors[order])])
    up_to = np.searchsorted(ordered, cuts, side="right")  # rows with score ≤ cut
    below = np.searchsorted(ordered, cuts, side="left")  # rows with score < cut
    low, high = np.triu_indices(len(cuts))
    # A row at t_neg = t_pos is called an anchor, so only those below it are negative.
    negative = np.where(low == high, below[low], up_to[low])
    rows = len(ordered)
    positive = rows - below[high]
    wrong = (
        anchors_before[negative] + positive - (anchors_before[rows] - anchors_before[below[high]])
    )
    return Pairs(cuts[low], cuts[high], negative + positive, wrong, rows)
