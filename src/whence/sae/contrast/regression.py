"""Do a few numbers of a row tell the top rows from the rest? A weighted logistic regression.

The ten statistics of the activations are standardised on the fitted rows; both classes weigh alike;
the penalty is scikit-learn's with C = 1, as in the earlier system, and not chosen: with ten numbers
and hundreds of rows it hardly matters, and nothing is left to tune on the rows that judge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whence.errors import BadInput
from whence.sae.contrast.design import Design
from whence.sae.contrast.order import fold_auc
from whence.sae.store import Layer
from whence.stats.intervals import Interval, NoInterval
from whence.stats.whole import Statistic, statistic_interval, value_of, widened

Floats = NDArray[np.float64]

C = 1.0


@dataclass(frozen=True)
class Fit:
    """coefficients: per standard deviation of each column on the fitted rows, [columns]."""

    mean: Floats
    scale: Floats
    coefficients: Floats
    intercept: float

    def scores(self, values: Floats) -> Floats:
        """Log odds of rows [n, columns] → [n]. Summed row by row, so equal rows score equal."""
        return np.asarray(
            ((values - self.mean) / self.scale * self.coefficients).sum(axis=1) + self.intercept
        )


@dataclass(frozen=True)
class Judged:
    """One arm. train: AUC on the rows that were fitted; test: on those held out; out_of_fold: every
    row held out once, compared within its fold (`fold_auc`); `order` is that statistic with its
    spread over fits (`widened`), for differences. oof_auc is None where no fold has both classes,
    which depends on the folds alone and not on the arm. direction: of a number that was not fitted.
    """

    train_auc: float
    test_auc: float
    test_interval: Interval | NoInterval
    oof_auc: float | None
    oof_interval: Interval | NoInterval
    order: Statistic
    direction: str | None = None

    def told(self) -> dict[str, Any]:
        return {
            "train_auc": self.train_auc,
            "test_auc": self.test_auc,
            **_told("test_auc", self.test_interval),
            "oof_auc": self.oof_auc,
            **_told("oof_auc", self.oof_interval),
        } | ({"direction": self.direction} if self.direction else {})


def fit(values: Floats, top: NDArray[np.bool_]) -> Fit:
    """values [n, columns], top bool [n] with both classes. A constant column has coefficient 0."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(values)
    model = LogisticRegression(C=C, class_weight="balanced", max_iter=1000)
    model.fit(scaler.transform(values), top)
    return Fit(scaler.mean_, scaler.scale_, model.coef_[0], float(model.intercept_[0]))


def judge(values: Floats, design: Design, seed: int) -> tuple[Judged, Fit]:
    """Fit and judge `values` [n, columns]; intervals resample the design's groups.

    The fit is that of the rows which are not held out.
    """
    top, held = design.top, design.held
    of_split = fit(values[~held], top[~held])
    out_of_fold = np.empty(len(top))
    folds = np.unique(design.fold)
    for number in folds:
        here = design.fold == number
        out_of_fold[here] = fit(values[~here], top[~here]).scores(values[here])
    order = widened(fold_auc(out_of_fold, top, design.fold), len(top), len(folds))
    return _judged(of_split.scores(values), order, order, design, seed), of_split


def judge_alone(values: Floats, design: Design, seed: int) -> Judged:
    """Judge one number [n] in the direction that suits it best on all rows, so that nothing is
    fitted: a baseline with a small advantage.
    """
    whole = value_of(fold_auc(values, design.top), len(values))
    higher = whole is None or whole >= 0.5
    scores = values if higher else -values
    order = fold_auc(scores, design.top, design.fold)
    folds = len(np.unique(design.fold))
    wide = widened(order, len(values), folds)
    direction = "higher" if higher else "lower"
    return _judged(scores, order, wide, design, seed, direction=direction)


def _judged(
    scores: Floats,
    out_of_fold: Statistic,
    order: Statistic,
    design: Design,
    seed: int,
    *,
    direction: str | None = None,
) -> Judged:
    top, held, groups = design.top, design.held, design.groups
    train, test = (fold_auc(scores[side], top[side]) for side in (~held, held))
    return Judged(
        train_auc=_known(value_of(train, int((~held).sum()))),
        test_auc=_known(value_of(test, int(held.sum()))),
        test_interval=statistic_interval(test, int(held.sum()), groups[held], seed=seed),
        oof_auc=value_of(out_of_fold, len(top)),
        oof_interval=statistic_interval(out_of_fold, len(top), groups, seed=seed),
        order=order,
        direction=direction,
    )


def statistics_of(layer: Layer, row_ids: Sequence[str]) -> Floats:
    """The layer's sample_stats as float64 [n, statistics].

    Raises BadInput naming file, row and statistic where one is not a finite number.
    """
    values = layer.sample_stats.astype(np.float64)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = bad[0]
        raise BadInput(
            f'{layer.file}, row_id "{row_ids[row]}": {layer.stat_names[column]} is '
            f"{values[row, column]}, not a finite number ({len(bad)} such entries); extract again"
        )
    return values


def stat_differences(values: Floats, names: Sequence[str], design: Design) -> list[dict[str, Any]]:
    """Per statistic its mean among top rows and the rest, and Cohen's d, on the fitted rows.

    Cohen 1988, §2.2: the difference of means over the pooled standard deviation (n − 1).
    """
    fitted = ~design.held
    above, below = values[fitted & design.top], values[fitted & ~design.top]
    degrees = len(above) + len(below) - 2
    squares = ((above - above.mean(0)) ** 2).sum(0) + ((below - below.mean(0)) ** 2).sum(0)
    spread = np.sqrt(squares / degrees) if degrees else np.zeros(values.shape[1])
    constant = np.ptp(values[fitted], axis=0) == 0
    told = []
    for at, name in enumerate(names):
        difference = float(above[:, at].mean() - below[:, at].mean())
        known = bool(spread[at] > 0) and not constant[at]
        told.append(
            {
                "name": name,
                "top_mean": float(above[:, at].mean()),
                "rest_mean": float(below[:, at].mean()),
                "difference": difference,
                "cohens_d": difference / float(spread[at]) if known else None,
            }
            | ({} if known else {"reason": "no spread within top rows and the rest"})
        )
    return told


def coefficients_told(fitted: Fit, names: Sequence[str]) -> Mapping[str, Any]:
    """Coefficients per standard deviation by name, largest first, and the intercept."""
    order = np.argsort(-np.abs(fitted.coefficients), kind="stable")
    return {
        "intercept": fitted.intercept,
        "standardised": {names[at]: float(fitted.coefficients[at]) for at in order},
    }


def _told(name: str, found: Interval | NoInterval) -> dict[str, Any]:
    if isinstance(found, Interval):
        return {f"{name}_interval": [found.low, found.high]}
    return {f"{name}_interval": None, f"{name}_reason": found.reason}


def _known(value: float | None) -> float:
    assert value is not None, "both classes are on every side (see `design`)"
    return value
