"""Inner cross-validation: regularisation is chosen on problems of the training set, held out whole.

Rows of one problem are alike, so a row held out of a problem that stays in says little. Every
training problem is scored once by fits that did not see it; a penalty is as good as the mean over
problems of average precision (continuous targets: of Spearman's correlation).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whence.anchors.metrics import average_precision, spearman
from whence.anchors.probes.data import Floats, Labels
from whence.errors import BadInput

FOLDS = 5
"""Inner folds, or the number of problems where those are fewer."""

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Rows that train, rows that are held out."""


@dataclass(frozen=True)
class Choice:
    """What was chosen and why. value: None where there was nothing to choose by."""

    value: float | None
    notes: dict[str, Any]


def check_labels(labels: Labels, name: str) -> None:
    """Raise BadInput where these labels cannot carry a fit: no row, or one class only."""
    if not len(labels.y):
        raise BadInput(f"{name}: no training rows have a label")
    if not labels.continuous:
        ones = int((labels.y == 1).sum())
        if ones in (0, len(labels.y)):
            which = "anchors" if ones else "not anchors"
            raise BadInput(
                f"{name}: all {len(labels.y)} training rows are {which}, so there is nothing to "
                "tell apart; give more problems, or another --anchor-percentile"
            )


def balanced(y: Floats) -> Floats:
    """Weights under which both classes count alike, as scikit-learn's "balanced", [rows]."""
    counts = np.bincount(y.astype(np.int64), minlength=2)
    return np.asarray(len(y) / (2 * counts[y.astype(np.int64)]))


def inner_folds(labels: Labels, groups: NDArray[np.int64]) -> list[Fold]:
    """Folds over whole problems whose training part can carry a fit; none under two problems."""
    from sklearn.model_selection import GroupKFold

    count = len(np.unique(groups))
    if count < 2:
        return []
    folds = GroupKFold(min(FOLDS, count)).split(np.zeros(len(groups)), groups=groups)
    return [
        (train, held)
        for train, held in folds
        if labels.continuous or len(np.unique(labels.y[train])) == 2
    ]


def choose(
    values: Sequence[float],
    labels: Labels,
    groups: NDArray[np.int64],
    score: Callable[[list[Fold], Sequence[float]], Floats],
    name: str,
) -> Choice:
    """The best of `values`, which go from strong regularisation to weak; a tie is the stronger's.

    score: folds and values → out-of-fold scores [values, rows], NaN for rows in no fold. name: of
    what is chosen, in the notes.
    """
    folds = inner_folds(labels, groups)
    if not folds:
        why = "fewer than two problems with both classes, so the fixed constant was used"
        return Choice(None, {"reason": why})
    scores = score(folds, values)
    goods = [agreement(each, labels, groups) for each in scores]
    if all(good is None for good in goods):
        why = "no held-out problem has both classes, so the fixed constant was used"
        return Choice(None, {"reason": why})
    ranks = [-np.inf if good is None else good for good in goods]
    best = int(np.argmax(ranks))
    measure = "mean spearman" if labels.continuous else "mean average precision"
    table = [{name: value, measure: good} for value, good in zip(values, goods, strict=True)]
    return Choice(float(values[best]), {"inner_folds": len(folds), "tried": table})


def agreement(scores: Floats, labels: Labels, groups: NDArray[np.int64]) -> float | None:
    """Mean over problems of average precision, or of Spearman's correlation; None for none.

    Rows whose score is NaN, and problems in which the measure is not defined, are left out.
    """
    values = []
    for group in np.unique(groups):
        rows = (groups == group) & np.isfinite(scores)
        value = _measure(scores[rows], labels.y[rows], labels.continuous)
        if value is not None:
            values.append(value)
    return float(np.mean(values)) if values else None


def _measure(scores: Floats, y: Floats, continuous: bool) -> float | None:
    """None where the problem has one class or one value only; constant scores correlate with 0."""
    if not continuous:
        return average_precision(y, scores)
    if len(np.unique(y)) < 2:
        return None
    return spearman(scores, y) or 0.0
