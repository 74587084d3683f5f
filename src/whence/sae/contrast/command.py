"""`whence sae contrast`: the top attributed rows against the rest.

Two questions of each SAE. Do ten statistics of a row's activations tell the top rows from the rest
better than its length and its loss do? And which features are present more often, or less often, at
the top, on rows that had no part in choosing them as well?
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from whence.runs.config import OutputConfig, Words
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json, write_json
from whence.runs.progress import track
from whence.runs.ranking import scores_file
from whence.runs.store import open_run
from whence.stats.holdout import SplitMode

if TYPE_CHECKING:
    from whence.runs.store import Run
    from whence.sae.store import Extraction

RESULT, FEATURES, PAGE = "contrast.json", "features.parquet", "report.html"


class ContrastConfig(OutputConfig):
    """Compare the activations of the top attributed rows with those of the rest."""

    read_by_content: ClassVar[frozenset[str]] = frozenset({"scores", "sae_dir"})

    scores: Path = Field(
        description="Folder of `whence data score`, or a table with row_id and score."
    )
    sae_dir: Path = Field(description="Folder of `whence sae extract`.")
    sae_id: tuple[str, ...] = Field(
        default=(), description="SAEs to compare. Default: all of the folder."
    )
    top_k: int = Field(default=100, ge=1, description="Rows of best score that count as the top.")
    split_mode: SplitMode = Field(
        default="grouped",
        description="What is held out: whole groups, rows by class, or rows at random. The latter "
        "two can leave rows of one group on both sides.",
    )
    group_key_fields: Words = Field(
        default=(),
        description="Fields of examples.jsonl whose values together name a row's group. Default: "
        "group_id.",
    )
    test_fraction: float = Field(
        default=0.2, gt=0, lt=1, description="Share of groups (or rows) to hold out."
    )
    folds: int = Field(
        default=5, ge=2, description="Folds of the AUC out of fold, every row held out once."
    )
    seed: int = Field(default=42, description="Seed of the split, the folds and the resampling.")
    min_rows: int = Field(
        default=5,
        ge=1,
        description="A feature is tested if at least so many fitted rows have it and so many lack "
        "it.",
    )
    top_features: int = Field(
        default=50,
        ge=1,
        description="Enriched and depleted features to list per SAE, re-estimated with intervals.",
    )


@dataclass(frozen=True)
class ContrastResult:
    """told: what `contrast.json` holds. done_before: an earlier run had made it."""

    folder: Path
    told: Mapping[str, Any]
    done_before: bool

    def finding(self) -> Finding:
        """The best SAE beside length, a row for each SAE, and what to beware of."""
        from whence.sae.contrast.words import columns, layer_rows

        return Finding(
            headline=" ".join(
                [
                    *(["Already done:"] if self.done_before else []),
                    self.told["headline"],
                    *self.told["cautions"],
                ]
            ),
            columns=columns(self.told),
            rows=layer_rows(self.told),
            files={
                "report": self.folder / PAGE,
                "all numbers": self.folder / RESULT,
                "features": self.folder / FEATURES,
            },
        )


def contrast(config: ContrastConfig) -> ContrastResult:
    """Write `contrast.json`, `features.parquet` and `report.html`.

    Raises BadInput, naming file, row or flag, where rows and scores do not match, a statistic is
    not finite, or the split leaves a side without top rows or without others.
    """
    from whence.sae.store import open_extraction

    extraction = open_extraction(config.sae_dir, config.sae_id)
    record = extraction.folder / "summary.json"
    with open_run(
        config.output_dir,
        command="sae contrast",
        config=config,
        inputs={
            "scores": scores_file(config.scores),
            "examples": extraction.folder / "examples.jsonl",
            "summary": record if record.is_file() else None,
            "features": list(extraction.files.values()),
        },
        overwrite=config.overwrite,
        seeds=[config.seed],
    ) as run:
        if not run.done:
            _contrast(config, extraction, run)
    return ContrastResult(config.output_dir, read_json(config.output_dir / RESULT), run.done)


def _contrast(config: ContrastConfig, extraction: Extraction, run: Run) -> None:
    import pyarrow as pa

    from whence.runs.tables import write_parquet
    from whence.sae.contrast.design import design
    from whence.sae.contrast.outcome import all_features, of_layer, told
    from whence.sae.contrast.page import write_page
    from whence.sae.contrast.words import cautions, headline, verdict

    rows = design(
        extraction,
        config.scores,
        top_k=config.top_k,
        mode=config.split_mode,
        group_key_fields=config.group_key_fields,
        fraction=config.test_fraction,
        folds=config.folds,
        seed=config.seed,
    )
    layers, seq_lens = {}, None
    for sae_id in track(list(extraction.files), label="contrast", unit="SAEs"):
        layer = extraction.layer(sae_id)
        seq_lens = layer.seq_lens if seq_lens is None else seq_lens
        layers[sae_id] = of_layer(
            layer,
            rows,
            min_rows=config.min_rows,
            top_features=config.top_features,
            seed=config.seed,
        )
    assert seq_lens is not None
    features = all_features(layers)
    settings = {
        name: getattr(config, name)
        for name in ("split_mode", "group_key_fields", "test_fraction", "seed", "min_rows")
    }
    found = told(
        layers,
        features,
        rows,
        seq_lens,
        settings=settings,
        top_features=config.top_features,
        seed=config.seed,
    )
    said = {"headline": headline(found), "verdict": verdict(found), "cautions": cautions(found)}
    found = said | found
    write_json(run.folder / RESULT, found)
    table = pa.Table.from_pandas(features.drop(columns="heldout_reason"), preserve_index=False)
    write_parquet(table, run.folder / FEATURES)
    write_page(run.folder, found, features)
