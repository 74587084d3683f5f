"""What a prediction leaves on disk: a line a row, a ranking to select by, what it leans on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from whence.runs.jsonfile import write_jsonl
from whence.runs.tables import write_parquet
from whence.sae.predict.features import Features
from whence.sae.predict.saved import Predictor
from whence.sae.sample_stats import SAMPLE_STATS

if TYPE_CHECKING:
    import pandas as pd

STRONGEST = 20
TOLD_APART = {"row_id", "array_index", "score", "rank", "prompt", "completion"}
"""Columns of the rows that are no metadata: said under another name, or texts."""


def predicted_ranks(predicted: NDArray[np.float64], row_ids: Sequence[str]) -> NDArray[np.int64]:
    """1 for the highest prediction, ties by row id, int64 [rows]."""
    order = np.lexsort((np.asarray(row_ids, dtype=str), -predicted))
    ranks = np.empty(len(predicted), dtype=np.int64)
    ranks[order] = np.arange(1, len(predicted) + 1)
    return ranks


def write_rows(
    folder: Path,
    rows: pd.DataFrame,
    predicted: NDArray[np.float64],
    parts: Sequence[str],
    lengths: NDArray[np.int64],
    known: Mapping[str, NDArray[np.generic]],
) -> None:
    """`row_scores.jsonl`, best first, and `scores.parquet`, in the order of the rows.

    parts: per row train, test or new. known: further columns of row_scores.jsonl, between the
    prediction and the metadata.
    """
    import pyarrow as pa

    ids = [str(row_id) for row_id in rows["row_id"]]
    ranks = predicted_ranks(predicted, ids)
    index = rows["array_index"].to_numpy() if "array_index" in rows else np.arange(len(rows))
    said: dict[str, Any] = {
        "rank": ranks,
        "index": index,
        "row_id": ids,
        "part": parts,
        "pred_value": predicted,
        **known,
    }
    metadata = [str(name) for name in rows.columns if name not in TOLD_APART and name not in said]
    said |= {name: rows[name].tolist() for name in metadata}
    order = [int(row) for row in np.argsort(ranks)]
    write_jsonl(folder / "row_scores.jsonl", _lines(said, order))
    table: dict[str, Any] = {
        "row_id": ids,
        "score": predicted,
        "rank": ranks,
        "part": list(parts),
        "length_tokens": lengths,
    }
    write_parquet(pa.table(table), folder / "scores.parquet")


def write_out_of_fold(
    folder: Path, row_ids: Sequence[str], predicted: NDArray[np.float64], lengths: NDArray[np.int64]
) -> None:
    """`scores_out_of_fold.parquet`: the ranking in which no row's own score had a say."""
    import pyarrow as pa

    ids = [str(row_id) for row_id in row_ids]
    table: dict[str, Any] = {
        "row_id": ids,
        "score": predicted,
        "rank": predicted_ranks(predicted, ids),
        "length_tokens": lengths,
    }
    write_parquet(pa.table(table), folder / "scores_out_of_fold.parquet")


def distribution(values: NDArray[np.float64]) -> dict[str, float]:
    """Mean, population standard deviation, and five quantiles."""
    marks = np.quantile(values, [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1])
    names = ("min", "p05", "p25", "median", "p75", "p95", "max")
    return {
        "mean": float(values.mean()),
        "std": float(values.std()),
        **{name: float(mark) for name, mark in zip(names, marks, strict=True)},
    }


def strongest(
    predictor: Predictor, layers: Sequence[Features], rows: NDArray[np.int64]
) -> list[dict[str, Any]]:
    """Per layer, what the prediction leans on: features and statistics by |weight| × deviation.

    effect: change of the prediction, in the target's unit, per standard deviation over `rows`.
    """
    found = []
    for weights, layer in zip(predictor.layers, layers, strict=True):
        active = layer.active[rows].astype(np.float64)
        n = len(rows)
        mean = np.asarray(active.sum(axis=0)).ravel() / n
        square = np.asarray(active.multiply(active).sum(axis=0)).ravel() / n
        effect = weights.activation_weights * np.sqrt(np.maximum(square - mean**2, 0))
        count = np.bincount(active.indices, minlength=layer.d_sae)
        best = np.argsort(-np.abs(effect), kind="stable")[:STRONGEST]
        of_stats = weights.stat_weights * layer.stats[rows].std(axis=0)
        found.append(
            {
                "sae_id": layer.sae_id,
                "features": [
                    {
                        "feature": int(at),
                        "weight": float(weights.activation_weights[at]),
                        "effect": float(effect[at]),
                        "mean_activation": float(mean[at]),
                        "rows_active": int(count[at]),
                    }
                    for at in best
                    if effect[at]
                ],
                "statistics": {
                    name: {"weight": float(weight), "effect": float(each)}
                    for name, weight, each in zip(
                        SAMPLE_STATS, weights.stat_weights, of_stats, strict=True
                    )
                },
            }
        )
    return found


def _lines(said: Mapping[str, Any], order: Sequence[int]) -> Iterator[dict[str, Any]]:
    for row in order:
        yield {name: _json(values[row]) for name, values in said.items()}


def _json(value: Any) -> Any:
    """A number that is not one is a gap in the metadata, and JSON has no other word for it."""
    return None if isinstance(value, float) and value != value else value
