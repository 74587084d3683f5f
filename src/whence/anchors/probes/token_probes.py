"""attention_probe and multimax_probe: fitted, scored, saved.

Under `fixed` the earlier study's training: tokens as they are, weight decay from the settings,
early stopping by the trapezoid PR-AUC of the validation rows (continuous targets: the mean of
Spearman's correlations over problems). Else tokens are standardised on the training rows, MultiMax
begins with a soft maximum, and weight decay is chosen, by the mean over problems of average
precision (Spearman's correlation).

What stops and chooses is `fitting.validation`; without it about 15 % of the training problems,
whole. Under `fixed` the fit on the others stands. Else the chosen decay and number of epochs train
once more on all rows, and seeds share the choice. A single problem trains all its epochs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from whence.anchors.metrics import trapezoid
from whence.anchors.probes.data import Floats, Labels, ProbeData
from whence.anchors.probes.inner import agreement, check_labels
from whence.anchors.probes.linear import link
from whence.anchors.probes.probe import Fitted, Fitting, Probe, Reads, State, finite
from whence.anchors.probes.remembered import Remembered
from whence.anchors.probes.token_network import Kind, Parameters, new_parameters
from whence.anchors.probes.token_training import (
    Scale,
    Trained,
    Watch,
    as_they_are,
    token_logits,
    token_scale,
    tokens_of,
    train,
)
from whence.errors import BadInput

if TYPE_CHECKING:
    import torch

DECAYS = (10.0, 1.0, 0.0)
"""Weight decay of AdamW, strong to weak; a step takes learning rate × decay off every weight."""
HELD_OUT = 0.15
"""Share of the training problems that early stopping looks at without validation rows."""
ANNEALED = 0.3
"""Share of the most epochs in which MultiMax takes a soft maximum; none under `fixed`."""
SELECTION_SEED = 0


class TokenFitted(Fitted):
    """A trained network, and how tokens and targets were scaled for it."""

    def __init__(
        self,
        kind: Kind,
        parameters: Parameters,
        scale: Scale,
        logistic: bool,
        notes: Mapping[str, Any],
        device: str = "cpu",
    ) -> None:
        self.kind, self.parameters, self.scale = kind, parameters, scale
        self.logistic, self.notes, self.device = logistic, dict(notes), device

    def score(self, data: ProbeData) -> Floats:
        tokens = tokens_of(data)
        if tokens.values.shape[1] != len(self.scale.centre):
            raise BadInput(
                f"tokens: {tokens.values.shape[1]} columns here, {len(self.scale.centre)} where "
                "the probe was trained; give activations of the same model"
            )
        found = token_logits(self.parameters, self.kind, self.scale, tokens, self.device)
        return finite(link(found, self.logistic), f"{self.kind}_probe")

    def state(self) -> State:
        arrays = {name: each.numpy() for name, each in self.parameters.items()}
        scale = {"centre": self.scale.centre, "scale": self.scale.scale}
        target = np.array([self.scale.target_centre, self.scale.target_scale])
        return {**arrays, **scale, "target": target}, {
            "kind": self.kind,
            "logistic": self.logistic,
            "notes": dict(self.notes),
        }

    @classmethod
    def from_state(cls, state: State) -> Self:
        import torch

        arrays, settings = dict(state[0]), state[1]
        target = arrays.pop("target")
        scale = Scale(arrays.pop("centre"), arrays.pop("scale"), float(target[0]), float(target[1]))
        parameters = {name: torch.from_numpy(each.copy()) for name, each in arrays.items()}
        return cls(settings["kind"], parameters, scale, settings["logistic"], settings["notes"])


@dataclass(frozen=True)
class _Choice:
    """trained: the best fit while choosing. notes: what was tried."""

    decay: float
    trained: Trained
    notes: Mapping[str, Any]


_scales: Remembered[Scale] = Remembered()
_choices: Remembered[_Choice] = Remembered()


class TokenProbe(Probe):
    """What both token probes share."""

    kind: ClassVar[Kind]
    reads: ClassVar[frozenset[Reads]] = frozenset({"tokens"})
    seeded = True
    fitted = TokenFitted

    def fit(self, data: ProbeData, labels: Labels, fitting: Fitting) -> TokenFitted:
        check_labels(labels, self.name)
        tokens = tokens_of(data)
        if fitting.fixed:
            scale = as_they_are(tokens)
        else:
            scale = _scales.get(data, None, "tokens", lambda: token_scale(tokens))
            if labels.continuous:
                size = float(labels.y.std()) or 1.0
                scale = replace(scale, target_centre=float(labels.y.mean()), target_scale=size)
        job = _Job(self.name, self.kind, scale, fitting)
        if fitting.validation is not None and job.can_watch(*fitting.validation):
            watch = job.watch(*fitting.validation)
            choice = job.choose(data, labels, watch, fitting.seed)
            trained, notes = choice.trained, {**choice.notes, "stopped_by": "validation"}
        else:
            trained, notes = job.without_validation(data, labels)
        notes = {"epochs": trained.epochs, **notes}
        return TokenFitted(
            self.kind, trained.parameters, scale, not labels.continuous, notes, fitting.device
        )


class AttentionProbe(TokenProbe):
    """A softmax over tokens, per head."""

    name = "attention_probe"
    kind: ClassVar[Kind] = "attention"


class MultiMaxProbe(TokenProbe):
    """A maximum over tokens, per head."""

    name = "multimax_probe"
    kind: ClassVar[Kind] = "multimax"


@dataclass(frozen=True)
class _Job:
    """One fit of one probe."""

    name: str
    kind: Kind
    scale: Scale
    fitting: Fitting

    def without_validation(self, data: ProbeData, labels: Labels) -> tuple[Trained, dict[str, Any]]:
        """Hold some problems out to stop by; unless fixed, train again on all of them."""
        fitting = self.fitting
        seed = fitting.seed if fitting.fixed else SELECTION_SEED
        held = held_out(data, labels, seed)
        if held is None:
            why = "no problem could be held out with both classes; trained all epochs"
            decay = fitting.settings.token_probe_weight_decay
            epochs = fitting.settings.token_probe_max_epochs
            trained = self.train(data, labels, decay, epochs, None, fitting.seed)
            return trained, {"weight_decay": decay, "reason": why}

        def choose() -> _Choice:
            watch = self.watch(data.take(held), labels.take(held))
            return self.choose(data.take(~held), labels.take(~held), watch, seed)

        notes = {"stopped_by": f"{len(np.unique(data.groups[held]))} training problems held out"}
        if fitting.fixed:
            choice = choose()
            return choice.trained, {**choice.notes, **notes}
        key = (self.name, fitting.settings, fitting.device)
        choice = _choices.get(data, labels, key, choose)
        trained = self.train(data, labels, choice.decay, choice.trained.epochs, None, fitting.seed)
        return trained, {**choice.notes, **notes}

    def choose(self, data: ProbeData, labels: Labels, watch: Watch, seed: int) -> _Choice:
        """The best decay by what is watched; the one of the settings where fixed."""
        settings = self.fitting.settings
        decays = (settings.token_probe_weight_decay,) if self.fitting.fixed else DECAYS
        best: tuple[float, float, Trained] | None = None
        tried = []
        for decay in decays:
            trained = self.train(data, labels, decay, settings.token_probe_max_epochs, watch, seed)
            good = -np.inf if trained.good is None else trained.good
            tried.append(
                {"weight_decay": decay, "epochs": trained.epochs, "agreement": trained.good}
            )
            if best is None or good > best[0]:
                best = (good, decay, trained)
        assert best is not None
        return _Choice(best[1], best[2], {"weight_decay": best[1], "tried": tried})

    def train(
        self,
        data: ProbeData,
        labels: Labels,
        decay: float,
        epochs: int,
        watch: Watch | None,
        seed: int,
    ) -> Trained:
        import torch

        generator = torch.Generator().manual_seed(seed)
        settings = self.fitting.settings
        softens = self.kind == "multimax" and not self.fitting.fixed
        return train(
            self._start(tokens_of(data).values.shape[1], generator),
            self.kind,
            self.scale,
            data,
            labels,
            settings,
            weight_decay=decay,
            epochs=epochs,
            annealed=round(ANNEALED * settings.token_probe_max_epochs) if softens else 0,
            watch=watch,
            device=self.fitting.device,
            generator=generator,
            label=f"{self.name}, decay {decay:g}",
        )

    def _start(self, d_model: int, generator: torch.Generator) -> Parameters:
        settings = self.fitting.settings
        return new_parameters(
            self.kind,
            d_model,
            width=settings.token_probe_mlp_width,
            depth=settings.token_probe_mlp_depth,
            heads=settings.token_probe_heads,
            generator=generator,
        )

    def watch(self, data: ProbeData, labels: Labels) -> Watch:
        """These rows, and how good scores of theirs are."""
        if self.fitting.fixed and not labels.continuous:
            return Watch(data, lambda scores: _trapezoid(labels.y, scores))
        groups = data.groups
        return Watch(data, lambda scores: agreement(scores, labels, groups))

    def can_watch(self, data: ProbeData, labels: Labels) -> bool:
        """Whether the measure is defined on these rows."""
        ramp = np.arange(len(labels.y), dtype=np.float64)
        return bool(len(ramp)) and self.watch(data, labels).measure(ramp) is not None


def held_out(data: ProbeData, labels: Labels, seed: int) -> NDArray[np.bool_] | None:
    """Rows of about 15 % of the problems, at least one, drawn with `seed`, [rows].

    Both parts have what a fit and a measure need; None where no such draw was found.
    """
    groups = data.groups
    problems = np.unique(groups)
    count = max(1, round(HELD_OUT * len(problems)))
    if len(problems) < 2:
        return None
    order = np.random.default_rng(seed).permutation(problems)
    for turn in range(len(order)):
        held = np.isin(groups, np.roll(order, -turn)[:count])
        measured = (
            agreement(
                np.arange(len(groups), dtype=np.float64)[held], labels.take(held), groups[held]
            )
            is not None
        )
        if measured and (labels.continuous or len(np.unique(labels.y[~held])) == 2):
            return held
    return None


def _trapezoid(y: Floats, scores: Floats) -> float | None:
    """What the earlier study stopped by; a score that is not finite is no better than none."""
    return trapezoid(y, scores) if np.isfinite(scores).all() else None
