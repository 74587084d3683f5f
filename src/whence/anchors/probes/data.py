"""What probes are given: rows of the table of sentences, and their features in the same order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ragged:
    """Token activations of sentences of unequal length.

    values: [tokens, d_model], perhaps a memory map. start, length: of each row's tokens, [rows].
    """

    values: NDArray[np.floating]
    start: NDArray[np.int64]
    length: NDArray[np.int64]

    def take(self, rows: NDArray[np.integer]) -> Ragged:
        """The same tokens, seen by fewer rows."""
        return replace(self, start=self.start[rows], length=self.length[rows])

    def tokens(self, row: int) -> NDArray[np.float32]:
        """[length, d_model] of one row, float32."""
        begin = int(self.start[row])
        return np.asarray(self.values[begin : begin + int(self.length[row])], dtype=np.float32)


@dataclass(frozen=True)
class ProbeData:
    """Sentences and what is known of them; None for what was not extracted.

    frame: rows of the table of sentences, [rows]. mean: pooled activations [rows, d_model],
    float32, of one layer (mean or last token). tokens: its token activations. vertical: vertical
    attention scores [rows, 1], float32.
    """

    frame: pd.DataFrame
    mean: NDArray[np.float32] | None = None
    tokens: Ragged | None = None
    vertical: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.frame)

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> ProbeData:
        """Some rows, by position or mask, in the order given."""
        rows = np.arange(len(self))[rows]
        return ProbeData(
            frame=self.frame.iloc[rows].reset_index(drop=True),
            mean=None if self.mean is None else self.mean[rows],
            tokens=None if self.tokens is None else self.tokens.take(rows),
            vertical=None if self.vertical is None else self.vertical[rows],
        )

    @property
    def groups(self) -> NDArray[np.int64]:
        """The problem of each row as a number, [rows]."""
        import pandas as pd

        return np.asarray(pd.factorize(self.frame["problem_id"])[0], dtype=np.int64)


@dataclass(frozen=True)
class Labels:
    """y: 0/1, or real numbers where `continuous`, finite, [rows]."""

    y: Floats
    continuous: bool

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> Labels:
        return Labels(self.y[rows], self.continuous)
