"""`whence data score`: rank a pool by how far training on each row would help with the queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from whence.data.arms import parse_arms
from whence.data.draws import LENGTH_BINS, default_match_on, draw_arms
from whence.data.score.base import with_recorded_base
from whence.data.score.outputs import write_ranking, write_summary
from whence.data.score.rows import score_rows
from whence.data.score.settings import ScoreSettings
from whence.data.subsets import write_subsets
from whence.errors import BadInput
from whence.models.settings import ModelSettings
from whence.runs.config import OutputConfig
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json
from whence.runs.manifest import Manifest, load_manifest, read_split_table
from whence.runs.store import open_run

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

DEFAULT_SUBSET = 500


class ScoreConfig(ScoreSettings, ModelSettings, OutputConfig):
    """Score every row of a pool against queries by the gradients of an adapter's weights (Bergson).

    Writes the ranking, diagnostics, the top k, and a matched random k as its control.
    """

    manifest: Path = Field(
        default=Path("runs/smoltalk_v1/manifest.json"),
        description="Manifest of `whence data build` with the pool and the queries.",
    )
    adapter_path: Path = Field(
        default=Path("runs/smoltalk_v1/base_adapter"),
        description="LoRA adapter whose weights are attributed to.",
    )
    base_model: str = Field(
        default="auto",
        description="The adapter's base model: a Hugging Face folder, a hub id, or tiny; auto is "
        "the one that the adapter records.",
    )
    pool_split: str = Field(default="score_pool", description="Split to rank.")
    query_split: str = Field(
        default="attr_query", description="Split whose loss good rows should lower."
    )
    subset_k: int | None = Field(
        default=None,
        ge=1,
        description=f"Rows of the top k and of its matched random control. Default: "
        f"{DEFAULT_SUBSET}, or a quarter of the pool where that is less.",
    )
    allow_random_overlap: bool = Field(
        default=False, description="Let the matched random rows be among the top k."
    )
    match_on: tuple[str, ...] | None = Field(
        default=None,
        description="Columns that the matched random rows share with the top k, beside length. "
        "Default: what the data was stratified by.",
    )
    seed: int = Field(default=42, description="Seed of the matched random draw.")
    output_dir: Path = Field(
        default=Path("runs/smoltalk_v1/attribution"),
        description="Folder for scores, diagnostics, subsets and the manifest to train from.",
    )


@dataclass(frozen=True)
class ScoreResult:
    """folder: where everything is. summary: `summary.json`. best: the first rows of the ranking."""

    folder: Path
    summary: Mapping[str, Any]
    best: pd.DataFrame
    done_before: bool

    def finding(self) -> Finding:
        """What the ranking leans on, and its first rows."""
        found = self.summary
        by = found["settings"]
        leans = ", ".join(
            f"{name.replace('_', ' ')} {value['spearman']:+.2f}"
            for name, value in found["correlations"].items()
            if value["spearman"] is not None
        )
        return Finding(
            headline=f"{found['rows']:,} rows {'already ' if self.done_before else ''}scored "
            f"against {found['queries']:,} queries ({by['score_mode']}, preconditioner "
            f"{by['preconditioning_mode']}). Rank correlation of the score with {leans or 'none'}.",
            columns=("rank", "row_id", "score", "loss", "tokens"),
            rows=[
                (
                    str(row.rank),
                    row.row_id,
                    f"{row.score:.4g}",
                    f"{row.loss:.3f}",
                    str(row.length_tokens),
                )
                for row in self.best.itertuples()
            ],
            files={
                "scores": self.folder / "scores.parquet",
                "summary": self.folder / "summary.json",
                "manifest to train from": self.folder / "continuation_manifest.json",
            },
        )


def score(config: ScoreConfig) -> ScoreResult:
    """Score the pool, describe the ranking, and draw the top k and its control.

    Raises BadInput, before the model is loaded, for splits, sizes and columns that cannot be; and
    as `score_rows` does.
    """
    manifest = load_manifest(config.manifest)
    pool, query = manifest.split(config.pool_split), manifest.split(config.query_split)
    model = with_recorded_base(config, config.adapter_path)
    with open_run(
        config.output_dir,
        command="data score",
        config=config,
        inputs={
            "manifest": manifest.path,
            "pool": pool.path,
            "query": query.path,
            "adapter": config.adapter_path,
            "base_model": model.identity(),
        },
        overwrite=config.overwrite,
        seeds=[config.seed],
    ) as run:
        if not run.done:
            rows = read_split_table(manifest, pool.name)
            queries = read_split_table(manifest, query.name).to_pandas()
            k, match_on = _subset_plan(config, manifest, rows)
            loaded = model.load()
            scored = score_rows(
                loaded, config.adapter_path, rows.to_pandas(), queries, config, run.scratch
            )
            write_ranking(run.folder, scored, rows)
            write_summary(run.folder, config, scored, rows, queries, loaded)
            arms = parse_arms([f"top_k=top:{k}", "matched_random_k=matched_random:of=top_k"])
            overlap = config.allow_random_overlap
            write_subsets(
                run.folder,
                draw_arms(
                    arms,
                    scored.table,
                    rows.to_pandas(),
                    config.seed,
                    match_on=match_on,
                    allow_overlap=overlap,
                ),
                home=config.output_dir,
                parent=manifest,
                pool=rows,
                ranking=scored.table,
                pool_split=pool.name,
                settings={
                    "seed": config.seed,
                    "match_on": match_on,
                    "length_bins": LENGTH_BINS,
                    "allow_random_overlap": overlap,
                },
            )
    import pandas as pd

    best = pd.read_parquet(config.output_dir / "scores.parquet").nsmallest(5, "rank")
    summary = read_json(config.output_dir / "summary.json")
    return ScoreResult(config.output_dir, summary, best, run.done)


def _subset_plan(
    config: ScoreConfig, manifest: Manifest, pool: pa.Table
) -> tuple[int, tuple[str, ...]]:
    """How many rows a subset has and what its control is matched on; refused before any work."""
    rows: int = pool.num_rows
    k = config.subset_k or max(1, min(DEFAULT_SUBSET, rows // 4))
    needed = k if config.allow_random_overlap else 2 * k
    if needed > rows:
        raise BadInput(
            f"--subset-k {k}: the split {config.pool_split} has {rows} rows"
            + (
                f"; lower it to at most {rows}"
                if config.allow_random_overlap
                else f" and a control without overlap needs {needed}; lower it to at most "
                f"{rows // 2} or use --allow-random-overlap"
            )
        )
    if config.match_on is None:
        return k, default_match_on(manifest, pool.column_names)
    for column in config.match_on:
        if column not in pool.column_names:
            raise BadInput(
                f"--match-on {column}: the split {config.pool_split} has no such column, "
                f"but {', '.join(pool.column_names)}"
            )
    return k, config.match_on
