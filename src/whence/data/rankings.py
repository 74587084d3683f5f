"""Rankings of one pool by name: what attribution, a predictor, or something much cheaper prefers.

    attribution        the scores of `whence data score`
    predictor          what `whence sae predict` or `whence data classify` made of them
    length, loss       longest first; highest loss first, as the scores know them
    bm25, embedding    most like the queries, in words or by mean cosine similarity of embeddings
    column:NAME        highest first, by a column of the pool
    any other          a table that is given under that name

Whether features of a model pick better rows than length does is asked by an arm of each.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.data.arms import RANKING_NAME, Arm
from whence.errors import BadInput
from whence.runs.manifest import Manifest, Split, read_split
from whence.runs.ranking import check_covers, read_ranking, scores_file, token_lengths
from whence.text.bm25 import bm25_scores
from whence.text.embedding import TFIDF, embedding_identity, open_embedder
from whence.text.joined import joined_texts

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike

ATTRIBUTION, PREDICTOR = "attribution", "predictor"
LIKE_QUERIES = ("bm25", "embedding")
BUILT_IN = (ATTRIBUTION, PREDICTOR, "length", "loss", *LIKE_QUERIES)
COLUMN = "column:"
PREDICTED = ("scores.parquet", "scores_out_of_fold.parquet")
"""What a folder with a predictor's row_scores.jsonl calls its rankings."""

Asked = Mapping[str, str]
"""Name of a ranking → the words that asked for it, for the head of an error."""


@dataclass(frozen=True)
class Sources:
    """What rankings of `pool`, the rows of `split`, are made from.

    scores: the table that arms without a `by` are drawn from, or None where it is yet to be made by
    attribution. given: name → folder or table. query_split: rows that say what is wanted.
    """

    manifest: Manifest
    split: Split
    pool: pd.DataFrame
    scores: Path | None
    given: Mapping[str, Path]
    query_split: str
    embedding_model: str
    device: str = "auto"

    @property
    def default(self) -> str:
        """What the ranking of arms without a `by` is called."""
        predicted = self.scores is not None and is_predictor(self.scores)
        return PREDICTOR if predicted else ATTRIBUTION


def ranked_by(arms: Sequence[Arm], by: str | None) -> list[Arm]:
    """`arms`, those that have ranks and no `by` of their own drawn by `by`."""
    return [
        replace(arm, by=by) if arm.by is None and (arm.ranked or arm.kind == "random") else arm
        for arm in arms
    ]


def asked_rankings(arms: Sequence[Arm], by: str | None = None) -> dict[str, str]:
    """The rankings that arms are drawn by; `by` is one that was asked for all of them."""
    asked = {} if by is None else {by: f"--by {by}"}
    for arm in arms:
        if arm.by is not None:
            asked.setdefault(arm.by, f"--arm {arm.spec}")
    return asked


def needs_queries(asked: Asked, given: Mapping[str, Path]) -> bool:
    """Whether one of the rankings is by likeness to the queries."""
    return any(name in LIKE_QUERIES and name not in given for name in asked)


def ranking_inputs(
    asked: Asked,
    given: Mapping[str, Path],
    manifest: Manifest,
    query_split: str,
    embedding_model: str,
) -> dict[str, Any]:
    """Inputs of a run besides its scores: given tables, the queries, an embedding model."""
    found: dict[str, Any] = {f"ranking {name}": scores_file(path) for name, path in given.items()}
    if needs_queries(asked, given):
        found["query"] = _query_split(asked, given, manifest, query_split).path
    if "embedding" in asked and "embedding" not in given and embedding_model != TFIDF:
        found["embedding_model"] = embedding_identity(embedding_model)
    return found


def is_predictor(scores: Path) -> bool:
    """Whether scores are those of `whence sae predict` or `whence data classify`."""
    file = scores_file(scores)
    return file.name in PREDICTED and file.with_name("row_scores.jsonl").is_file()


def check_rankings(asked: Asked, sources: Sources, scored: pd.DataFrame | None) -> None:
    """Raise BadInput where a ranking cannot be had, before anything slow begins.

    That is: a name that nothing has, a given table that does not cover the pool, a column that is
    not there or not of numbers, scores without losses, queries that the manifest does not have.
    scored: the table of `sources.scores`, or None where it is yet to be made.
    """
    for name in sources.given:
        if not re.fullmatch(RANKING_NAME, name) or name.startswith(COLUMN):
            raise BadInput(f"--rankings {name}=…: a name is of letters, digits, `_`, `.` and `-`")
    for path in sources.given.values():
        check_covers(read_ranking(path), sources.pool, path, sources.split)
    for name, where in asked.items():
        if name in sources.given:
            continue
        if name == sources.default:
            continue
        if name in (ATTRIBUTION, PREDICTOR):
            raise BadInput(f"{where}: {_missing(name, sources)}")
        if name == "loss" and scored is not None and "loss" not in scored.columns:
            raise BadInput(f"{where}: {sources.scores}: no column loss, which `data score` writes")
        if name == "loss" and scored is not None:
            _need_losses(scored, where, sources)
        if name.startswith(COLUMN):
            _by_column(name, where, sources)
        elif name in LIKE_QUERIES:
            _query_split(asked, sources.given, sources.manifest, sources.query_split)
        elif name not in BUILT_IN:
            known = [*dict.fromkeys((*BUILT_IN, *sources.given)), f"{COLUMN}NAME"]
            near = difflib.get_close_matches(name, known, n=1)
            hint = f'did you mean "{near[0]}"? ' if near else ""
            raise BadInput(
                f'{where}: no ranking "{name}"; {hint}there are {", ".join(known)}; others are '
                f"given as --rankings {name}=PATH"
            )


def make_rankings(asked: Asked, sources: Sources, scored: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """`row_id, score, rank` of the pool by each ranking, and `part` where a table has it.

    scored: the ranking of arms without a `by`, with `length_tokens` and `loss` where known. Call
    `check_rankings` first.
    """
    pool = sources.pool
    texts: list[str] = joined_texts(pool) if needs_queries(asked, sources.given) else []
    queries: list[str] = []
    if texts:
        queries = joined_texts(read_split(sources.manifest, sources.query_split))
    found = {}
    for name, where in asked.items():
        if name in sources.given:
            found[name] = _kept(read_ranking(sources.given[name]))
        elif name == sources.default:
            found[name] = _kept(scored)
        elif name == "length":
            found[name] = _ranking(pool["row_id"], token_lengths(pool, scored)[0])
        elif name == "loss":
            found[name] = _ranking(scored["row_id"], scored["loss"])
        elif name == "bm25":
            found[name] = _ranking(pool["row_id"], bm25_scores(texts, queries))
        elif name == "embedding":
            likeness = mean_similarity(texts, queries, sources.embedding_model, sources.device)
            found[name] = _ranking(pool["row_id"], likeness)
        else:
            found[name] = _by_column(name, where, sources)
    return found


def mean_similarity(
    texts: Sequence[str], queries: Sequence[str], model: str, device: str = "auto"
) -> ArrayLike:
    """Mean cosine similarity of each text with the queries, float64 [texts].

    Texts and queries are embedded in one call: what a TF-IDF knows of a word's rarity it knows from
    both.
    """
    vectors = open_embedder(model, device)([*texts, *queries])
    here, wanted = vectors[: len(texts)], vectors[len(texts) :]
    return np.asarray(here @ np.asarray(wanted.mean(axis=0)).reshape(-1), dtype=np.float64)


def trained_on(ranking: pd.DataFrame) -> set[str]:
    """The rows that a ranking's predictor was fitted on, where the table says so (`part`)."""
    if "part" not in ranking.columns:
        return set()
    return set(ranking.loc[ranking["part"] == "train", "row_id"])


def _missing(name: str, sources: Sources) -> str:
    """Why one of attribution and predictor is not there, and what would help."""
    if name == ATTRIBUTION:
        return (
            f"{sources.scores} holds a predictor's scores, not attribution; give those of "
            "`whence data score` as --rankings attribution=FOLDER"
        )
    has = "the scores are yet to be made" if sources.scores is None else f"{sources.scores} is none"
    return (
        f"a folder of `whence sae predict` or `whence data classify` was expected, and {has}; give "
        "it as --rankings predictor=FOLDER"
    )


def _query_split(asked: Asked, given: Mapping[str, Path], manifest: Manifest, name: str) -> Split:
    if name not in manifest.splits:
        where = next(where for by, where in asked.items() if by in LIKE_QUERIES and by not in given)
        raise BadInput(
            f"{where}: needs rows that say what is wanted, and {manifest.path} has no split "
            f"{name}, but {', '.join(manifest.splits)}; say which with --query-split"
        )
    return manifest.splits[name]


def _need_losses(scored: pd.DataFrame, where: str, sources: Sources) -> None:
    """Raise BadInput where a row has no finite loss: it would silently be the last."""
    values = scored["loss"].to_numpy(dtype=np.float64, na_value=np.nan)
    for row in np.flatnonzero(~np.isfinite(values))[:1]:
        raise BadInput(
            f'{where}: {sources.scores}: loss of row_id "{scored["row_id"].iloc[row]}" is '
            f"{values[row]}, and every row needs a number to be ranked by"
        )


def _by_column(name: str, where: str, sources: Sources) -> pd.DataFrame:
    """The pool by one of its columns. Raises BadInput for one that is not of finite numbers."""
    from pandas.api.types import is_numeric_dtype

    pool, column = sources.pool, name.removeprefix(COLUMN)
    if column not in pool.columns:
        near = difflib.get_close_matches(column, pool.columns, n=1)
        hint = f'did you mean "{near[0]}"? ' if near else ""
        raise BadInput(
            f'{where}: the split {sources.split.name} has no column "{column}"; {hint}it has '
            f"{', '.join(pool.columns)}"
        )
    if not is_numeric_dtype(pool[column]):
        raise BadInput(f'{where}: column "{column}" of {sources.split.path} is not of numbers')
    values = pool[column].to_numpy(dtype=np.float64, na_value=np.nan)
    for row in np.flatnonzero(~np.isfinite(values))[:1]:
        raise BadInput(
            f'{where}: {sources.split.path}, row {row + 1}: column "{column}" is '
            f"{values[row]}, and every row needs a number to be ranked by"
        )
    return _ranking(pool["row_id"], values)


def _kept(ranking: pd.DataFrame) -> pd.DataFrame:
    columns = ["row_id", "score", "rank", *(["part"] if "part" in ranking.columns else [])]
    return ranking[columns]


def _ranking(row_ids: Sequence[str], scores: ArrayLike) -> pd.DataFrame:
    """Highest score first, ties by row id."""
    import pandas as pd

    values = np.asarray(scores, dtype=np.float64)
    found = pd.DataFrame({"row_id": list(row_ids), "score": values})
    order = np.lexsort((found["row_id"].to_numpy(dtype=str), -values))
    rank = np.empty(len(found), dtype=np.int64)
    rank[order] = np.arange(1, len(found) + 1)
    return found.assign(rank=rank)
