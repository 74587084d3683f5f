"""The steps of a study, each as the configuration of its own command.

`whence anchors run` gives every step a folder of its own; a sweep gives folders that many studies
share. What is asked of a step is said here, once for both.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whence.anchors.evaluate.cv import CvConfig, CvResult
    from whence.anchors.evaluate.train import TrainConfig, TrainResult
    from whence.anchors.features.extract import ExtractConfig
    from whence.anchors.labels.command import LabelsConfig
    from whence.anchors.rollouts.index import IndexConfig
    from whence.anchors.study import StudyConfig

TABLE = "sentence_metadata.parquet"
TRACES = "traces.jsonl"
SPLITS = "splits.json"


def on_rollouts(config: StudyConfig) -> bool:
    """Whether problems are read from rollouts, and no table or traces are given."""
    return config.dataset.metadata is None and config.dataset.traces is None


def indexing(config: StudyConfig, output_dir: Path) -> IndexConfig:
    """The draw of problems, of a study on rollouts."""
    from whence.anchors.rollouts.index import IndexConfig

    dataset, training = config.dataset, config.training
    return IndexConfig(
        root=dataset.root,
        repo_id=dataset.repo_id,
        model_dir=dataset.model_dir,
        temp_dir=dataset.temp_dir,
        split_dir=dataset.split_dir,
        forced_split_dir=dataset.forced_split_dir,
        num_problems=dataset.num_problems,
        problem_ids=dataset.problem_ids,
        seed=dataset.seed,
        val_fraction=training.val_fraction,
        test_fraction=training.test_fraction,
        output_dir=output_dir,
        overwrite=config.overwrite,
    )


def labelling(config: StudyConfig, index: Path, output_dir: Path) -> LabelsConfig:
    """The table of sentences, its traces and its split. index: folder of `indexing`."""
    from whence.anchors.labels.command import LabelsConfig

    dataset = config.dataset
    return LabelsConfig(
        index=index if on_rollouts(config) else None,
        from_metadata=dataset.metadata,
        traces=dataset.traces if dataset.metadata is None else None,
        importance=config.labels.counterfactual_field,
        drop_last_chunk=config.labels.drop_last_chunk,
        splits=given_splits(config),
        seed=dataset.seed,
        output_dir=output_dir,
        overwrite=config.overwrite,
    )


def label(config: StudyConfig, index_dir: Path, labels_dir: Path) -> None:
    """Write table, traces and split into `labels_dir`; the draw of rollouts into `index_dir`."""
    from whence.anchors.labels.command import labels
    from whence.anchors.rollouts.index import index

    if on_rollouts(config):
        index(indexing(config, index_dir))
    labels(labelling(config, index_dir, labels_dir))


def given_splits(config: StudyConfig) -> Path | None:
    """The split that the file names or that lies beside the table; None to draw one."""
    named = config.paths.splits_json
    if named and Path(named).is_file():
        return Path(named)
    beside = config.dataset.metadata and config.dataset.metadata.with_name(SPLITS)
    return beside if beside and beside.is_file() else None


def texts(config: StudyConfig, labels: Path) -> Path:
    """What the model reads: the traces that were given, else those beside the table."""
    traces = config.dataset.traces
    if traces is None and config.dataset.metadata is not None:
        beside = config.dataset.metadata.with_name(TRACES)
        traces = beside if beside.is_file() else None
    return traces or labels / TRACES


def extraction(config: StudyConfig, labels: Path, output_dir: Path) -> ExtractConfig:
    """Activations of the sentences in the folder `labels`."""
    from whence.anchors.features.extract import ExtractConfig

    wanted = config.activations
    vertical = wanted.vertical_attention
    return ExtractConfig(
        metadata=labels / TABLE,
        traces=texts(config, labels),
        model=wanted.model_name_or_path,
        layers=(wanted.layers,),
        pooling=("mean", "tokens") if wanted.pooling == "tokens" else ("mean",),
        vertical=vertical.mode,
        depth_control=vertical.depth_control,
        light_last_n_tokens=vertical.light_last_n_tokens,
        full_max_seq_len=vertical.full_max_seq_len,
        prepend_bos=wanted.prepend_bos,
        dtype=wanted.dtype,
        storage_dtype=wanted.storage_dtype,
        device=wanted.device,
        skip_failed=config.skip_failed,
        output_dir=output_dir,
        overwrite=config.overwrite,
    )


def judging(
    config: StudyConfig, labels: Path, features: Path, output_dir: Path, **changed: Any
) -> TrainConfig | CvConfig:
    """Probes on those labels and features. changed: settings of `ProbingConfig` to put in place of
    what the study says, as the layer of a folder that holds several."""
    from whence.anchors.evaluate.cv import CvConfig
    from whence.anchors.evaluate.train import TrainConfig
    from whence.anchors.probes.settings import ProbeSettings

    training = config.training
    sizes = {name: getattr(training, name) for name in ProbeSettings.model_fields}
    shared: dict[str, Any] = {
        "metadata": labels / TABLE,
        "features": features,
        "probes": training.probes,
        "target": config.labels.target_mode,
        "anchor_percentile": config.labels.anchor_percentile,
        "residualize": training.residualize_against,
        "fixed": training.fixed,
        # All seeds in one run: a comparison needs them together, and each alone is no finding.
        "seeds": training.seeds or (training.random_seed,),
        "k_values": training.k_values,
        "draws": training.bootstrap_iterations,
        "device": training.token_probe_device,
        "settings": ProbeSettings(**sizes),
        "output_dir": output_dir,
        "overwrite": config.overwrite,
        **changed,
    }
    if config.split.strategy == "lopo_cv":
        return CvConfig(**shared, folds="problems")
    bins = training.position_bins
    return TrainConfig(**shared, splits=labels / SPLITS, position_bins=bins)


def judge(config: TrainConfig | CvConfig) -> TrainResult | CvResult:
    """Train on one split or cross-validate, as the configuration is of."""
    from whence.anchors.evaluate.cv import CvConfig, cv
    from whence.anchors.evaluate.train import train

    return cv(config) if isinstance(config, CvConfig) else train(config)
