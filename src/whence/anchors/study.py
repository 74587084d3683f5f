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
from typing import ClassVar

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
    from whence.anchors.study_steps import TABLE, extraction, judge, judging, label

    home = config.output_dir
    label(config, home / "index", home / "labels")
    extract(extraction(config, home / "labels", home / "features"))
    run = home / ("cv" if config.split.strategy == "lopo_cv" else "probes")
    judged = judge(judging(config, home / "labels", home / "features", run)).finding()
    together = aggregate(
        AggregateConfig(runs=(run,), output_dir=home / "results", overwrite=config.overwrite)
    )
    files = {"sentences": home / "labels" / TABLE, "features": home / "features", "probes": run}
    return StudyResult(judged, together.finding(), files)
