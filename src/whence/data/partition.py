"""Which kept row goes into which split: stratified, disjoint, of the sizes asked for."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Candidates:
    """Rows of one source that may be drawn: ascending indices, and the stratum of *every* row."""

    origin: str
    rows: np.ndarray
    strata: Sequence[str]


def partition(
    train: Candidates, held_out: Candidates | None, sizes: Mapping[str, int], seed: int
) -> dict[str, list[int]]:
    """Draw the splits; each a list of ascending row indices.

    eval and attr_query come from `held_out` (from `train` where there is none), train_base and
    score_pool from `train`; sizes names those that are wanted. All are disjoint. Evaluation is
    drawn first and each split has its own stream, so asking for more training rows changes neither
    eval nor query. Raises BadInput when a source has fewer rows than are asked of it.
    """
    order = ("eval", "attr_query", "train_base", "score_pool")
    wanted = [name for name in order if name in sizes]
    from_held_out = {"eval", "attr_query"} if held_out else set()
    remaining = {False: set(train.rows.tolist())}
    if held_out:
        remaining[True] = set(held_out.rows.tolist())
        _check_sizes(held_out, {name: sizes[name] for name in wanted if name in from_held_out})
    _check_sizes(train, {name: sizes[name] for name in wanted if name not in from_held_out})
    drawn = {}
    for name in wanted:
        held = name in from_held_out
        strata = held_out.strata if held_out and held else train.strata
        left = remaining[held]
        drawn[name] = stratified_sample(list(left), strata, sizes[name], seeded(seed, name))
        left.difference_update(drawn[name])
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


def _check_sizes(source: Candidates, sizes: Mapping[str, int]) -> None:
    asked = sum(sizes.values())
    if asked > len(source.rows):
        parts = " + ".join(f"{FLAGS[name]} {size}" for name, size in sizes.items())
        raise BadInput(
            f"{source.origin}: {parts} asks for {asked} rows, but {len(source.rows)} of "
            f"{len(source.strata)} are left after filtering; ask for fewer or filter less"
        )
