"""What of a study's settings can change the ranked number, and why the others cannot.

Everything else that these change (intervals, tables beside, files kept) is that of the one
configuration that is run for several.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from whence.anchors.features.together import VerticalKind
from whence.anchors.probes.data import Floats
from whence.errors import BadInput
from whence.runs.fingerprint import fingerprint
from whence.sweep.campaigns.anchors_layers import shape_of
from whence.sweep.campaigns.anchors_metrics import check_metric
from whence.sweep.campaigns.anchors_parts import Part
from whence.sweep.campaigns.campaign import Effect

if TYPE_CHECKING:
    from whence.anchors.probes.probe import Probe
    from whence.anchors.study import StudyConfig

MLP = ("mlp_hidden_dim", "mlp_max_iter")
NOT_USED = (
    "paths.problem_ids_json", "paths.embeddings_memmap", "paths.token_embeddings_memmap",
    "paths.embeddings_shape_json", "paths.metadata_parquet", "paths.metrics_json",
    "paths.predictions_parquet", "paths.report_md", "activations.batch_size",
    "training.bootstrap_seed", "training.best_of_k",
)  # fmt: skip
"""Accepted for files of the earlier study, and read by nothing."""


@dataclass(frozen=True)
class Anchors:
    """y: 1 for anchors, 0 for the rest, NaN without a label [rows]. content: equal for equal y."""

    y: Floats
    content: str


def probes_of(config: StudyConfig) -> tuple[Probe, ...]:
    """Those named, else all whose features the study extracts, as the evaluation takes them.

    Raises BadInput for a name that is none.
    """
    from whence.anchors.probes.registry import PROBES, probe_named

    if config.training.probes:
        return tuple(probe_named(name) for name in dict.fromkeys(config.training.probes))
    there = {"text", "position", *_extracted(config)}
    return tuple(probe for probe in PROBES.values() if probe.reads <= there or not probe.trained)


def layer_of(config: StudyConfig) -> int:
    """The layer that probes read: `layer_index`, else of those extracted the nearest to the middle.

    Raises BadInput for one that the model does not have.
    """
    wanted = config.activations
    layers = shape_of(wanted.model_name_or_path).n_layers
    if wanted.layer_mode != "index":
        return layers // 2  # among mid, quartiles and all alike
    assert wanted.layer_index is not None
    if wanted.layer_index >= layers:
        raise BadInput(
            f"activations.layer_index {wanted.layer_index}: {wanted.model_name_or_path} has layers "
            f"0 to {layers - 1}"
        )
    return wanted.layer_index


def seeds_of(config: StudyConfig) -> tuple[int, ...]:
    """Training seeds, each once."""
    training = config.training
    return tuple(dict.fromkeys(training.seeds or (training.random_seed,)))


@dataclass
class Effects:
    """Answers for one metric. Splits are remembered by the seed that drew them first.

    model_of: a model's name → its content.
    """

    metric: str
    model_of: Callable[[str], str]
    _drawn: dict[str, int] = field(default_factory=dict)
    _anchors: dict[tuple[str, float], Anchors] = field(default_factory=dict)
    _marked: dict[str, float] = field(default_factory=dict)

    def of(self, config: StudyConfig, part: Part) -> Effect:
        """Raises BadInput for what cannot run."""
        probes = probes_of(config)
        check_metric(config, probes, self.metric)
        _check(config, part, probes)
        self._check_classes(config, part, probes)
        idle: dict[str, str] = dict.fromkeys(NOT_USED, "nothing reads it")
        decides = {
            "table": part.table.content,
            "probes": [probe.name for probe in probes],
            "strategy": config.split.strategy,
            "split": self._split(config, part, idle),
            "target": self._target(config, part, idle),
            "fits": _fits(config, probes, self.metric, idle),
            "features": self._features(config, part, probes, idle),
        }
        self._tables_beside(config, idle)
        return Effect(decides, idle)

    def _split(self, config: StudyConfig, part: Part, idle: dict[str, str]) -> Any:
        from whence.anchors.study_steps import on_rollouts

        fractions = ("train_fraction", "val_fraction", "test_fraction")
        if config.split.strategy == "lopo_cv":
            why = "every problem is held out once, so no split is drawn"
            idle |= dict.fromkeys(("paths.splits_json",), why)
            if not on_rollouts(config):
                idle["dataset.seed"] = why
        elif part.given:
            idle["dataset.seed"] = "the split is given and not drawn"
        elif part.split_content is not None:
            first = self._drawn.setdefault(part.split_content, config.dataset.seed)
            if first != config.dataset.seed:
                idle["dataset.seed"] = f"gives the same split as seed {first}"
        if not on_rollouts(config):
            why = "labels are given, so no problems are drawn by it"
            idle |= {f"training.{name}": why for name in fractions}
            names = ("repo_id", "model_dir", "temp_dir", "split_dir", "forced_split_dir")
            idle |= {f"dataset.{name}": why for name in (*names, "num_problems", "problem_ids")}
            idle["labels.drop_last_chunk"] = "labels are given, and none is dropped"
        return None if config.split.strategy == "lopo_cv" else part.split_content

    def _target(self, config: StudyConfig, part: Part, idle: dict[str, str]) -> Any:
        target, percentile = config.labels.target_mode, config.labels.anchor_percentile
        ranks = ("primary", "spearman", "residual_spearman")
        by_rank = self.metric in ranks or self.metric.startswith("top_")
        if target != "anchor_binary" and by_rank:
            idle["labels.anchor_percentile"] = (
                f"{target} is fitted and ranked as it is; the percentile says what an anchor is, "
                "which the metric does not ask"
            )
            return [target]
        if self.metric.startswith("residual_"):
            # Anchors of what is left are others: equal importances leave unequal residuals.
            return [target, percentile]
        marked = self._anchors_of(part, percentile).content
        first = self._marked.setdefault(marked, percentile)
        if first != percentile:
            idle["labels.anchor_percentile"] = f"gives the same anchors as percentile {first:g}"
        return [target, marked]

    def _anchors_of(self, part: Part, percentile: float) -> Anchors:
        key = (part.table.content, percentile)
        if key not in self._anchors:
            from whence.anchors.targets import target_of

            y = target_of(part.table.frame, "anchor_binary", percentile)
            content = hashlib.sha256(y.tobytes()).hexdigest()
            self._anchors[key] = Anchors(y, fingerprint([part.table.content, content]))
        return self._anchors[key]

    def _check_classes(self, config: StudyConfig, part: Part, probes: Sequence[Probe]) -> None:
        """Raise BadInput where all rows to train on are of one class."""
        import numpy as np

        if config.labels.target_mode != "anchor_binary" or not any(p.trained for p in probes):
            return
        percentile = config.labels.anchor_percentile
        y = self._anchors_of(part, percentile).y
        if config.split.strategy != "lopo_cv" and part.split is not None:
            y = y[part.train_rows]
        if len(np.unique(y[np.isfinite(y)])) < 2:
            raise BadInput(
                f"labels.anchor_percentile {percentile:g}: the sentences to train on are all "
                "anchors or none is, so there is nothing to tell apart"
            )

    def _features(
        self, config: StudyConfig, part: Part, probes: Sequence[Probe], idle: dict[str, str]
    ) -> Any:
        wanted = config.activations
        reads = {each for probe in probes for each in probe.reads}
        found: dict[str, Any] = {
            "model": self.model_of(wanted.model_name_or_path),
            "bos": wanted.prepend_bos,
            "texts": part.texts.content,
            "skip_failed": config.skip_failed,
        }
        if "vertical" in reads:
            found["vertical"] = _vertical(config, part, idle)
        else:
            why = "no probe reads vertical attention"
            section = "activations.vertical_attention"
            idle |= {f"{section}.{name}": why for name in VerticalKind.model_fields}
        if "tokens" not in reads:
            idle["activations.pooling"] = "no probe reads tokens; the mean is kept with both"
        names = ("layer", "layer_mode", "layer_index")
        if reads & {"mean", "tokens", "vertical"}:
            if wanted.layer_mode != "index":
                why = "probes read the middle layer under mid, quartiles and all"
                idle["activations.layer_mode"] = why
                idle["activations.layer_index"] = "layer_mode is not index"
            found |= {"layer": layer_of(config), "dtype": wanted.dtype}
            if wanted.dtype == "auto":
                found["device"] = wanted.device
            found["storage_dtype"] = wanted.storage_dtype
        else:
            layer_of(config)  # one that the model does not have is refused in any case
            why = "no probe reads activations"
            idle |= {f"activations.{name}": why for name in (*names, "dtype", "storage_dtype")}
        return found

    def _tables_beside(self, config: StudyConfig, idle: dict[str, str]) -> None:
        why = "the ranked number is not made with it; other numbers in the run's own report are"
        idle["training.bootstrap_iterations"] = f"intervals alone: {why}"
        idle["training.position_bins"] = f"a table by position alone: {why}"
        if not self.metric.startswith("top_"):
            idle["training.k_values"] = f"top-k recall alone: {why}"
        if not self.metric.startswith("residual_"):
            idle["training.residualize_against"] = (
                "it adds fits to the residual beside those to the target, which are ranked"
            )


def _fits(
    config: StudyConfig, probes: Sequence[Probe], metric: str, idle: dict[str, str]
) -> Mapping[str, Any]:
    training = config.training
    found: dict[str, Any] = {}
    residual = training.residualize_against if metric.startswith("residual_") else "none"
    words = residual == "position_plus_text"  # what they say is fitted, whatever the probes are
    if words or any(probe.trained for probe in probes):
        found["fixed"] = training.fixed
    else:
        idle["training.fixed"] = "no probe is trained"
    if any(probe.seeded for probe in probes):
        found["seeds"] = list(seeds_of(config))
        if training.seeds:
            idle["training.random_seed"] = "training.seeds names the seeds"
    else:
        why = "no probe here has anything random in it"
        idle |= {"training.random_seed": why, "training.seeds": why}
    from whence.anchors.probes.settings import ProbeSettings

    names = {probe.name for probe in probes}
    tokens = any("tokens" in probe.reads for probe in probes)
    for name in ProbeSettings.model_fields:
        used = "mlp_probe" in names if name in MLP else tokens
        if used:
            found[name] = getattr(training, name)
        else:
            idle[f"training.{name}"] = f"no {'mlp_probe' if name in MLP else 'token probe'} is here"
    if not tokens:
        idle["training.token_probe_device"] = "no token probe is here"
    if metric.startswith("residual_"):
        found["residualize"] = residual
    elif metric.startswith("top_"):
        found["k_values"] = list(training.k_values)
    return found


def _vertical(config: StudyConfig, part: Part, idle: dict[str, str]) -> Mapping[str, Any]:
    own = config.activations.vertical_attention
    prefix = "activations.vertical_attention"
    found: dict[str, Any] = {"mode": own.mode, "depth_control": own.depth_control}
    if own.mode == "light":
        idle[f"{prefix}.full_max_seq_len"] = "light attention asks nothing of a text's length"
        found["light_last_n_tokens"] = own.light_last_n_tokens
    elif part.texts.longer_than(own.full_max_seq_len):
        found["full_max_seq_len"] = own.full_max_seq_len
        found["light_last_n_tokens"] = own.light_last_n_tokens
    else:
        idle[f"{prefix}.full_max_seq_len"] = "no text is longer"
        idle[f"{prefix}.light_last_n_tokens"] = "no text is so long that full falls back to light"
    return found


def _extracted(config: StudyConfig) -> set[str]:
    wanted = config.activations
    there = {"mean"}
    if wanted.pooling == "tokens":
        there.add("tokens")
    if wanted.vertical_attention.mode != "off":
        there.add("vertical")
    return there


def _check(config: StudyConfig, part: Part, probes: Sequence[Probe]) -> None:
    """Refuse what would be refused hours later, once its features are there."""
    remedies = {
        "tokens": "activations.pooling: tokens",
        "vertical": "activations.vertical_attention.mode: light or full",
    }
    there = {"text", "position", *_extracted(config)}
    for probe in probes:
        for each in sorted(set(probe.reads) - there):
            raise BadInput(f"training.probes: {probe.name} reads {each}; give {remedies[each]}")
    table = part.table
    if not table.labelled:
        raise BadInput(f"{table.path}: no sentence has a label, so there is nothing to learn")
    if config.split.strategy == "lopo_cv":
        if len(table.labelled) < 2:
            raise BadInput(
                f"split.strategy lopo_cv: {len(table.labelled)} problem has labels; it takes two"
            )
        return
    if part.split is None:
        raise BadInput(
            f"split.strategy single_split: {len(table.problems)} problems are too few to split; "
            "give three, or lopo_cv"
        )
    for name in ("train", "test"):
        if not table.labelled & set(part.split[name]):
            raise BadInput(f"{part.labels}: no sentence of its {name} problems has a label")
