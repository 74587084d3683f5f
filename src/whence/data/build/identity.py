"""Who a row is: `row_id`, its own, and `group_id`, which rows that belong together share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from whence.data.sources.rows import Rows
from whence.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

UNKNOWN = "unknown"


def row_ids(sources: Sequence[tuple[Rows, Sequence[bytes | None]]]) -> list[list[str | None]]:
    """A row id for every row of every source, given with its text digests.

    The source's own `row_id` where it has one. Else the digest of prompt and completion in hex,
    which does not change when the file is sorted, cut or read from elsewhere (None for unusable
    rows; rows of the same text share it). Raises BadInput, naming source and row, for an id that is
    missing or stands twice, in one source or in two.
    """
    places: dict[str, str] = {}
    found: list[list[str | None]] = []
    for rows, digests in sources:
        if "row_id" not in rows.table.column_names:
            found.append([digest.hex() if digest else None for digest in digests])
            continue
        ids = _own_ids(rows)
        for number, row_id in enumerate(ids, start=1):
            place = f"{rows.source.origin}, row {number}"
            if not row_id:
                raise BadInput(f"{place}: row_id is empty; fill it in or leave the column out")
            before = places.setdefault(row_id, place)
            if before is not place:
                raise BadInput(
                    f'{place}: row_id "{row_id}" is already that of {before}; '
                    "make row ids unique, or leave the column out to have them made"
                )
        found.append(ids)
    return found


def told_apart(
    names: Sequence[str | None], ids: Sequence[Sequence[str | None]], kept: Sequence[np.ndarray]
) -> tuple[list[list[str | None]], list[str]]:
    """Row ids of which no two sources share one.

    names: the source of each part; ids: of every row of each part; kept: the rows that may be
    drawn. A source with an id that an earlier one has gets its name before all of its ids
    (`name/id`), the earlier one keeps them. Returns the ids, and the names of sources so changed.
    """
    taken: set[str | None] = set()
    changed: list[str] = []
    made = [list(own) for own in ids]
    for name in dict.fromkeys(names):
        parts = [at for at, other in enumerate(names) if other == name]
        own = {ids[at][int(row)] for at in parts for row in kept[at]}
        if name is not None and own & taken:
            changed.append(name)
            for at in parts:
                made[at] = [f"{name}/{row_id}" if row_id else row_id for row_id in ids[at]]
            own = {f"{name}/{row_id}" for row_id in own}
        taken |= own
    return made, changed


def group_ids(table: pa.Table, split: str) -> pa.Array | pa.ChunkedArray:
    """The group of every row of one source split.

    The source's own `group_id` where it has one without gaps, else
    `category::difficulty::source_split::index` where it has both of those columns, else
    `source_split::index`; `index` is the row's place in the source, from 0. `split` is what stands
    for source_split: in a mixture the source's name and its split.
    """
    import pyarrow as pa

    if "group_id" in table.column_names and not table["group_id"].null_count:
        return table["group_id"].cast(pa.string())
    tails = [f"{split}::{index}" for index in range(table.num_rows)]
    if {"category", "difficulty"} <= set(table.column_names):
        pairs = zip(*(_labels(table[name]) for name in ("category", "difficulty")), strict=True)
        tails = [
            f"{category}::{difficulty}::{tail}"
            for (category, difficulty), tail in zip(pairs, tails, strict=True)
        ]
    return pa.array(tails, pa.string())


def _labels(column: pa.ChunkedArray) -> list[str]:
    return [UNKNOWN if value is None else str(value) for value in column.to_pylist()]


def _own_ids(rows: Rows) -> list[str | None]:
    import pyarrow as pa

    try:
        ids: list[str | None] = rows.table["row_id"].cast(pa.string()).to_pylist()
    except pa.ArrowException as error:
        raise BadInput(f"{rows.source.origin}: column row_id does not hold plain values") from error
    return ids
