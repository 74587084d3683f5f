"""`whence anchors run`: one study from one file, as the earlier system's `run_experiments.py` did.

    index     problems of a rollout data set, drawn and split (unless a table or traces are given)
    labels    the table of sentences, its traces, and the split
    features  activations of the layer that the file names
    probes    probes under every training seed, or `cv` leaving one problem out
    results   all of them together

Each is a run folder of its own, by the command of that name, with its own record: a killed study
goes on where it was, and a change in the file redoes what depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from whence.anchors.study_settings import (
    ActivationsSection,
    DatasetSection,
    LabelsSection,
    PathsSection,
    SplitSection,
    TrainingSection,
)
from whence.runs.config import Config
from whence.runs.finding import Finding

if TYPE_CHECKING:
    from whence.anchors.features.extract import ExtractConfig

TABLE = "sentence_metadata.parquet"


class StudyConfig(Config):
    """Label, extract, train and judge, as one file says; files of the earlier study load as they
    are."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"output_dir", "overwrite"})

    output_dir: Path = Field(description="Folder for every step of the study.")
    overwrite: bool = Field(
        default=False, description="Redo steps that were run with other settings."
    )
    skip_failed: bool = Field(
        default=False, description="Go on without traces that cannot be read by the model."
    )
    dataset: DatasetSection = Field(default_factory=DatasetSection, description="Problems.")
    labels: LabelsSection = Field(default_factory=LabelsSection, description="Labels.")
    activations: ActivationsSection = Field(
        default_factory=ActivationsSection, description="Activations."
    )
    training: TrainingSection = Field(default_factory=TrainingSection, description="Probes.")
    split: SplitSection = Field(default_factory=SplitSection, description="Held-out problems.")
    paths: PathsSection = Field(
        default_factory=PathsSection, description="Files of the earlier study."
    )


@dataclass(frozen=True)
class StudyResult:
    """judged: what `train` or `cv` found. results: its table. files: what → where."""

    judged: Finding
    results: Finding
    files: Mapping[str, Path] = field(default_factory=dict)

    def finding(self) -> Finding:
        """The verdict, over the table of all metrics."""
        files = {**self.files, **self.results.files}
        return Finding(self.judged.headline, self.results.columns, self.results.rows, files)


def study(config: StudyConfig) -> StudyResult:
    """Run every step that is not done. Raises BadInput as the steps do."""
    from whence.anchors.evaluate.aggregate import AggregateConfig, aggregate
    from whence.anchors.features.extract import extract

    home = config.output_dir
    _label(config)
    extract(_extraction(config))
    run, judged = _judge(config)
    together = aggregate(
        AggregateConfig(runs=(run,), output_dir=home / "results", overwrite=config.overwrite)
    )
    files = {"sentences": home / "labels" / TABLE, "features": home / "features", "probes": run}
    return StudyResult(judged, together.finding(), files)


def _label(config: StudyConfig) -> None:
    """Write `labels/`: table, traces and split."""
    from whence.anchors.labels.command import LabelsConfig, labels
    from whence.anchors.rollouts.index import IndexConfig, index

    home, dataset, training = config.output_dir, config.dataset, config.training
    on_rollouts = dataset.metadata is None and dataset.traces is None
    if on_rollouts:
        index(
            IndexConfig(
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
                output_dir=home / "index",
                overwrite=config.overwrite,
            )
        )
    labels(
        LabelsConfig(
            index=home / "index" if on_rollouts else None,
            from_metadata=dataset.metadata,
            traces=dataset.traces if dataset.metadata is None else None,
            importance=config.labels.counterfactual_field,
            drop_last_chunk=config.labels.drop_last_chunk,
            splits=_given_splits(config),
            seed=dataset.seed,
            output_dir=home / "labels",
            overwrite=config.overwrite,
        )
    )


def _given_splits(config: StudyConfig) -> Path | None:
    """The split that the file names or that lies beside the table; None to draw one."""
    named = config.paths.splits_json
    if named and Path(named).is_file():
        return Path(named)
    beside = config.dataset.metadata and config.dataset.metadata.with_name("splits.json")
    return beside if beside and beside.is_file() else None


def _extraction(config: StudyConfig) -> ExtractConfig:
    from whence.anchors.features.extract import ExtractConfig

    home, wanted = config.output_dir, config.activations
    vertical = wanted.vertical_attention
    traces = config.dataset.traces
    if traces is None and config.dataset.metadata is not None:
        beside = config.dataset.metadata.with_name("traces.jsonl")
        traces = beside if beside.is_file() else None
    return ExtractConfig(
        metadata=home / "labels" / TABLE,
        traces=traces or home / "labels" / "traces.jsonl",
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
        output_dir=home / "features",
        overwrite=config.overwrite,
    )


def _judge(config: StudyConfig) -> tuple[Path, Finding]:
    """Train or cross-validate: where, and what was found."""
    from whence.anchors.evaluate.cv import CvConfig, cv
    from whence.anchors.evaluate.train import TrainConfig, train
    from whence.anchors.probes.settings import ProbeSettings

    home, training = config.output_dir, config.training
    sizes = {name: getattr(training, name) for name in ProbeSettings.model_fields}
    shared: dict[str, Any] = {
        "metadata": home / "labels" / TABLE,
        "features": home / "features",
        "probes": training.probes,
        "target": config.labels.target_mode,
        "anchor_percentile": config.labels.anchor_percentile,
        "residualize": training.residualize_against,
        "fixed": training.fixed,
        "k_values": training.k_values,
        "draws": training.bootstrap_iterations,
        "device": training.token_probe_device,
        "settings": ProbeSettings(**sizes),
        "overwrite": config.overwrite,
    }
    seeds = training.seeds or (training.random_seed,)
    if config.split.strategy == "lopo_cv":
        judged = cv(CvConfig(**shared, folds="problems", seeds=seeds, output_dir=home / "cv"))
        return home / "cv", judged.finding()
    # All seeds in one run: a comparison needs them together, and each alone is no finding.
    trained = train(
        TrainConfig(
            **shared,
            splits=home / "labels" / "splits.json",
            seeds=seeds,
            position_bins=training.position_bins,
            output_dir=home / "probes",
        )
    )
    return home / "probes", trained.finding()
