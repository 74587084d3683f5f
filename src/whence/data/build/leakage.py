"""Near-duplicates between what is trained on and what is asked or tested, while splits are drawn.

What many rows share is learned from the rows that may be drawn, not from those that were: whether
two rows are near-duplicates does not depend on who else was drawn, nor on whether they are dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from whence.data.build.near_duplicates import NearIndex, NearReport, compare_splits, sample_rows
from whence.data.build.recipe import HELD_OUT
from whence.data.build.sides import Sides

if TYPE_CHECKING:
    import pyarrow as pa


class Leakage:
    """One search over the sides of one build, from similarity `threshold` on."""

    def __init__(self, sides: Sides, threshold: float) -> None:
        self._sides = sides
        self._threshold = threshold
        self._dropped: int | None = None

    def exclude(self, drawn: Mapping[str, Sequence[int]]) -> set[int]:
        """Rows of the training side that are near-duplicates of query and eval as drawn."""
        import numpy as np

        side = self._sides.of("eval")
        rows = np.array(sorted(row for name in HELD_OUT for row in drawn[name]), np.int64)
        mask = np.zeros(side.table.num_rows, dtype=bool)
        mask[rows] = True
        train = self._sides.train
        free = train.candidates.rows
        if side is train:
            free = free[~mask[free]]
        pairs, _ = self._index(side.table.filter(mask)).search(train.table, free)
        found = set(pairs.searched.tolist())
        self._dropped = len(found)
        return found

    def report(self, splits: Mapping[str, pa.Table]) -> NearReport:
        """What is nearly the same in the splits as they are."""
        import pyarrow as pa

        known = pa.concat_tables(
            [splits[name].select(["prompt", "completion"]) for name in HELD_OUT]
        )
        return compare_splits(self._index(known), splits, HELD_OUT, self._dropped)

    def _index(self, rows: pa.Table) -> NearIndex:
        sides = filter(None, (self._sides.train, self._sides.held_out))
        samples = [sample_rows(side.table, side.candidates.rows) for side in sides]
        return NearIndex(rows, samples, self._threshold)
