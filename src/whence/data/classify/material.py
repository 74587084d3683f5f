"""What an encoder is to tell apart: rows, their labels, and the rows held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from whence.errors import BadInput
from whence.runs.labels import group_keys, top_labels
from whence.runs.manifest import Manifest, read_split_table
from whence.runs.ranking import check_covers, read_ranking, token_lengths
from whence.stats.holdout import SplitMode, hold_out
from whence.text.joined import joined_texts

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


@dataclass(frozen=True)
class Material:
    """pool: the rows that are used, as the split has them. rows: the same with `score`, `rank` (1
    is best, among these rows), `length` and, where the scores know it, `loss`.

    labels, test: bool [rows], true for the top k and where held out. groups: a label a row.
    length_unit: of `length`.
    """

    pool: pa.Table
    rows: pd.DataFrame
    labels: NDArray[np.bool_]
    test: NDArray[np.bool_]
    groups: list[str]
    length_unit: str

    @property
    def texts(self) -> list[str]:
        """Prompt, blank line, completion of each row."""
        return joined_texts(self.rows)

    @property
    def groups_on_both_sides(self) -> int:
        """How many groups have rows that are fitted on and rows that are held out."""
        names = np.asarray(self.groups, dtype=str)
        return len(set(names[self.test]) & set(names[~self.test]))


def read_material(
    manifest: Manifest,
    split: str,
    scores: Path,
    *,
    top_k: int,
    max_rows: int | None,
    split_mode: SplitMode,
    group_key_fields: Sequence[str],
    test_fraction: float,
    seed: int,
) -> Material:
    """Read pool and scores, mark the top k, hold rows out so that both sides have both classes.

    Raises BadInput for scores of another split, a k that leaves no rest, and as `hold_out` does.
    """
    ranking = read_ranking(scores)
    pool = read_split_table(manifest, split)
    check_covers(ranking, pool.to_pandas(), scores, manifest.split(split))
    pool = pool.slice(0, max_rows)
    rows = pool.to_pandas()
    by_id = ranking.set_index("row_id").loc[rows["row_id"]]
    known = [name for name in ("score", "loss") if name in by_id.columns]
    rows = rows.drop(columns=[name for name in (*known, "rank", "length") if name in rows])
    for name in known:
        rows[name] = by_id[name].to_numpy()
    order = np.lexsort((rows["row_id"].to_numpy(dtype=str), by_id["rank"].to_numpy()))
    rows["rank"] = np.empty(len(rows), dtype=np.int64)
    rows.loc[order, "rank"] = np.arange(1, len(rows) + 1)
    lengths, unit = token_lengths(rows, ranking)
    rows["length"] = lengths
    if len(rows) < 2:
        raise BadInput(f"--max-rows {max_rows}: two rows and more can be told apart")
    if rows["score"].nunique() == 1:
        raise BadInput(f"{scores}: every row has the same score, so there is no top")
    labels = top_labels(rows, top_k)
    groups = group_keys(rows, group_key_fields)
    test = hold_out(groups, split_mode, fraction=test_fraction, labels=labels, seed=seed)
    return Material(pool, rows, labels, test, groups, unit)
