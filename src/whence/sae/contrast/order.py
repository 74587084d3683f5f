"""How well scores put top rows first where each fold has scores of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from whence.errors import BadInput
from whence.stats.whole import Rows, Statistic


def fold_auc(scores: ArrayLike, wanted: ArrayLike, folds: ArrayLike | None = None) -> Statistic:
    """The chance that a wanted row scores above another of its own fold, ties one half.

    scores [n]; wanted bool [n]; folds [n], None for one fold. Every fold was scored by a fit of its
    own, and the fits' intercepts lean away from the fold that they left out, so comparing rows
    across folds would pull the AUC of a useless score below one half (Airola et al. 2011, "An
    experimental comparison of cross-validation techniques for estimating the AUC"). With one fold
    it is the AUC. Sorted once, so that a resample costs O(n). None without a pair to compare.
    """
    score = np.asarray(scores, dtype=np.float64)
    flags = np.asarray(wanted, dtype=bool)
    n = len(score)
    if not np.isfinite(score).all():
        raise BadInput(f"{np.count_nonzero(~np.isfinite(score))} of {n} scores are not finite")
    fold = (
        np.zeros(n, dtype=np.int64) if folds is None else np.unique(folds, return_inverse=True)[1]
    )
    order = np.lexsort((score, fold))
    starts = np.flatnonzero(
        np.concatenate([[True], (np.diff(score[order]) != 0) | (np.diff(fold[order]) != 0)])
    )
    of_fold = fold[order][starts]
    first = np.searchsorted(of_fold, np.arange(of_fold[-1] + 1))
    won, lost = flags[order].astype(np.float64), (~flags[order]).astype(np.float64)

    def statistic(rows: Rows) -> float | None:
        drawn: NDArray[np.float64] = np.bincount(rows, minlength=n)[order].astype(np.float64)
        ours = np.add.reduceat(drawn * won, starts)
        others = np.add.reduceat(drawn * lost, starts)
        below = np.cumsum(others) - others
        below -= below[first][of_fold]
        pairs = float(np.bincount(of_fold, ours) @ np.bincount(of_fold, others))
        return float(ours @ (below + others / 2)) / pairs if pairs else None

    return statistic
