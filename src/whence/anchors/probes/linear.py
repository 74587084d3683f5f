"""Linear probes: one direction in the space of their columns.

Columns are standardised on the training rows. anchor_binary: LogisticRegression with balanced
classes, score σ(x·w + b); continuous targets: Ridge, score x·w + b. Under `fixed` C = 1 and
alpha = 1, as in the earlier study; else chosen by inner cross-validation over problems from a
logarithmic grid. Standardisation is that of all training rows also in inner folds: it sees no
label, and only the choice of a penalty rests on it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from whence.anchors.probes.columns import BLOCKS, beside
from whence.anchors.probes.data import Floats, Labels, ProbeData
from whence.anchors.probes.inner import Choice, Fold, balanced, check_labels, choose
from whence.anchors.probes.penalised import penalised_fits
from whence.anchors.probes.probe import Fitted, Fitting, Probe, Reads, State, finite
from whence.anchors.probes.standardise import standardised
from whence.errors import BadInput

FEW = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
"""Penalties tried on a handful of columns, strong to weak, as shares of Σ x² over the matrix.

So that a grid means the same for any number of rows and columns. C is the inverse of the penalty,
alpha the penalty.
"""
MANY = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""The same on activations, most of whose thousands of columns say little."""
SELECTION_TOLERANCE = 1e-3
"""Of fits that only choose: ranks of sentences stand long before the last digit of w does."""
MAX_ITERATIONS = 1000

FIXED_PENALTY = 1.0


class LinearFitted(Fitted):
    """coefficients: per block of columns, in the units of those columns, [columns of it]."""

    def __init__(
        self,
        coefficients: Mapping[str, Floats],
        intercept: float,
        logistic: bool,
        notes: Mapping[str, Any],
    ) -> None:
        self.coefficients, self.intercept = dict(coefficients), intercept
        self.logistic, self.notes = logistic, dict(notes)

    @property
    def counts_tokens(self) -> bool:
        return "position" in self.coefficients

    def score(self, data: ProbeData) -> Floats:
        total = np.full(len(data), self.intercept)
        for name, weights in self.coefficients.items():
            values = beside(data, [name])
            if values.shape[1] != len(weights):
                raise BadInput(
                    f"{name}: {values.shape[1]} columns here, {len(weights)} where the probe was "
                    "trained; give activations of the same model"
                )
            total += values.astype(np.float64) @ weights
        return finite(link(total, self.logistic), "+".join(self.coefficients))

    def state(self) -> State:
        arrays = {f"coefficients.{name}": each for name, each in self.coefficients.items()}
        return (
            {**arrays, "intercept": np.array([self.intercept])},
            {
                "blocks": list(self.coefficients),
                "logistic": self.logistic,
                "notes": dict(self.notes),
            },
        )

    @classmethod
    def from_state(cls, state: State) -> Self:
        arrays, settings = state
        return cls(
            {name: arrays[f"coefficients.{name}"] for name in settings["blocks"]},
            float(arrays["intercept"][0]),
            settings["logistic"],
            settings["notes"],
        )


class LinearProbe(Probe):
    """A linear probe on some blocks of columns. blocks: names in `columns.BLOCKS`, in order."""

    blocks: ClassVar[tuple[str, ...]]
    penalties: ClassVar[tuple[float, ...]] = FEW
    fitted = LinearFitted

    def fit(self, data: ProbeData, labels: Labels, fitting: Fitting) -> LinearFitted:
        check_labels(labels, self.name)
        table = standardised(data, self.blocks)
        weights, intercept, notes = fit_columns(
            table.values, labels, data.groups, fitting.fixed, self.penalties
        )
        weights = weights / table.scale
        one, coefficients, begin = data.take(np.arange(1)), {}, 0
        for name in self.blocks:
            end = begin + BLOCKS[name](one).shape[1]
            coefficients[name], begin = weights[begin:end], end
        return LinearFitted(
            coefficients, intercept - float(weights @ table.centre), not labels.continuous, notes
        )


def fit_columns(
    x: Any,
    labels: Labels,
    groups: NDArray[np.int64],
    fixed: bool,
    penalties: Sequence[float],
) -> tuple[Floats, float, dict[str, Any]]:
    """Weights [columns], intercept and notes of scikit-learn's fit of `x` [rows, columns] as it is;
    the penalty is chosen from `penalties`, shares of Σ x², unless `fixed`."""
    if fixed:
        return final_fit(x, labels, Choice(None, {"fixed": True}))

    def score(folds: list[Fold], values: Sequence[float]) -> Floats:
        return fold_scores(x, labels, folds, values)

    size = float(np.vdot(x, x)) or 1.0
    scaled = [share * size for share in penalties]
    return final_fit(x, labels, chosen_penalty(scaled, labels, groups, score))


def chosen_penalty(
    penalties: Sequence[float],
    labels: Labels,
    groups: NDArray[np.int64],
    score: Callable[[list[Fold], Sequence[float]], Floats],
) -> Choice:
    """The best penalty; its notes speak of C for a logistic regression, of alpha for a ridge."""
    name = "alpha" if labels.continuous else "penalty (1/C)"
    return choose(penalties, labels, groups, score, name)


def fold_scores(x: Any, labels: Labels, folds: list[Fold], penalties: Sequence[float]) -> Floats:
    """Out-of-fold scores under every penalty, [penalties, rows], all fits side by side."""
    rows, count = x.shape[0], len(penalties)
    weights = np.zeros((rows, len(folds) * count))
    for index, (train, _) in enumerate(folds):
        own = np.ones(len(train)) if labels.continuous else balanced(labels.y[train])
        weights[train, index * count : (index + 1) * count] = own[:, None]
    y, scale = _centred(labels)
    coefficients, intercepts = penalised_fits(
        x,
        y,
        weights,
        np.tile(np.asarray(penalties), len(folds)),
        logistic=not labels.continuous,
        tolerance=SELECTION_TOLERANCE * scale,
    )
    scores = np.full((count, rows), np.nan)
    for index, (_, held) in enumerate(folds):
        of_fold = slice(index * count, (index + 1) * count)
        logits = np.asarray(x[held] @ coefficients[:, of_fold]) + intercepts[of_fold]
        scores[:, held] = logits.T
    return scores


def final_fit(x: Any, labels: Labels, choice: Choice) -> tuple[Floats, float, dict[str, Any]]:
    """scikit-learn's own fit under the chosen penalty, or under the earlier study's constant."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression, Ridge

    penalty = FIXED_PENALTY if choice.value is None else choice.value
    if labels.continuous:
        ridge = Ridge(alpha=penalty).fit(x, labels.y)
        notes = {"alpha": penalty, **choice.notes}
        return np.asarray(ridge.coef_, dtype=np.float64).ravel(), float(ridge.intercept_), notes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the notes say it
        model = LogisticRegression(
            C=1 / penalty, class_weight="balanced", solver="lbfgs", max_iter=MAX_ITERATIONS
        ).fit(x, labels.y.astype(np.int64))
    notes = {
        "C": 1 / penalty,
        "converged": bool(model.n_iter_[0] < MAX_ITERATIONS),
        **choice.notes,
    }
    return np.asarray(model.coef_[0], dtype=np.float64), float(model.intercept_[0]), notes


def link(values: Floats, logistic: bool) -> Floats:
    """Probabilities from logits, or the values as they are."""
    if not logistic:
        return values
    from scipy.special import expit

    return np.asarray(expit(values), dtype=np.float64)


def _centred(labels: Labels) -> tuple[Floats, float]:
    """The target as the solver reads it, and its size, which the tolerance is measured in."""
    if not labels.continuous:
        return labels.y, 1.0
    centred = labels.y - labels.y.mean()
    return centred, max(float(centred.std()), 1e-12)


class LinearActivations(LinearProbe):
    """Pooled activations alone: the fitted probe is a direction in the residual stream."""

    name = "linear_probe"
    reads: ClassVar[frozenset[Reads]] = frozenset({"mean"})
    blocks = ("mean",)
    penalties = MANY


class ActivationsPlusPosition(LinearProbe):
    """Pooled activations and the four position features."""

    name = "activations_plus_position"
    reads: ClassVar[frozenset[Reads]] = frozenset({"mean", "position"})
    blocks = ("mean", "position")
    penalties = MANY


class VerticalAttention(LinearProbe):
    """Vertical attention alone."""

    name = "vertical_attention_baseline"
    reads: ClassVar[frozenset[Reads]] = frozenset({"vertical"})
    baseline = True
    blocks = ("vertical",)


class VerticalAttentionPlusPosition(LinearProbe):
    """Vertical attention and the four position features."""

    name = "vertical_attention_plus_position"
    reads: ClassVar[frozenset[Reads]] = frozenset({"vertical", "position"})
    blocks = ("vertical", "position")
