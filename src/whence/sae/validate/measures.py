"""What is measured on the rows of one side: of the prediction, and of attribution itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whence.sae.predict.fitting import FOLDS
from whence.sae.validate.categories import eta_squared, shuffled
from whence.sae.validate.estimates import Asked, Side, estimates
from whence.sae.validate.fields import LENGTH, Known
from whence.sae.validate.predicted import Predictions
from whence.stats.intervals import Interval, cluster_bootstrap
from whence.stats.multiplicity import benjamini_hochberg

PREDICTED, ATTRIBUTION = "predicted", "attribution"
TEST, ALL, OUT_OF_FOLD = "test", "all", "out_of_fold"


def sides_of(predictions: Predictions) -> dict[str, NDArray[np.bool_]]:
    """The rows of each side, bool [n], the one that judges first.

    test: rows not fitted on, where others were. out_of_fold: all rows that have such a prediction.
    all: every row, in-sample ones among them where there are any.
    """
    fitted = predictions.fitted
    sides = {TEST: ~fitted} if fitted.any() and not fitted.all() else {}
    every = {ALL: np.ones(len(fitted), dtype=bool)}
    if predictions.out_of_fold is None:
        return sides | every
    return sides | {OUT_OF_FOLD: np.isfinite(predictions.out_of_fold)} | every


def judged_values(predictions: Predictions, side_name: str) -> NDArray[np.float64]:
    """What is judged on a side: out of fold no row's own attribution had a say, float64 [n]."""
    if side_name == OUT_OF_FOLD and predictions.out_of_fold is not None:
        return predictions.out_of_fold
    return predictions.predicted


def measure(
    predictions: Predictions,
    fields: Mapping[str, Known],
    side_name: str,
    reward: str,
    seed: int,
) -> dict[str, Any]:
    """Correlations with every field, means per category, and partial correlations of one side.

    side_name: one of `sides_of`. q is over all that has a p on this side.
    """
    rows = sides_of(predictions)[side_name]
    chosen, groups = np.flatnonzero(rows), predictions.groups

    def side(*vectors: NDArray[np.float64]) -> Side:
        """The rows where every vector has a value."""
        known = np.logical_and.reduce([np.isfinite(vector[chosen]) for vector in vectors])
        return Side(chosen[known], groups[chosen[known]])

    arms = {PREDICTED: judged_values(predictions, side_name)}
    if predictions.target is not None:
        arms[ATTRIBUTION] = predictions.target
    # As many as `whence sae predict` has, or fewer groups than an interval needs.
    folds = FOLDS if side_name == OUT_OF_FOLD else None
    correlations, categories, partial = [], [], []
    asked: list[Asked] = []
    for field in fields.values():
        for arm, values in arms.items():
            about, own = {"arm": arm, "field": field.name}, side(values, field.values)
            if field.kind == "names":
                categories.append(about | _categories(values, field, own, seed))
            else:
                correlations.append(about)
                fits = folds if arm == PREDICTED else None
                asked.append(Asked((arm, field.name), values, field.values, (), own, fits))
    numbers = {name for name, field in fields.items() if field.kind != "names"}
    for names in ([], [reward], [LENGTH], [reward, LENGTH]):
        if ATTRIBUTION in arms and set(names) <= numbers:
            given = [fields[name].values for name in names]
            both = (arms[PREDICTED], arms[ATTRIBUTION])
            partial.append({"given": names})
            asked.append(Asked((PREDICTED, ATTRIBUTION), *both, given, side(*both, *given), folds))
    found = estimates(asked, seed)
    split = len(correlations)
    told: dict[str, list[dict[str, Any]]] = {
        "correlations": [a | f for a, f in zip(correlations, found[:split], strict=True)],
        "categories": categories,
        "partial": [a | f for a, f in zip(partial, found[split:], strict=True)],
    }
    family = [each for part in told.values() for each in part]
    for each, q in zip(family, benjamini_hochberg([e["p"] for e in family]), strict=True):
        each["q"] = q
    fitted = 0 if side_name == OUT_OF_FOLD else int((rows & predictions.fitted).sum())
    return {**Side(chosen, groups[chosen]).about, "in_sample_rows": fitted, **told}


def _categories(x: NDArray[np.float64], field: Known, side: Side, seed: int) -> dict[str, Any]:
    """η² with its p and what chance gives, and the mean of x in every category."""
    values, codes = x[side.rows], field.values[side.rows].astype(np.int64)
    present = np.unique(codes)
    about = side.about | {
        "levels": [
            _level(field.levels[code], values[codes == code], side.groups[codes == code], seed)
            for code in present
        ],
    }
    reason = None
    if len(present) < 2:
        reason = f"{len(present)} category in {len(values)} rows: nothing to compare"
    elif len(present) == len(values):
        reason = "every row has a category of its own"
    if reason is not None:
        return about | {"eta_squared": None, "chance": None, "p": None, "reason": reason}
    found = shuffled(values, codes, side.groups, seed=seed)
    return about | {
        "eta_squared": eta_squared(values, codes),
        "chance": found.chance,
        "p": found.p,
        "shuffled": found.units,
        "reason": found.reason,
    }


def _level(
    name: str, values: NDArray[np.float64], groups: NDArray[np.str_], seed: int
) -> dict[str, Any]:
    found = cluster_bootstrap(values, groups, seed=seed)
    told = {"name": name, "rows": len(values), "mean": float(values.mean())}
    if isinstance(found, Interval):
        return told | {"interval": [found.low, found.high], "reason": None}
    return told | {"interval": None, "reason": found.reason}
