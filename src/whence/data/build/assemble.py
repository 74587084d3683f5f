"""Rows in memory to splits in memory: the whole of `whence data build` but reading and writing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from whence.data.build.checks import check_splits, distribution
from whence.data.build.disjoint import Shared, hanging_together, keys_of, share_out
from whence.data.build.leakage import Leakage
from whence.data.build.mixing import source_shares
from whence.data.build.near_duplicates import NearReport
from whence.data.build.partition import partition
from whence.data.build.recipe import HELD_OUT, SPLITS, Recipe
from whence.data.build.sides import Sides, make_sides
from whence.data.sources.part import Part

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Built:
    """Splits before they are written. withheld: `row_id` and the columns kept out, or None.
    sections: of the manifest. near: near-duplicates across splits, where they were looked for.
    """

    splits: Mapping[str, pa.Table]
    withheld: pa.Table | None
    sections: Mapping[str, Any]
    near: NearReport | None


def make_splits(parts: Sequence[Part], recipe: Recipe) -> Built:
    """Flatten, cut, filter, draw and check.

    parts: what trains and, where there is any, what query and eval come from. Raises BadInput,
    naming source and row or column, for rows that cannot be used, a column that is not there, and
    sizes larger than what survives filtering.
    """
    sides = make_sides(parts, recipe)
    shared = _share_out(sides, recipe)
    allowed = shared.allowed if shared else None
    if sides.may_evaluate and not shared:
        allowed = dict.fromkeys(HELD_OUT, sides.may_evaluate.rows)
    leakage = None
    if recipe.near_threshold is not None:
        leakage = Leakage(sides, recipe.near_threshold)
    drawn = partition(
        sides.train.candidates,
        sides.held_out.candidates if sides.held_out else None,
        recipe.sizes,
        recipe.seed,
        allowed=allowed,
        exclude=leakage.exclude if leakage and recipe.drop_near else None,
    )
    own = [name for name in SPLITS if name in drawn]
    splits = {name: pick(sides.of(name).table, drawn[name]) for name in own}
    splits.setdefault("score_pool", splits["train_base"])
    splits = {name: splits[name] for name in SPLITS}
    withheld = None
    if recipe.withhold:
        withheld = _concat([pick(sides.of(name).hidden, drawn[name]) for name in own])
    return Built(
        splits,
        withheld,
        _sections(sides, splits, recipe, shared, any(part.name for part in parts)),
        leakage.report(splits) if leakage else None,
    )


def pick(table: pa.Table, indices: Sequence[int]) -> pa.Table:
    """These rows, in the table's order."""
    import numpy as np
    import pyarrow as pa

    # A filter goes through the pieces of a column one by one; `take` would copy it whole first.
    mask = np.zeros(table.num_rows, dtype=bool)
    mask[indices] = True
    return table.filter(pa.array(mask))


def _share_out(sides: Sides, recipe: Recipe) -> Shared | None:
    """Which rows each split may have, where values or groups belong on one side."""
    if recipe.disjoint_by is None and recipe.query_fraction is None:
        return None
    column = recipe.disjoint_by or "group_id"
    flag = f"--disjoint-by {column}" if recipe.disjoint_by else "--query-fraction"
    train, held_out = (
        (side.candidates, keys_of(side.table, column, side.candidates.origin, flag))
        if side
        else None
        for side in (sides.train, sides.held_out)
    )
    assert train
    if sides.may_evaluate:
        held_out = (sides.may_evaluate, train[1])
    if sides.held_out and held_out and recipe.disjoint_by and recipe.query_fraction is not None:
        # Groups stay whole as well, so what hangs together by group or value goes to one side.
        groups = keys_of(sides.held_out.table, "group_id", held_out[0].origin, flag)
        names = hanging_together(held_out[1], groups, held_out[0].rows)
        train, held_out = (
            (candidates, [names.get(key, key) if key else key for key in keys])
            for candidates, keys in (train, held_out)
        )
    return share_out(
        train,
        held_out,
        recipe.sizes,
        seed=recipe.seed,
        query_fraction=recipe.query_fraction,
        disjoint_by=recipe.disjoint_by,
    )


def _sections(
    sides: Sides,
    splits: Mapping[str, pa.Table],
    recipe: Recipe,
    shared: Shared | None,
    mixed: bool,
) -> dict[str, Any]:
    """What the manifest says beside where the splits are."""
    rows = {name: table.num_rows for name, table in splits.items()}
    asked = {name: recipe.sizes.get(name) for name in SPLITS}
    if recipe.pool is None:
        asked["score_pool"] = asked["train_base"]
    make_up = distribution(splits, sides.stratify_by)
    sections: dict[str, Any] = {
        "format": sides.form,
        "split_policy": {
            "seed": recipe.seed,
            "sizes": rows,
            "stratify_by": list(sides.stratify_by),
            "source_split": {name: sides.of(name).split for name in SPLITS},
            "score_pool_is_train_base": recipe.pool is None,
            "draw": "per split an own stream, strata by largest remainder, without replacement",
            "max_conversation_tokens": recipe.max_tokens,
            "max_tokens_per_row": recipe.cut_to,
            "min_reward_model_score": recipe.min_reward,
            "query_fraction": recipe.query_fraction,
            "disjoint": shared.policy if shared else None,
            "withheld": list(recipe.withhold),
        },
        "filter_stats": sides.stats,
        "distribution": make_up,
        "checks": check_splits(
            splits,
            {name: rows[name] if size is None else size for name, size in asked.items()},
            reported=list(make_up["train_base"]),
            tokenizer=recipe.tokenizer,
            disjoint_by=recipe.disjoint_by,
        ),
    }
    if mixed:
        sections["sources"] = {
            "row_ids_prefixed": list(sides.prefixed),
            **source_shares(splits, recipe.tokenizer),
        }
    return sections


def _concat(tables: Sequence[pa.Table]) -> pa.Table:
    import pyarrow as pa

    return pa.concat_tables(tables, promote_options="permissive")
