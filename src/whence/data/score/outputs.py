"""What scoring leaves behind: the ranking, its rows' diagnostics, and a summary."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.data.score.diagnostics import composition, correlations, score_statistics
from whence.data.score.rows import Scored
from whence.data.score.settings import ScoreSettings
from whence.runs.jsonfile import write_json, write_jsonl
from whence.runs.tables import write_parquet

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from whence.models.load import Loaded


def write_ranking(folder: Path, scored: Scored, pool: pa.Table) -> None:
    """`scores.parquet`, and `row_diagnostics.jsonl`, the same with the pool's metadata."""
    import pyarrow as pa

    table = pa.Table.from_pandas(scored.table, preserve_index=False)
    write_parquet(table, folder / "scores.parquet")
    ranking = scored.table.to_dict("records")
    write_jsonl(
        folder / "row_diagnostics.jsonl",
        ({**row, **extra} for row, extra in zip(ranking, _metadata(pool), strict=True)),
    )


def _metadata(pool: pa.Table) -> Iterator[dict[str, Any]]:
    """The columns of each row that JSON can hold, texts of prompt and completion left out."""
    import pyarrow as pa

    kinds = (
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_boolean,
    )
    names = [
        field.name
        for field in pool.schema
        if field.name not in ("row_id", "prompt", "completion")
        and any(is_kind(field.type) for is_kind in kinds)
    ]
    for batch in pool.select(names).to_batches(max_chunksize=1000):
        for row in batch.to_pylist():
            # A number that is not one is a gap in the metadata, and JSON has no other word for it.
            yield {name: None if value != value else value for name, value in row.items()}


def write_summary(
    folder: Path,
    settings: ScoreSettings,
    scored: Scored,
    pool: pa.Table,
    query: pd.DataFrame,
    loaded: Loaded,
) -> None:
    """`summary.json`: coverage, spread, what the ranking leans on, who is at its top, and how."""
    import numpy as np

    table, found = scored.table, scored.attribution
    finite = np.isfinite(scored.scores)
    ranked = pool.to_pandas().iloc[table["rank"].to_numpy().argsort()].reset_index(drop=True)
    fields = {name: getattr(settings, name) for name in ScoreSettings.model_fields}
    write_json(
        folder / "summary.json",
        {
            "rows": len(table),
            "queries": scored.queries,
            "rows_also_queries": int(table["row_id"].isin(query["row_id"]).sum()),
            "finite": {"rows": int(finite.sum()), "share": float(finite.mean())},
            "truncated": {
                "rows": int(table["truncated"].sum()),
                "queries": scored.queries_truncated,
            },
            "scores": score_statistics(scored.scores),
            "correlations": correlations(table),
            "top_k_composition": composition(ranked),
            "settings": {**fields, "projection_dim": settings.projection},
            "gradient": {
                "weight_matrices": found.modules,
                "attributed_weights": found.attributed_weights,
                "adapter_weights": found.adapter_weights,
                "dimensions": found.dimensions,
                "query_bytes": found.query_bytes,
                "mixing_coefficient": found.mixing_coefficient,
            },
            "model": {
                "base": loaded.source,
                "revision": loaded.revision,
                "dtype": str(loaded.dtype).removeprefix("torch."),
            },
            "versions": _versions(),
        },
    )


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("whence", "bergson", "torch", "transformers", "peft")}
