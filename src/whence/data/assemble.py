"""Rows in memory to splits in memory: the whole of `whence data build` but reading and writing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from whence.data.checks import check_splits, distribution
from whence.data.filters import filter_rows, text_digests
from whence.data.identity import group_ids, row_ids
from whence.data.partition import Candidates, partition, strata_of
from whence.data.sources.rows import Fields, Rows, to_rows
from whence.data.sources.source import Source
from whence.errors import BadInput
from whence.runs.manifest import ROW_COLUMNS

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedTokenizerBase

SPLITS = ("train_base", "score_pool", "attr_query", "eval")
DEFAULT_STRATUM = "category"


@dataclass(frozen=True)
class Recipe:
    """How splits are made of rows.

    pool: rows of a score_pool disjoint from train_base; None makes train_base the pool. max_tokens,
    min_reward: see `filter_rows`; tokenizer counts tokens where the data do not say. stratify_by:
    columns; None is `category` where there is one. withhold: columns kept out of every split.
    """

    train: int
    query: int
    evaluation: int
    pool: int | None = None
    seed: int = 42
    stratify_by: Sequence[str] | None = None
    max_tokens: int = 2000
    min_reward: float | None = None
    tokenizer: PreTrainedTokenizerBase | None = None
    withhold: Sequence[str] = ()


@dataclass(frozen=True)
class Built:
    """Splits before they are written. withheld: `row_id` and the columns kept out, or None."""

    splits: Mapping[str, pa.Table]
    withheld: pa.Table | None
    sections: Mapping[str, Any]


def make_splits(sources: Sequence[Source], fields: Fields, recipe: Recipe) -> Built:
    """Flatten, filter, draw and check.

    sources: the train split and, where there is one, the split that query and eval come from.
    Raises BadInput, naming source and row or column, for rows that cannot be used, a column that is
    not there, and sizes larger than what survives filtering.
    """
    rows = [to_rows(source, fields) for source in sources]
    _check_columns(rows, recipe.withhold)
    stratify_by = _strata_columns(recipe, rows[0])
    digests = [text_digests(one) for one in rows]
    ids = row_ids(list(zip(rows, digests, strict=True)))
    seen: set[bytes] = set()
    filtered = [
        filter_rows(
            one,
            max_tokens=recipe.max_tokens,
            min_reward=recipe.min_reward,
            tokenizer=recipe.tokenizer,
            digests=digest,
            seen=seen,
        )
        for one, digest in zip(rows, digests, strict=True)
    ]
    candidates = [
        Candidates(
            one.source.origin, kept.kept, strata_of(one.table, stratify_by, one.source.origin)
        )
        for one, kept in zip(rows, filtered, strict=True)
    ]
    sizes = {"train_base": recipe.train, "attr_query": recipe.query, "eval": recipe.evaluation}
    if recipe.pool is not None:
        sizes["score_pool"] = recipe.pool
    held_out = candidates[1] if len(candidates) > 1 else None
    drawn = partition(candidates[0], held_out, sizes, recipe.seed)
    drawn.setdefault("score_pool", drawn["train_base"])
    sizes.setdefault("score_pool", recipe.train)

    complete = [
        _complete(one, own_ids, recipe.withhold) for one, own_ids in zip(rows, ids, strict=True)
    ]
    origin = {name: -1 if name in ("attr_query", "eval") else 0 for name in SPLITS}
    splits = {name: _pick(complete[origin[name]][0], drawn[name]) for name in SPLITS}
    hidden = [
        _pick(complete[origin[name]][1], drawn[name])
        for name in SPLITS
        if name != "score_pool" or recipe.pool is not None
    ]
    return Built(
        splits,
        _concat(hidden) if recipe.withhold else None,
        {
            "format": rows[0].format,
            "split_policy": {
                "seed": recipe.seed,
                "sizes": {name: sizes[name] for name in SPLITS},
                "stratify_by": list(stratify_by),
                "source_split": {name: rows[origin[name]].source.split for name in SPLITS},
                "score_pool_is_train_base": recipe.pool is None,
                "draw": "per split an own stream, strata by largest remainder, without replacement",
                "max_conversation_tokens": recipe.max_tokens,
                "min_reward_model_score": recipe.min_reward,
                "withheld": list(recipe.withhold),
            },
            "filter_stats": {
                one.source.split: kept.stats for one, kept in zip(rows, filtered, strict=True)
            },
            "distribution": distribution(splits, stratify_by),
            "checks": check_splits(splits, {name: sizes[name] for name in SPLITS}),
        },
    )


def _check_columns(rows: Sequence[Rows], withhold: Sequence[str]) -> None:
    """Raise BadInput for a column to withhold that is nowhere, and one that only one source has."""
    everywhere = {name for one in rows for name in one.table.column_names}
    for column in withhold:
        if column in ("prompt", "completion", "row_id") or column not in everywhere:
            columns = ", ".join(sorted(everywhere - {"prompt", "completion", "row_id"}))
            raise BadInput(f"--withhold {column}: the data have no such column, but {columns}")
    for one in rows:
        lacking = everywhere - {*one.table.column_names, *ROW_COLUMNS, *withhold}
        if lacking:
            raise BadInput(
                f'{one.source.origin}: no column "{min(lacking)}", which the other source has; '
                f"add it, or keep it out of both with --withhold {min(lacking)}"
            )


def _strata_columns(recipe: Recipe, rows: Rows) -> tuple[str, ...]:
    if recipe.stratify_by is None:
        usable = DEFAULT_STRATUM in rows.table.column_names
        return (DEFAULT_STRATUM,) if usable and DEFAULT_STRATUM not in recipe.withhold else ()
    for column in recipe.stratify_by:
        if column in recipe.withhold:
            raise BadInput(f"--stratify-by {column}: is withheld, and splits may not depend on it")
    return tuple(recipe.stratify_by)


def _complete(
    rows: Rows, ids: Sequence[str | None], withhold: Sequence[str]
) -> tuple[pa.Table, pa.Table]:
    """Every row with its ids and metadata; and apart from that, its id and withheld columns."""
    import pyarrow as pa

    shown = rows.table.drop_columns([c for c in withhold if c in rows.table.column_names])
    own_split = "source_split" in shown.column_names and not shown["source_split"].null_count
    columns = {
        "row_id": pa.array(ids, pa.string()),
        "prompt": shown["prompt"],
        "completion": shown["completion"],
        "source_split": shown["source_split"].cast(pa.string())
        if own_split
        else pa.array([rows.source.split] * shown.num_rows, pa.string()),
        # From the shown columns: a withheld category must not come back in the group's name.
        "group_id": group_ids(shown, rows.source.split),
    }
    for name in shown.column_names:
        columns.setdefault(name, shown[name])
    hidden = {"row_id": columns["row_id"]}
    hidden |= {name: rows.table[name] for name in withhold if name in rows.table.column_names}
    return pa.table(columns), pa.table(hidden)


def _pick(table: pa.Table, indices: Sequence[int]) -> pa.Table:
    import numpy as np
    import pyarrow as pa

    # A filter goes through the pieces of a column one by one; `take` would copy it whole first.
    mask = np.zeros(table.num_rows, dtype=bool)
    mask[indices] = True
    return table.filter(pa.array(mask))


def _concat(tables: Sequence[pa.Table]) -> pa.Table:
    import pyarrow as pa

    return pa.concat_tables(tables, promote_options="permissive")
