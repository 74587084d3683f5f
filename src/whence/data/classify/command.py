"""`whence data classify`: a text encoder trained to tell the top of a ranking from the rest.

The control for everything that explains a ranking by a model's insides: whatever an encoder reads
off prompt and completion was in the words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from whence.runs.config import OutputConfig, Words
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json
from whence.runs.manifest import Manifest, load_manifest
from whence.runs.ranking import scores_file
from whence.runs.store import open_run
from whence.text.encoder import DEFAULT_ENCODER, EncoderSettings, encoder_identity

if TYPE_CHECKING:
    from whence.runs.store import Run


class ClassifyConfig(EncoderSettings, OutputConfig):
    """Train a text encoder to tell the best-ranked rows of a pool from the rest by their words."""

    manifest: Path = Field(description="Manifest whose pool was scored.")
    scores: Path = Field(
        description="Folder of `whence data score`, or a table with row_id and score."
    )
    pool_split: str = Field(default="score_pool", description="Split that was scored.")
    top_k: int = Field(default=100, ge=1, description="Best-ranked rows, to be told from the rest.")
    encoder: str = Field(
        default=DEFAULT_ENCODER,
        description="Model to fine-tune: a folder or hub id of any model with a "
        "sequence-classification head in Transformers, or tiny.",
    )
    split_mode: Literal["grouped", "stratified"] = Field(
        default="grouped",
        description="grouped: whole groups are held out. stratified: rows are, the same share of "
        "the top as of the rest; rows of one group may then be on both sides.",
    )
    group_key_fields: Words = Field(
        default=(),
        description="Columns that rows of one group share, as in game,task_id. Default: group_id.",
    )
    test_fraction: float = Field(
        default=0.2, gt=0, lt=1, description="Share of groups (or rows) that are held out."
    )
    max_rows: int | None = Field(
        default=None,
        ge=1,
        description="Use only the first rows of the split; the top is then the best of these.",
    )


@dataclass(frozen=True)
class ClassifyResult:
    """folder: where everything is. summary: the content of `summary.json`."""

    folder: Path
    summary: Mapping[str, Any]
    done_before: bool

    def finding(self) -> Finding:
        """Whether the encoder tells them apart, whether better than length, and each method."""
        found = self.summary
        against = {c["control"]: c for c in found["comparisons"]}
        rows = [("encoder", _number(found), "")]
        for name, baseline in found["baselines"].items():
            if baseline["test_auc"] is None:
                rows.append((name, f"– ({baseline['reason']})", ""))
            else:
                rows.append((name, _number(baseline), _difference(against[name])))
        return Finding(
            headline=f"{'Already done: ' if self.done_before else ''}{found['headline']}",
            columns=("told apart by", "AUC on held-out rows", "encoder minus it"),
            rows=rows,
            files={
                "summary": self.folder / "summary.json",
                "ranking by the encoder": self.folder / "scores.parquet",
                "model": self.folder / "model",
            },
        )


def classify(config: ClassifyConfig) -> ClassifyResult:
    """Fit the encoder on the training rows, judge it on the rest, and rank all rows by it.

    Killed and started again, it goes on from its last checkpoint. Raises BadInput, before a model
    is loaded, for scores of another split and rows that cannot be split; and as `tune_encoder`
    does.
    """
    manifest = load_manifest(config.manifest)
    split = manifest.split(config.pool_split)
    scores = scores_file(config.scores)
    with open_run(
        config.output_dir,
        command="data classify",
        config=config,
        inputs={
            "scores": scores,
            "manifest": manifest.path,
            "pool": split.path,
            "encoder": encoder_identity(config.encoder, config),
        },
        overwrite=config.overwrite,
        seeds=[config.seed],
    ) as run:
        if not run.done:
            _classify(config, manifest, scores, run)
    summary = read_json(config.output_dir / "summary.json")
    return ClassifyResult(config.output_dir, summary, run.done)


def _classify(config: ClassifyConfig, manifest: Manifest, scores: Path, run: Run) -> None:
    from whence.data.classify.judged import judge
    from whence.data.classify.material import read_material
    from whence.data.classify.outputs import headline, write_rows
    from whence.runs.jsonfile import write_json
    from whence.text.encoder import tune_encoder

    material = read_material(
        manifest,
        config.pool_split,
        scores,
        top_k=config.top_k,
        max_rows=config.max_rows,
        split_mode=config.split_mode,
        group_key_fields=config.group_key_fields,
        test_fraction=config.test_fraction,
        seed=config.seed,
    )
    tuned = tune_encoder(
        config.encoder,
        material.texts,
        material.labels,
        ~material.test,
        task="classification",
        settings=config,
        work=run.scratch / "encoder",
        save=run.folder / "model",
    )
    write_rows(run.folder, tuned.values, material)
    found = {
        "encoder": config.encoder,
        "top_k": config.top_k,
        "split_mode": config.split_mode,
        "n_rows": len(material.rows),
        "train_size": int((~material.test).sum()),
        "test_size": int(material.test.sum()),
        "n_positive_labels": int(material.labels.sum()),
        "n_positive_test": int(material.labels[material.test].sum()),
        "groups_on_both_sides": material.groups_on_both_sides,
        "truncated_texts": tuned.truncated,
        "steps": tuned.steps,
        "length_unit": material.length_unit,
        **judge(tuned.values, material),
    }
    write_json(run.folder / "summary.json", {"headline": headline(found), **found})


def _number(measured: Mapping[str, Any]) -> str:
    if measured["test_auc_interval"] is None:
        return f"{measured['test_auc']:.3f} (no interval)"
    low, high = measured["test_auc_interval"]
    return f"{measured['test_auc']:.3f} [{low:.3f}, {high:.3f}]"


def _difference(comparison: Mapping[str, Any]) -> str:
    if comparison["interval"] is None:
        return f"{comparison['effect']:+.3f} (no interval)"
    low, high = comparison["interval"]
    return f"{comparison['effect']:+.3f} [{low:+.3f}, {high:+.3f}], q = {comparison['q']:.2g}"
