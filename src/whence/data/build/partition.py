"""Which kept row goes into which split: stratified, disjoint, of the sizes asked for."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from whence.data.splits import seeded, stratified_sample
from whence.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

EVERYTHING = "all"
"""The one stratum of data that is not stratified."""
MISSING = "(missing)"

FLAGS = {
    "train_base": "--train-size",
    "score_pool": "--pool-size",
    "attr_query": "--query-size",
    "eval": "--eval-size",
}
# A split that takes what is left is drawn after those that want a number.
HELD_OUT = ("eval", "attr_query")
TRAINING = ("train_base", "score_pool")


@dataclass(frozen=True)
class Candidates:
    """Rows of one side that may be drawn: ascending indices, and the stratum of *every* row.

    origin: what messages call it. lost: reason → rows that a filter took, for messages.
    """

    origin: str
    rows: np.ndarray
    strata: Sequence[str]
    lost: Mapping[str, int] = field(default_factory=dict)


def partition(
    train: Candidates,
    held_out: Candidates | None,
    sizes: Mapping[str, int | None],
    seed: int,
    *,
    allowed: Mapping[str, np.ndarray] | None = None,
    exclude: Callable[[Mapping[str, Sequence[int]]], set[int]] | None = None,
) -> dict[str, list[int]]:
    """Draw the splits; each a list of ascending row indices.

    eval and attr_query come from `held_out` (from `train` where there is none), train_base and
    score_pool from `train`; sizes names those that are wanted, None taking all that is left to it.
    All are disjoint. Evaluation is drawn first and each split has its own stream, so asking for
    more training rows changes neither eval nor query. allowed: for splits that may not be drawn
    from everything. exclude: given eval and attr_query as drawn, rows of `train` not to train on.
    Raises BadInput when a source has fewer rows than are asked of it.
    """
    sides = [(train, [name for name in TRAINING if name in sizes])]
    if held_out:
        sides.insert(0, (held_out, [name for name in HELD_OUT if name in sizes]))
    else:
        sides[0][1][:0] = [name for name in HELD_OUT if name in sizes]
    for candidates, names in sides:
        _check_sizes(candidates, {name: sizes[name] for name in names})
    drawn: dict[str, list[int]] = {}
    barred: set[int] | None = None
    for candidates, names in sides:
        free = set(candidates.rows.tolist())
        for name in sorted(names, key=lambda name: (name in TRAINING, sizes[name] is None)):
            if name in TRAINING and exclude and barred is None:
                barred = exclude(drawn)
                free -= barred
            own = free & set(allowed[name].tolist()) if allowed and name in allowed else free
            size = len(own) if sizes[name] is None else int(sizes[name] or 0)
            _check_left(
                candidates, name, size, len(own), len(barred or ()), _took_all(names, sizes)
            )
            drawn[name] = stratified_sample(list(own), candidates.strata, size, seeded(seed, name))
            free.difference_update(drawn[name])
    return drawn


def strata_of(table: pa.Table, columns: Sequence[str], origin: str) -> list[str]:
    """The stratum of every row: its values in `columns`, a missing value being one of them.

    Raises BadInput with the nearest name for a column that is not there.
    """
    for column in columns:
        if column not in table.column_names:
            near = difflib.get_close_matches(column, table.column_names, n=1)
            hint = f'; did you mean "{near[0]}"?' if near else ""
            raise BadInput(f'{origin}: no column "{column}" to stratify by{hint}')
    if not columns:
        return [EVERYTHING] * table.num_rows
    values = [table[column].to_pylist() for column in columns]
    return [
        " × ".join(MISSING if value is None else str(value) for value in row)
        for row in zip(*values, strict=True)
    ]


def _check_sizes(source: Candidates, sizes: Mapping[str, int | None]) -> None:
    asked = sum(size if size is not None else 1 for size in sizes.values())
    if asked > len(source.rows):
        parts = " + ".join(
            f"{FLAGS[name]} {'none (at least 1)' if size is None else size}"
            for name, size in sizes.items()
        )
        lost = ", ".join(f"{reason} {rows}" for reason, rows in source.lost.items() if rows)
        raise BadInput(
            f"{source.origin}: {parts} asks for {asked} rows, but {len(source.rows)} of "
            f"{len(source.strata)} are left after filtering{f' ({lost})' if lost else ''}; "
            "ask for fewer or filter less"
        )


def _took_all(names: Sequence[str], sizes: Mapping[str, int | None]) -> str:
    """What of query and eval takes all that is left of rows that could train, for a message."""
    greedy = [name for name in names if name in HELD_OUT and sizes[name] is None]
    return f", {FLAGS[greedy[0]]} none having taken the rest" if greedy and len(names) > 1 else ""


def _check_left(
    source: Candidates, name: str, size: int, left: int, barred: int, taken: str
) -> None:
    if max(size, 1) > left:
        near = f", {barred} near-duplicates of query and eval rows left out" if barred else ""
        near += taken if name in TRAINING else ""
        raise BadInput(
            f"{source.origin}: {FLAGS[name]} {size or 'none'} asks for {max(size, 1)} rows, but "
            f"{left} are left to it{near}; ask for fewer"
        )
