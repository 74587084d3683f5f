"""Sweeps over `whence anchors run`: labels and splits once, one pass a trace and model, one
evaluation a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, get_args

from whence.anchors.study import StudyConfig
from whence.errors import BadInput
from whence.sweep.campaigns.anchors_effect import Effects
from whence.sweep.campaigns.anchors_layers import KEYS, at_depth, layers_by
from whence.sweep.campaigns.anchors_parts import Parts
from whence.sweep.campaigns.anchors_tasks import Extraction, Run, extractions, tasks_of
from whence.sweep.campaigns.campaign import Check, Cost, Effect
from whence.sweep.campaigns.trial import Sample
from whence.sweep.settings import RankSettings
from whence.sweep.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

LAYER = "layer"
"""A key of `activations` that sweeps know beside the study's own: a layer, or a depth below 1."""


class AnchorsRun:
    """The campaign of `anchors run` (`whence.sweep.campaigns.campaign.Campaign`)."""

    command: ClassVar[str] = "anchors run"
    shape: ClassVar[type[StudyConfig]] = StudyConfig

    def __init__(self, rank: RankSettings) -> None:
        self._parts = Parts()
        self._models: dict[str, str] = {}
        self._effects = Effects(rank.metric, self._model)
        self._extractions: list[Extraction] = []
        self._done: list[bool] = []

    def values(self, key: str, word: str, base: Mapping[str, Any]) -> list[Any]:
        """Layers by words (`anchors_layers`); `all` values of a setting that has a few."""
        if key in KEYS:
            return list(layers_by(word, _model_in(base), key))
        choices = _choices(key)
        if word == "all" and choices:
            return choices
        known = f"all, or a list of {', '.join(map(str, choices))}" if choices else "a list"
        raise BadInput(f"{key}: {word!r} is no word for its values; give {known}")

    def expand(self, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        """`activations.layer: 3` is layer_mode index and layer_index 3; 0.5 is half-way along."""
        activations = settings.get("activations")
        if not isinstance(activations, Mapping):
            return settings
        own = dict(activations)
        layer = own.pop(LAYER, None)
        if layer is not None:
            if own.get("layer_index") is not None:
                raise BadInput("activations.layer and activations.layer_index: give one of them")
            own |= {"layer_mode": "index", "layer_index": _layer(layer, settings)}
        elif own.get("layer_index") is not None and "layer_mode" not in own:
            own["layer_mode"] = "index"
        return {**settings, "activations": own}

    def share_problems(self, configs: Sequence[StudyConfig], home: Path, overwrite: bool) -> Any:
        """See `whence.sweep.campaigns.anchors_shared`."""
        from whence.sweep.campaigns.anchors_shared import share_problems

        return share_problems(configs, home, overwrite)

    def prepare(self, configs: Sequence[StudyConfig], home: Path, overwrite: bool) -> None:
        """Label and split each distinct data part, below `home/shared`."""
        for config in configs:
            self._parts.prepare(config, home, overwrite)

    def effect(self, config: StudyConfig) -> Effect:
        """See `whence.sweep.campaigns.anchors_effect`."""
        return self._effects.of(config, self._parts.of(config))

    def tasks(self, runs: Mapping[str, StudyConfig], home: Path) -> list[Task]:
        """One `extract` task a model and text, one `judge` task a run."""
        for config in runs.values():
            self._model(config.activations.model_name_or_path)
        own = [Run(name, config, self._parts.of(config)) for name, config in runs.items()]
        self._extractions = extractions(own, self._models)
        tasks, self._done = tasks_of(self._extractions, home)
        return tasks

    def cost(self, configs: Sequence[StudyConfig], runs: Mapping[str, StudyConfig]) -> Cost:
        """See `whence.sweep.campaigns.anchors_cost`."""
        from whence.sweep.campaigns.anchors_cost import cost_of

        return cost_of(configs, self._parts, self._extractions, self._done)

    def samples(self, tasks: Sequence[Task], done: Set[str], folder: Path) -> list[Sample]:
        """See `whence.sweep.campaigns.anchors_trial`."""
        from whence.sweep.campaigns.anchors_trial import samples_of

        return samples_of(tasks, done, folder)

    def measured(self, output: Path, rank: RankSettings) -> pd.DataFrame:
        """Metrics of every probe, problem by problem."""
        from whence.sweep.campaigns.measures_anchors import measured_anchors

        return measured_anchors(output, rank)

    def checks(self, output: Path) -> list[Check]:
        """Tripwires, traces left out, finite metrics."""
        from whence.sweep.campaigns.checks_anchors import checks_anchors

        return checks_anchors(output)

    def _model(self, name: str) -> str:
        """The content of a model: its folder's hash, or its hub id."""
        if name not in self._models:
            from whence.anchors.features.identity import recorded_model
            from whence.runs.fingerprint import hash_path

            recorded = recorded_model(name, None)
            is_folder = isinstance(recorded, Path)
            self._models[name] = hash_path(recorded) if is_folder else str(recorded)
        return self._models[name]


def _model_in(settings: Mapping[str, Any]) -> str:
    from whence.anchors.study_settings import ActivationsSection

    activations = settings.get("activations") or {}
    default = ActivationsSection.model_fields["model_name_or_path"].default
    return str(activations.get("model_name_or_path", default))


def _layer(value: Any, settings: Mapping[str, Any]) -> Any:
    """A number of a layer, also of a depth or of a word that stands for one layer."""
    key = f"activations.{LAYER}"
    if isinstance(value, float) and not value.is_integer():
        return at_depth(value, _model_in(settings), key)
    if isinstance(value, str):
        found = layers_by(value, _model_in(settings), key)
        if len(found) != 1:
            raise BadInput(f"{key}: {value} are {len(found)} layers; vary them in the grid")
        return found[0]
    return value


def _choices(key: str) -> list[Any]:
    """Values of a setting that takes one of a few; empty for others."""
    shape: Any = StudyConfig
    *sections, last = key.split(".")
    for section in sections:
        field = getattr(shape, "model_fields", {}).get(section)
        shape = None if field is None else field.annotation
    field = getattr(shape, "model_fields", {}).get(last)
    if field is None:
        return []
    if field.annotation is bool:
        return [False, True]
    return [each for each in get_args(field.annotation) if isinstance(each, str)]
