"""A ranking of a pool: scores read, checked and put in order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from whence.errors import BadInput
from whence.runs.fingerprint import text_digest
from whence.runs.manifest import Split
from whence.runs.tables import read_table

if TYPE_CHECKING:
    import pandas as pd


def scores_file(path: Path) -> Path:
    """The table of scores at `path`: itself, or `scores.parquet` in a folder."""
    return path / "scores.parquet" if path.is_dir() else path


def read_ranking(path: Path) -> pd.DataFrame:
    """Read scores: a folder of `whence data score`, or a table with `row_id` and `score`.

    Returns `row_id, score, rank` and the table's other columns. Raises BadInput, naming file and
    row, for a missing column, a doubled row_id and a score that is not a finite number.
    """
    import numpy as np

    file = scores_file(path)
    table = read_table(file)
    for column in ("row_id", "score"):
        if column not in table.column_names:
            raise BadInput(f'{file}: no column "{column}"; it has {", ".join(table.column_names)}')
    ranking = table.to_pandas()
    ranking["row_id"] = ranking["row_id"].astype(str)
    try:
        ranking["score"] = ranking["score"].astype("float64")
    except (ValueError, TypeError) as error:
        raise BadInput(f"{file}: column score holds something other than numbers") from error
    for number in np.flatnonzero(~np.isfinite(ranking["score"]))[:1]:
        raise BadInput(
            f"{file}, row {number + 1}: score is {ranking['score'][number]}, not a finite number; "
            "score the pool again"
        )
    for number in np.flatnonzero(ranking["row_id"].duplicated())[:1]:
        raise BadInput(f'{file}, row {number + 1}: row_id "{ranking["row_id"][number]}" is doubled')
    if "rank" not in ranking.columns:
        order = ranking.sort_values(["score", "row_id"], ascending=[False, True]).index
        ranking.loc[order, "rank"] = np.arange(1, len(ranking) + 1)
        ranking["rank"] = ranking["rank"].astype("int64")
    return ranking


TEXTS = "text_digest"
"""Column of scores that says of which texts they are; see `text_digests`."""

FEWEST_TO_TELL = 30
"""Rows from which two columns of lengths can be told to be of other texts."""
LIKE_LENGTHS = 0.5
"""Rank correlation of the lengths of the same texts, whatever the tokenizer, is above this."""


def need_same_texts(ranking: pd.DataFrame, lengths: pd.Series, scores: Path, where: str) -> None:
    """Raise BadInput where rows have the ids of scored rows and plainly other texts.

    ranking: `row_id` and, where scoring counted them, `length_tokens`. lengths: of the rows' own
    texts, by row_id, in any unit. Pools made alike often have the same ids (pool-00000, …), and
    scores of one would be believed of the other.
    """
    if "length_tokens" not in ranking.columns:
        return
    scored = ranking.set_index("row_id")["length_tokens"].astype("float64")
    pairs = scored.to_frame("scored").join(lengths.astype("float64").rename("own"), how="inner")
    pairs = pairs.dropna()
    if len(pairs) < FEWEST_TO_TELL or (pairs.nunique() < 2).any():
        return
    ranks = pairs.rank()
    alike = ranks["scored"].corr(ranks["own"])
    if alike < LIKE_LENGTHS:
        raise BadInput(
            f"{scores}: its rows have the ids of those in {where} but other lengths (rank "
            f"correlation {alike:.2f}): they are other texts; give the scores of these rows"
        )


def check_covers(ranking: pd.DataFrame, pool: pd.DataFrame, scores: Path, split: Split) -> None:
    """Raise BadInput unless every pool row has a score and every score a pool row.

    Where the scores say of which texts they are (`text_digest`), the texts must be the pool's.
    """
    scored, present = set(ranking["row_id"]), set(pool["row_id"])
    if scored == present:
        _check_texts(ranking, pool, scores, split)
        return
    strange = min(scored - present, default=None)
    detail = (
        f'row_id "{strange}" is not in it'
        if strange is not None
        else f"{len(present - scored)} of its {len(present)} rows have no score"
    )
    raise BadInput(
        f"{scores}: these scores are not of the split {split.name} ({split.path}): {detail}; "
        "pass the manifest that was scored"
    )


def text_digests(rows: pd.DataFrame) -> list[str]:
    """32 hex digits a row that stand for its exact prompt and completion."""
    return [
        text_digest(prompt, completion).hex()
        for prompt, completion in zip(rows["prompt"], rows["completion"], strict=True)
    ]


def _check_texts(ranking: pd.DataFrame, pool: pd.DataFrame, scores: Path, split: Split) -> None:
    if TEXTS not in ranking.columns:
        return
    known = dict(zip(ranking["row_id"], ranking[TEXTS], strict=True))
    for row_id, digest in zip(pool["row_id"], text_digests(pool), strict=True):
        if known[row_id] not in (digest, None):
            raise BadInput(
                f'{scores}: row_id "{row_id}" had another text when it was scored than it has in '
                f"the split {split.name} ({split.path}); score this pool, or pass the manifest "
                "that was scored"
            )


def ranked_ids(ranking: pd.DataFrame) -> list[str]:
    """Row ids, best first: by `rank` where there is one, else by falling `score`, then by id."""
    by, ascending = (
        (["rank", "row_id"], [True, True])
        if "rank" in ranking.columns
        else (["score", "row_id"], [False, True])
    )
    ids: list[str] = ranking.sort_values(by, ascending=ascending)["row_id"].tolist()
    return ids


def token_lengths(pool: pd.DataFrame, ranking: pd.DataFrame | None = None) -> tuple[pd.Series, str]:
    """How long each pool row is, and in what unit: the best that is known without a tokenizer.

    `length_tokens` of the ranking (the tokens that training sees) where it has them, else the
    pool's own `conversation_tokens`, else words separated by white space.
    """
    if ranking is not None and "length_tokens" in ranking.columns:
        by_id = ranking.set_index("row_id")["length_tokens"]
        return pool["row_id"].map(by_id).astype("int64"), "length_tokens"
    known = "conversation_tokens"
    if known in pool.columns and pool[known].notna().all():
        return pool[known].astype("int64"), known
    words = (pool["prompt"] + " " + pool["completion"]).str.split().str.len()
    return words.astype("int64"), "words"
