"""From sources to the rows that may be drawn: one side to train on, one held out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from whence.data.build.cut import cut_rows
from whence.data.build.filters import Filtered, filter_rows, text_digests
from whence.data.build.identity import group_ids, row_ids, told_apart
from whence.data.build.mixing import SOURCE_COLUMN, named, same_columns
from whence.data.build.partition import Candidates, strata_of
from whence.data.build.recipe import HELD_OUT, Recipe
from whence.data.sources.part import Part
from whence.data.sources.rows import Rows, to_rows
from whence.data.splits import seeded, stratified_sample
from whence.errors import BadInput
from whence.runs.manifest import ROW_COLUMNS

if TYPE_CHECKING:
    import pyarrow as pa

DEFAULT_STRATUM = "category"
TEXTS = ("prompt", "completion", "row_id")
# What `filter_stats` counts that may make rows too few.
LOSSES = (
    "no_assistant_turn", "empty_prompt_or_completion", "completion_over_max_tokens_per_row",
    "over_max_conversation_tokens", "under_min_reward_model_score", "exact_duplicates", "over_cap",
)  # fmt: skip


@dataclass(frozen=True)
class Side:
    """The parts that train, or those that are held out, one after the other.

    candidates: which rows may be drawn. table: what splits show of every row. hidden: its row_id
    and the columns withheld. split: the name of the source's split, "mixed" where they differ.
    """

    candidates: Candidates
    table: pa.Table
    hidden: pa.Table
    split: str


@dataclass(frozen=True)
class Sides:
    """held_out: None where query and eval are taken from the rows to train on; then `may_evaluate`
    has those of them that may be, where not all are. stats: label of each part → what the filters
    did. prefixed: sources whose row ids had to be told apart.
    """

    train: Side
    held_out: Side | None
    form: str
    stratify_by: tuple[str, ...]
    stats: Mapping[str, Mapping[str, Any]]
    prefixed: Sequence[str]
    may_evaluate: Candidates | None = None

    def of(self, split: str) -> Side:
        """The side that a split is drawn from."""
        return self.held_out if self.held_out and split in HELD_OUT else self.train


def make_sides(parts: Sequence[Part], recipe: Recipe) -> Sides:
    """Flatten, cut, filter and cap every part, and give its rows their ids and strata.

    Raises BadInput, naming source and row or column, for rows that cannot be used and for a column
    that is not there.
    """
    mixed = any(part.name for part in parts)
    rows = [to_rows(part.source, part.fields) for part in parts]
    _check_columns(rows, recipe.withhold, mixed)
    rows, digests, kept = _filter(rows, recipe)
    ids, prefixed = _row_ids(parts, rows, digests, kept)
    pairs = [
        _complete(part, one, own, recipe.withhold)
        for part, one, own in zip(parts, rows, ids, strict=True)
    ]
    shown, hidden = ([pair[at] for pair in pairs] for at in (0, 1))
    if mixed:
        labels = [part.label for part in parts]
        shown, hidden = same_columns(shown, labels), same_columns(hidden, labels)
    stratify_by = _strata_columns(recipe, shown[0], mixed)
    strata = [
        strata_of(table, stratify_by, part.source.origin)
        for table, part in zip(shown, parts, strict=True)
    ]
    kept = [
        _capped(part, one, own, recipe.seed)
        for part, one, own in zip(parts, kept, strata, strict=True)
    ]

    def side(held_out: bool) -> Side | None:
        at = [i for i, part in enumerate(parts) if part.held_out is held_out]
        return Side(
            _candidates([parts[i] for i in at], [kept[i] for i in at], [strata[i] for i in at]),
            _concat([shown[i] for i in at]),
            _concat([hidden[i] for i in at]),
            one_or_mixed(parts[i].source.split for i in at),
        ) if at else None  # fmt: skip

    train, held_out = side(False), side(True)
    assert train, "a build has something to train on"
    may_evaluate = None
    if not held_out and any(part.trains_only for part in parts):
        may_evaluate = _candidates(
            parts,
            [
                replace(one, kept=one.kept[:0]) if part.trains_only else one
                for part, one in zip(parts, kept, strict=True)
            ],
            strata,
        )
    stats = {part.label: one.stats for part, one in zip(parts, kept, strict=True)}
    form = one_or_mixed(one.format for one in rows)
    return Sides(train, held_out, form, stratify_by, stats, prefixed, may_evaluate)


def one_or_mixed(values: Iterable[str]) -> str:
    """The value that all have, or "mixed"."""
    found = set(values)
    return found.pop() if len(found) == 1 else "mixed"


def _check_columns(rows: Sequence[Rows], withhold: Sequence[str], mixed: bool) -> None:
    """Raise BadInput for a column to withhold that is nowhere, and one that only one split has."""
    everywhere = {name for one in rows for name in one.table.column_names}
    for column in withhold:
        if column in TEXTS or column not in everywhere:
            columns = ", ".join(sorted(everywhere - set(TEXTS))) or "texts alone"
            raise BadInput(
                f"--withhold {column}: the data have no such column to withhold, but {columns}"
            )
    for one in () if mixed else rows:
        lacking = everywhere - {*one.table.column_names, *ROW_COLUMNS, *withhold}
        if lacking:
            raise BadInput(
                f'{one.source.origin}: no column "{min(lacking)}", which the other source has; '
                f"add it, or keep it out of both with --withhold {min(lacking)}"
            )


def _filter(
    rows: Sequence[Rows], recipe: Recipe
) -> tuple[list[Rows], list[list[bytes | None]], list[Filtered]]:
    cuts = [
        cut_rows(one, recipe.cut_to, recipe.tokenizer) if recipe.cut_to else None for one in rows
    ]
    rows = [cut.rows if cut else one for cut, one in zip(cuts, rows, strict=True)]
    digests = [text_digests(one) for one in rows]
    seen: set[bytes] = set()
    filtered = [
        filter_rows(
            one,
            max_tokens=recipe.max_tokens,
            min_reward=recipe.min_reward,
            tokenizer=recipe.tokenizer,
            digests=digest,
            seen=seen,
            cut=cut,
        )
        for one, digest, cut in zip(rows, digests, cuts, strict=True)
    ]
    return rows, digests, filtered


def _row_ids(
    parts: Sequence[Part],
    rows: Sequence[Rows],
    digests: Sequence[Sequence[bytes | None]],
    kept: Sequence[Filtered],
) -> tuple[list[list[str | None]], list[str]]:
    names = [part.name for part in parts]
    ids: list[list[str | None]] = [[] for _ in parts]
    for name in dict.fromkeys(names):
        own = [at for at, other in enumerate(names) if other == name]
        found = row_ids([(rows[at], digests[at]) for at in own])
        for at, of_part in zip(own, found, strict=True):
            ids[at] = of_part
    return told_apart(names, ids, [one.kept for one in kept])


def _complete(
    part: Part, rows: Rows, ids: Sequence[str | None], withhold: Sequence[str]
) -> tuple[pa.Table, pa.Table]:
    """Every row with its ids and metadata; and apart from that, its id and withheld columns."""
    import pyarrow as pa

    table = named(rows.table, part.name) if part.name else rows.table
    shown = table.drop_columns([c for c in withhold if c in table.column_names])
    own_split = "source_split" in shown.column_names and not shown["source_split"].null_count
    columns = {
        "row_id": pa.array(ids, pa.string()),
        "prompt": shown["prompt"],
        "completion": shown["completion"],
        "source_split": shown["source_split"].cast(pa.string())
        if own_split
        else pa.array([rows.source.split] * shown.num_rows, pa.string()),
        # From the shown columns: a withheld category must not come back in the group's name.
        "group_id": group_ids(shown, part.label),
    }
    for name in ([SOURCE_COLUMN] if part.name else []) + shown.column_names:
        columns.setdefault(name, shown[name])
    hidden = {"row_id": columns["row_id"]}
    hidden |= {name: table[name] for name in withhold if name in table.column_names}
    return pa.table(columns), pa.table(hidden)


def _strata_columns(recipe: Recipe, table: pa.Table, mixed: bool) -> tuple[str, ...]:
    if recipe.stratify_by is None:
        usual = (SOURCE_COLUMN, DEFAULT_STRATUM) if mixed else (DEFAULT_STRATUM,)
        return tuple(column for column in usual if column in table.column_names)
    for column in recipe.stratify_by:
        if column in recipe.withhold:
            raise BadInput(f"--stratify-by {column}: is withheld, and splits may not depend on it")
    return tuple(recipe.stratify_by)


def _capped(part: Part, kept: Filtered, strata: Sequence[str], seed: int) -> Filtered:
    """`kept` brought down to the part's cap by a draw of its own."""
    import numpy as np

    if part.cap is None:
        return kept
    size = min(part.cap, len(kept.kept))
    drawn = stratified_sample(
        kept.kept.tolist(), strata, size, seeded(seed, f"cap of {part.label}")
    )
    stats = {**kept.stats, "over_cap": len(kept.kept) - size, "kept": size}
    return replace(kept, kept=np.array(drawn, np.int64), stats=stats)


def _candidates(
    parts: Sequence[Part], kept: Sequence[Filtered], strata: Sequence[Sequence[str]]
) -> Candidates:
    import numpy as np

    starts = np.cumsum([0, *(len(one) for one in strata)])
    lost = {name: sum(one.stats.get(name, 0) for one in kept) for name in LOSSES}
    return Candidates(
        " + ".join(part.source.origin for part in parts),
        np.concatenate([one.kept + start for one, start in zip(kept, starts, strict=False)]),
        [stratum for one in strata for stratum in one],
        lost,
    )


def _concat(tables: Sequence[pa.Table]) -> pa.Table:
    import pyarrow as pa

    return tables[0] if len(tables) == 1 else pa.concat_tables(tables)
