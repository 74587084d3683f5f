"""Extracted rows beside their attribution scores: one table, one order, no row left unmatched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from whence.errors import BadInput
from whence.runs.labels import group_keys, top_labels
from whence.runs.ranking import need_same_texts, read_ranking, scores_file
from whence.sae.store import Extraction

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["group_keys", "scored_rows", "top_labels"]

FROM_SCORES = ("score", "rank", "length_tokens", "loss")


def scored_rows(extraction: Extraction, scores: Path) -> pd.DataFrame:
    """The extraction's examples, in its order, with `score` and, where known, lengths and losses.

    scores: a folder of `whence data score` or a table with row_id and score; it may have rows that
    were not extracted (a pool of which some were), and `rank` is then counted anew among those that
    were: 1 is best, ties by row id. Raises BadInput where an extracted row has no score.
    """
    ranking = read_ranking(scores)
    have = set(ranking["row_id"])
    missing = [row_id for row_id in extraction.row_ids if row_id not in have]
    if missing:
        raise BadInput(
            f"{scores_file(scores)}: no score for {len(missing)} of {len(extraction.row_ids)} rows "
            f'of {extraction.folder} (first: row_id "{missing[0]}"); extract the rows that were '
            "scored"
        )
    if "tokens" in extraction.examples.columns:
        tokens = extraction.examples.set_index("row_id")["tokens"]
        need_same_texts(ranking, tokens, scores_file(scores), str(extraction.folder))
    columns = [name for name in FROM_SCORES if name in ranking.columns]
    found = ranking.set_index("row_id")[columns].loc[extraction.row_ids].reset_index(drop=True)
    rows = extraction.examples.drop(columns=[n for n in columns if n in extraction.examples])
    rows = rows.reset_index(drop=True).join(found)
    order = np.lexsort((rows["row_id"].to_numpy(dtype=str), -rows["score"].to_numpy()))
    rank = np.empty(len(rows), dtype=np.int64)
    rank[order] = np.arange(1, len(rows) + 1)
    return rows.assign(rank=rank)
