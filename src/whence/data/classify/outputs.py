"""What classification leaves behind: every row's score, a ranking by it, and what it comes to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from whence.data.classify.material import Material
from whence.errors import WhenceError
from whence.runs.jsonfile import plain, write_jsonl
from whence.runs.tables import write_parquet

if TYPE_CHECKING:
    import pyarrow as pa

CHANCE = 0.5


def write_rows(folder: Path, values: NDArray[np.float64], material: Material) -> None:
    """`scores.parquet`, a ranking of the pool by `values`, and `row_scores.jsonl`, the same with
    labels and metadata; best first.
    """
    import pandas as pd
    import pyarrow as pa

    rows = material.rows
    row_ids = rows["row_id"].to_numpy(dtype=str)
    order = np.lexsort((row_ids, -values))
    part = np.where(material.test, "test", "train")
    table = pd.DataFrame({"row_id": row_ids, "score": values, "part": part})
    for name in ("length", "loss"):
        if name in rows.columns and (name != "length" or material.length_unit == "length_tokens"):
            table["length_tokens" if name == "length" else name] = rows[name].to_numpy()
    table = table.iloc[order]
    table.insert(2, "rank", np.arange(1, len(table) + 1))
    write_parquet(pa.Table.from_pandas(table, preserve_index=False), folder / "scores.parquet")
    metadata = list(_metadata(material.pool))
    write_jsonl(
        folder / "row_scores.jsonl",
        (
            {
                "rank": rank,
                "row_id": row_ids[i],
                "part": part[i],
                "label": int(material.labels[i]),
                "target_score_raw": rows["score"][i],
                "pred_value": values[i],
                "metadata": metadata[i],
            }
            for rank, i in enumerate(order, start=1)
        ),
    )


def headline(found: Mapping[str, Any]) -> str:
    """Does the encoder tell the rows apart, and better than length does? In plain words."""
    value, interval = found["test_auc"], found["test_auc_interval"]
    top, rows = f"the top {found['n_positive_labels']} rows", found["test_size"]
    if interval is None and value == 1:
        said = f"Words alone put {top} before every other of {rows} held-out rows (AUC 1)"
    elif interval is None:
        said = (
            f"Whether words tell {top} from the rest is open: AUC {value:.2f} on {rows} held-out "
            f"rows, no interval ({found['reason']})"
        )
    else:
        low, high = interval
        measured = f"AUC {value:.2f} [{low:.2f}, {high:.2f}] on {rows} held-out rows"
        if low > CHANCE:
            said = f"Words alone tell {top} from the rest: {measured}, chance {CHANCE}"
        elif high < CHANCE:
            said = (
                f"The encoder puts {top} behind the rest on rows that it has not seen: {measured}"
            )
        else:
            said = (
                f"The encoder shows no sign of telling {top} from the rest: {measured}, an "
                "interval that covers chance"
            )
            tfidf = found["baselines"]["tfidf"]
            if (of_words := tfidf.get("test_auc_interval")) and of_words[0] > CHANCE:
                said += (
                    f"; yet words do tell them apart: TF-IDF, AUC {tfidf['test_auc']:.2f} "
                    f"[{of_words[0]:.2f}, {of_words[1]:.2f}]"
                )
    for comparison in found["comparisons"]:
        if comparison["control"] == "length":
            said += f". Against length: {comparison['sentence']}"
    if found["groups_on_both_sides"]:
        said += (
            f". {found['groups_on_both_sides']} groups have rows on both sides of the split, so "
            "alike rows may have been seen"
        )
    if found["truncated_texts"]:
        said += f". {found['truncated_texts']} of {found['n_rows']} texts were cut"
    return f"{said}."


def _metadata(pool: pa.Table) -> Iterator[dict[str, Any]]:
    """The columns of each row beside its id and texts, as JSON has them."""
    known = ("row_id", "prompt", "completion")
    names = [name for name in pool.column_names if name not in known]
    for row in pool.select(names).to_pylist():
        yield {name: _json(value) for name, value in row.items()}


def _json(value: Any) -> Any:
    if isinstance(value, float) and not np.isfinite(value):
        return None  # a gap in the metadata; JSON has no other word for it
    try:
        return plain(value)
    except WhenceError:  # a date, say, or a NaN within a list
        return str(value)
