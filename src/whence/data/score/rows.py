"""From rows of text to scored rows: what `whence data score` and an experiment both call."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from whence.data.score.attribution import Attribution, attribute
from whence.data.score.settings import ScoreSettings
from whence.data.score.tokens import TokenRows, named, tokenize_rows
from whence.errors import BadInput
from whence.models.load import Loaded, load_model, using_adapter
from whence.runs.ranking import TEXTS, text_digests

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@dataclass(frozen=True)
class Scored:
    """A scored pool.

    table: a row per pool row, in the pool's order, with `index, row_id, score, rank` (1 is best),
    `length_tokens, supervised_tokens, loss` (mean per supervised token), `truncated` and
    `text_digest` (of prompt and completion).
    queries, queries_truncated: rows asked with, and how many of them were cut to length.
    """

    table: pd.DataFrame
    attribution: Attribution
    queries: int
    queries_truncated: int

    @property
    def scores(self) -> np.ndarray:
        """float64 [pool rows], in the pool's order."""
        scores: np.ndarray = self.table["score"].to_numpy()
        return scores

    @property
    def losses(self) -> np.ndarray:
        """Mean cross entropy per supervised token in nats, float64 [pool rows]."""
        losses: np.ndarray = self.table["loss"].to_numpy()
        return losses


def score_rows(
    base: str | Loaded,
    adapter: Path,
    pool: pd.DataFrame,
    query: pd.DataFrame,
    settings: ScoreSettings,
    work: Path,
) -> Scored:
    """Score rows of `pool` against rows of `query`, both with `row_id, prompt, completion`.

    base: what `load_model` takes, or a model that is loaded already; it is given back as it was,
    without an adapter if it came without. work: folder that keeps finished steps for a run that is
    cut off; nothing in it is of use afterwards.

    Raises BadInput where the adapter is of another base, a row has no labelled token, a score is
    not a finite number, or the settings need more memory than there is.
    """
    loaded = load_model(base) if isinstance(base, str) else base
    tokens = {
        name: tokenize_rows(
            rows,
            loaded.tokenizer,
            mode=settings.tokenization_mode,
            max_length=settings.row_limit,
        )
        for name, rows in (("pool", pool), ("query", query))
    }
    with using_adapter(loaded, None if loaded.adapter == adapter else adapter) as adapted:
        found = attribute(adapted, tokens["pool"], tokens["query"], settings, work)
    table = score_table(pool, tokens["pool"], found.scores, found.losses)
    return Scored(table, found, len(query), int(tokens["query"].truncated.sum()))


def score_table(
    pool: pd.DataFrame, tokens: TokenRows, scores: np.ndarray, losses: np.ndarray
) -> pd.DataFrame:
    """`Scored.table` from the scores and mean losses of the pool's rows, float32 [rows] each.

    Raises BadInput, naming rows, where a score is not a finite number.
    """
    import pandas as pd

    _refuse_not_finite(scores, pool["row_id"])
    return pd.DataFrame(
        {
            "index": range(len(pool)),
            "row_id": pool["row_id"].astype(str).to_numpy(),
            "score": scores.astype("float64"),
            "rank": _ranks(scores, pool["row_id"]),
            "length_tokens": tokens.lengths,
            "supervised_tokens": tokens.supervised,
            "loss": losses.astype("float64"),
            "truncated": tokens.truncated,
            TEXTS: text_digests(pool),
        }
    )


def _ranks(scores: np.ndarray, row_ids: pd.Series) -> np.ndarray:
    """1 for the highest score; ties by row id, so that the order of the pool does not matter."""
    import numpy as np

    order = np.lexsort((row_ids.astype(str).to_numpy(dtype=str), -scores.astype(np.float64)))
    ranks = np.empty(len(scores), dtype=np.int64)
    ranks[order] = np.arange(1, len(scores) + 1)
    return ranks


def _refuse_not_finite(scores: np.ndarray, row_ids: pd.Series) -> None:
    import numpy as np

    bad = np.flatnonzero(~np.isfinite(scores))
    if bad.size:
        raise BadInput(
            f"{bad.size} of {len(scores)} rows have no finite score "
            f"(row_id {named(row_ids.iloc[bad])}): look at these rows and at the adapter's "
            "training; float16 overflows where --dtype float32 does not"
        )
