"""Fitting the predictor on some rows, and on all but one fold in turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whence.errors import BadInput
from whence.runs.progress import Progress
from whence.sae.predict.design import Design, unfold
from whence.sae.predict.features import Features
from whence.sae.predict.ridge import Columns, Floats, Ridge, fit_ridge
from whence.sae.predict.saved import LayerWeights, Predictor
from whence.stats.holdout import grouped_folds

FOLDS = 5


@dataclass(frozen=True)
class Fold:
    """What rows that may not be told apart share (a label a row), and the seed of the folds."""

    keys: Sequence[str]
    seed: int

    def inner(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The inner fold of each of `rows`. Raises BadInput where they are of one group."""
        keys = [self.keys[row] for row in rows]
        if len(set(keys)) < 2:
            raise BadInput(
                f"the {len(rows)} rows to fit on are of one group, and choosing a penalty needs at "
                "least two: choose other --group-key-fields, or --split-mode random and know that "
                "alike rows may be on both sides"
            )
        return grouped_folds(keys, FOLDS, seed=self.seed)


def fit(
    columns: Columns,
    target: Floats,
    rows: NDArray[np.int64],
    folds: Fold,
    *,
    l2: float | None = None,
    scale: bool = True,
) -> Ridge:
    """Ridge on `rows`, its penalty chosen within them unless it is given."""
    inner = folds.inner(rows) if l2 is None else None
    return fit_ridge(columns, target, rows, folds=inner, l2=l2, scale=scale)


def as_predictor(
    design: Design, ridge: Ridge, layers: Sequence[Features], rows: NDArray[np.int64]
) -> Predictor:
    """The fitted ridge as one weight a feature and a statistic, with what `rows` were like."""
    weights = tuple(
        LayerWeights(
            sae_id=layer.sae_id,
            activation_weights=of_features,
            stat_weights=of_stats,
            seen=np.bincount(layer.active[rows].indices, minlength=layer.d_sae) > 0,
            stat_ranges=np.stack([layer.stats[rows].min(axis=0), layer.stats[rows].max(axis=0)]),
        )
        for layer, (of_features, of_stats) in zip(
            layers, unfold(design, ridge.weights), strict=True
        )
    )
    return Predictor(weights, ridge.intercept, {})


def out_of_fold(
    design: Design, target: Floats, folds: Fold, l2: float | None
) -> tuple[Floats, list[float]]:
    """Every row predicted by a fit that has not seen its fold [rows], and each fold's penalty.

    The mean target of the rows fitted on is lower exactly where the fold's own is higher, so that
    predictions of several folds put together would run against the target for no reason but that.
    Each fold's intercept therefore uses the mean of all rows, one constant for every row.
    """
    rows = np.arange(len(target))
    fold = folds.inner(rows)
    found, penalties = np.empty(len(target)), []
    with Progress("out of fold", int(fold.max()) + 1, "folds") as progress:
        for number in range(int(fold.max()) + 1):
            ridge = fit(design.columns, target, rows[fold != number], folds, l2=l2)
            out = fold == number
            found[out] = ridge.predict(design.columns)[out] - ridge.mean + target.mean()
            penalties.append(ridge.l2)
            progress.advance()
    return found, penalties
