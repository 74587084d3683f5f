"""Columns that linear probes and the MLP read: blocks of features, side by side.

float32 where activations are among them, for their thousands of columns; else float64, in which
the earlier study fitted its handful.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whence.anchors.probes.data import ProbeData
from whence.anchors.sentences import POSITION, need_columns
from whence.errors import BadInput

Matrix = NDArray[np.floating[Any]]

NO_SPANS = (
    "token counts come with `whence anchors extract` (give --features) or `whence anchors spans`"
)


def position(data: ProbeData) -> Matrix:
    """chunk_idx, num_chunks, relative_position, token_count, [rows, 4].

    Raises BadInput where the table has no token counts, or a row has none.
    """
    need_columns(data.frame, POSITION, NO_SPANS)
    columns = [data.frame[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in POSITION]
    values = np.stack(columns, axis=1)
    bad = np.argwhere(~np.isfinite(values))
    if bad.size:
        row = data.frame.iloc[int(bad[0, 0])]
        raise BadInput(
            f"problem {row['problem_id']}, sentence {row['chunk_idx']}: {POSITION[bad[0, 1]]} "
            f"is missing; {NO_SPANS}"
        )
    return values


def mean(data: ProbeData) -> Matrix:
    """Pooled activations, [rows, d_model]. Raises BadInput where none were extracted."""
    if data.mean is None:
        raise BadInput(
            "no pooled activations here, which this probe reads: give --features a folder made by "
            "`whence anchors extract --pooling mean`"
        )
    return np.asarray(data.mean, dtype=np.float32)


def vertical(data: ProbeData) -> Matrix:
    """Vertical attention, [rows, 1]. Raises BadInput where none was extracted."""
    if data.vertical is None:
        raise BadInput(
            "no vertical attention here, which this probe reads: give --features a folder made by "
            "`whence anchors extract --vertical light` (or full)"
        )
    return np.asarray(data.vertical, dtype=np.float32).reshape(len(data), 1)


BLOCKS: dict[str, Callable[[ProbeData], Matrix]] = {
    "mean": mean,
    "vertical": vertical,
    "position": position,
}


def beside(data: ProbeData, blocks: Sequence[str]) -> Matrix:
    """The blocks of those names side by side, [rows, columns].

    Raises BadInput naming the flag that would have extracted what is missing, and the row whose
    features are not finite.
    """
    dtype = np.dtype(np.float32 if "mean" in blocks else np.float64)
    parts: list[Matrix] = [np.asarray(BLOCKS[name](data), dtype=dtype) for name in blocks]
    values = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1, dtype=dtype)
    # The sum of a row is finite only if its values are; it spares a mask as large as the matrix.
    with np.errstate(over="ignore", invalid="ignore"):
        bad = np.flatnonzero(~np.isfinite(values.sum(axis=1, dtype=np.float64)))
    if bad.size:
        row = data.frame.iloc[int(bad[0])]
        raise BadInput(
            f"problem {row['problem_id']}, sentence {row['chunk_idx']}: its features are not "
            "finite; extract again with --storage-dtype float32"
        )
    return values
