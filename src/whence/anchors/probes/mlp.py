"""A small multilayer perceptron on pooled activations.

Under `fixed` the earlier study's: standardised activations, two hidden layers of 100, a tenth of
the rows held out to stop early. Rows of one problem are alike, so that stop comes late.

Else: standardised activations are projected onto their leading principal components (at most 256;
the notes say what share of the variance is in them), brought to an average variance of 1. Weight
decay and the number of epochs are chosen on whole problems held out of the training set, and the
fit on all training rows runs that many epochs. Components bound what it can see: a direction of
little variance is for linear_probe, which reads them all.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from whence.anchors.probes.columns import Matrix, beside
from whence.anchors.probes.data import Floats, Labels, ProbeData
from whence.anchors.probes.inner import agreement, check_labels, inner_folds
from whence.anchors.probes.linear import link
from whence.anchors.probes.probe import Fitted, Fitting, Probe, Reads, State, finite
from whence.anchors.probes.remembered import Remembered
from whence.anchors.probes.settings import ProbeSettings
from whence.anchors.probes.standardise import standardised
from whence.errors import BadInput

COMPONENTS = 256
DECAYS = (100.0, 1.0)
"""scikit-learn's alpha, which it divides by the rows of a batch; strong to weak."""
STEPS = (60, 120, 240)
"""Updates that a run is stopped after, in whole epochs: a small training set has more of them."""
BATCH = 200
"""Rows of scikit-learn's batches."""
SELECTION_FOLDS = 3
"""Of the inner folds, how many choose: each costs a training run a decay."""
SELECTION_SEED = 0

BLOCKS = ("mean",)


class MlpFitted(Fitted):
    """basis: [d_model, components], or None. layers: weights and biases from input to output."""

    def __init__(
        self,
        centre: Floats,
        scale: Floats,
        basis: Matrix | None,
        layers: Sequence[tuple[Matrix, Matrix]],
        logistic: bool,
        notes: Mapping[str, Any],
    ) -> None:
        self.centre, self.scale, self.basis = centre, scale, basis
        self.layers, self.logistic, self.notes = list(layers), logistic, dict(notes)

    def score(self, data: ProbeData) -> Floats:
        values = beside(data, BLOCKS)
        if values.shape[1] != len(self.centre):
            raise BadInput(
                f"mean: {values.shape[1]} columns here, {len(self.centre)} where the probe was "
                "trained; give activations of the same model"
            )
        hidden: NDArray[Any] = ((values - self.centre) / self.scale).astype(np.float32)
        if self.basis is not None:
            hidden = hidden @ self.basis
        for index, (weights, bias) in enumerate(self.layers):
            hidden = hidden @ weights + bias
            if index < len(self.layers) - 1:
                hidden = np.maximum(hidden, 0)
        return finite(link(hidden.astype(np.float64)[:, 0], self.logistic), Mlp.name)

    def state(self) -> State:
        arrays: dict[str, Any] = {"centre": self.centre, "scale": self.scale}
        if self.basis is not None:
            arrays["basis"] = self.basis
        for index, (weights, bias) in enumerate(self.layers):
            arrays |= {f"layers.{index}.weight": weights, f"layers.{index}.bias": bias}
        return arrays, {
            "layers": len(self.layers),
            "logistic": self.logistic,
            "notes": dict(self.notes),
        }

    @classmethod
    def from_state(cls, state: State) -> Self:
        arrays, settings = state
        layers = [
            (arrays[f"layers.{index}.weight"], arrays[f"layers.{index}.bias"])
            for index in range(settings["layers"])
        ]
        return cls(
            arrays["centre"],
            arrays["scale"],
            arrays.get("basis"),
            layers,
            settings["logistic"],
            settings["notes"],
        )


@dataclass(frozen=True)
class _Prepared:
    """What no seed changes. inputs: [rows, components]."""

    inputs: Matrix
    basis: Matrix
    explained: float
    decay: float
    epochs: int
    notes: Mapping[str, Any]


_remembered: Remembered[_Prepared] = Remembered()


class Mlp(Probe):
    """scikit-learn's MLPClassifier, or its MLPRegressor on continuous targets."""

    name = "mlp_probe"
    reads: ClassVar[frozenset[Reads]] = frozenset({"mean"})
    seeded = True
    fitted = MlpFitted

    def fit(self, data: ProbeData, labels: Labels, fitting: Fitting) -> MlpFitted:
        check_labels(labels, self.name)
        table = standardised(data, BLOCKS)
        if fitting.fixed:
            model, notes = fit_fixed(table.values, labels, fitting)
            basis = None
        else:
            settings = fitting.settings
            prepared = _remembered.get(
                data, labels, settings, lambda: _prepare(data, labels, table.values, settings)
            )
            model = _network(labels, fitting.settings, fitting.seed, prepared.decay)
            _train(model, prepared.inputs, labels, prepared.epochs)
            notes = {
                "alpha": prepared.decay,
                "epochs": prepared.epochs,
                "components": prepared.basis.shape[1],
                "explained_variance": prepared.explained,
                **prepared.notes,
            }
            basis = prepared.basis
        layers = [
            (np.asarray(weights, dtype=np.float32), np.asarray(bias, dtype=np.float32))
            for weights, bias in zip(model.coefs_, model.intercepts_, strict=True)
        ]
        return MlpFitted(table.centre, table.scale, basis, layers, not labels.continuous, notes)


def fit_fixed(x: Matrix, labels: Labels, fitting: Fitting) -> tuple[Any, dict[str, Any]]:
    """The earlier study's fit on standardised activations [rows, d_model]."""
    from sklearn.exceptions import ConvergenceWarning

    rows, settings = len(labels.y), fitting.settings
    rarest = rows if labels.continuous else int(np.bincount(labels.y.astype(np.int64)).min())
    # A tenth of the rows must hold a row of each class, or scikit-learn refuses to hold out any.
    early = rarest >= 2 and np.ceil(rows / 10) >= 2
    model = _network(labels, settings, fitting.seed, 1e-4)
    model.set_params(
        max_iter=settings.mlp_max_iter, early_stopping=bool(early), n_iter_no_change=20
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the notes say it
        model.fit(x, _target(labels))
    return model, {
        "fixed": True,
        "alpha": 1e-4,
        "epochs": int(model.n_iter_),
        "early_stopping": bool(early),
        "converged": bool(model.n_iter_ < settings.mlp_max_iter),
    }


def _prepare(data: ProbeData, labels: Labels, x: Matrix, settings: ProbeSettings) -> _Prepared:
    """Components, decay and epochs."""
    inputs, basis, explained = _components(x)
    decay, epochs, notes = _choose(inputs, labels, data, settings)
    return _Prepared(inputs, basis, explained, decay, epochs, notes)


def _components(x: Matrix) -> tuple[Matrix, Matrix, float]:
    """x projected onto its leading components, the projection, and the share of variance in it."""
    from sklearn.utils.extmath import randomized_svd

    count = min(COMPONENTS, len(x) - 1, x.shape[1])
    _, sizes, axes = randomized_svd(
        x, max(count, 1), n_oversamples=16, n_iter=2, random_state=SELECTION_SEED
    )
    variance = float((sizes.astype(np.float64) ** 2).sum())
    total = float((x.astype(np.float64) ** 2).sum())
    size = np.sqrt(variance / (len(x) * len(sizes))) or 1.0
    basis = np.asarray(axes.T / size, dtype=np.float32)
    return x @ basis, basis, variance / total if total else 0.0


def _choose(
    inputs: Matrix, labels: Labels, data: ProbeData, settings: ProbeSettings
) -> tuple[float, int, dict[str, Any]]:
    """Decay and epochs that are best on held-out problems, strong and short where they tie."""
    groups = data.groups
    folds = inner_folds(labels, groups)[:SELECTION_FOLDS]
    batches = int(np.ceil(len(labels.y) / BATCH))
    wanted = {max(1, round(steps / batches)) for steps in STEPS}
    epochs = sorted({min(count, settings.mlp_max_iter) for count in wanted})
    scores = np.full((len(DECAYS), len(epochs), len(labels.y)), np.nan)
    for row, decay in enumerate(DECAYS if folds else ()):
        for train, held in folds:
            model = _network(labels, settings, SELECTION_SEED, decay)
            before = 0
            for column, count in enumerate(epochs):
                _train(model, inputs[train], labels.take(train), count - before)
                before = count
                scores[row, column, held] = _raw(model, inputs[held])
    tried = []
    best: tuple[float, float, int] | None = None
    for row, decay in enumerate(DECAYS):
        for column, count in enumerate(epochs):
            good = agreement(scores[row, column], labels, groups) if folds else None
            tried.append({"alpha": decay, "epochs": count, "agreement": good})
            if good is not None and (best is None or good > best[0]):
                best = (good, decay, count)
    if best is None:
        why = "no problem could be held out to choose by"
        return DECAYS[-1], epochs[-1], {"reason": why}
    return best[1], best[2], {"inner_folds": len(folds), "tried": tried}


def _network(labels: Labels, settings: ProbeSettings, seed: int, alpha: float) -> Any:
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    kind = MLPRegressor if labels.continuous else MLPClassifier
    return kind(
        hidden_layer_sizes=(settings.mlp_hidden_dim, settings.mlp_hidden_dim),
        activation="relu",
        solver="adam",
        alpha=alpha,
        learning_rate_init=1e-3,
        # A generator and not its seed: partial_fit would begin it anew, and so deal the rows to the
        # same batches, in every epoch.
        random_state=np.random.RandomState(seed),
    )


def _train(model: Any, x: Matrix, labels: Labels, epochs: int) -> None:
    target = _target(labels)
    for _ in range(epochs):
        if labels.continuous:
            model.partial_fit(x, target)
        else:
            model.partial_fit(x, target, classes=[0, 1])


def _target(labels: Labels) -> Any:
    return labels.y if labels.continuous else labels.y.astype(np.int64)


def _raw(model: Any, x: Matrix) -> Floats:
    """Scores to rank by, [rows]."""
    if hasattr(model, "predict_proba"):
        return np.asarray(model.predict_proba(x)[:, 1], dtype=np.float64)
    return np.asarray(model.predict(x), dtype=np.float64)
