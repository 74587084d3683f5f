"""What a run has so far: rows by the 256, one safetensors file a shard and SAE, whole or absent.

    tokens          int32   [rows]           counted tokens
    active          int64   [rows]           active entries
    stats           float32 [rows, 10]
    row_ends        int64   [rows]           where each row's entries end in the two below
    feature_ids     int32   [entries]
    means           float32 [entries]
    fit_rows        int32   [looked at]      which rows of the shard
    fit_counts      int64   [looked at, 2]   tokens, active entries
    fit_sums        float64 [looked at, 2]   error, spread
    fit_means       float64 [looked at, d_in]

Entries are the features present, row after row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whence.runs.atomic import whole_file
from whence.sae.extract.fit import Fit
from whence.sae.extract.one_pass import Reduced
from whence.sae.extract.reduce import RowFeatures
from whence.sae.sample_stats import SAMPLE_STATS
from whence.sae.store import layer_file

SHARD_ROWS = 256


@dataclass(frozen=True)
class Shard:
    """Rows start … stop − 1 of the data set."""

    number: int
    start: int
    stop: int

    def file(self, folder: Path, sae_id: str) -> Path:
        return folder / f"{layer_file(sae_id)}.{self.number:05d}.safetensors"

    def is_there(self, folder: Path, sae_ids: Sequence[str]) -> bool:
        return all(self.file(folder, sae_id).is_file() for sae_id in sae_ids)


@dataclass(frozen=True)
class Stored:
    """A shard of one SAE, read back: its rows in order, and the fits of those looked at."""

    rows: list[RowFeatures]
    fits: list[Fit]


def make_shards(rows: int) -> list[Shard]:
    """The data set in runs of `SHARD_ROWS`, the last one shorter."""
    starts = range(0, rows, SHARD_ROWS)
    return [Shard(n, start, min(start + SHARD_ROWS, rows)) for n, start in enumerate(starts)]


def write_shard(path: Path, reduced: Reduced, d_in: int) -> None:
    """Write what one SAE left of a shard's rows, places counted from the shard's start."""
    from safetensors.numpy import save_file

    rows = [reduced.rows[at] for at in range(len(reduced.rows))]
    fit_rows = sorted(reduced.fits)
    fits = [reduced.fits[at] for at in fit_rows]
    arrays: dict[str, NDArray[Any]] = {
        "tokens": np.asarray([row.tokens for row in rows], dtype=np.int32),
        "active": np.asarray([row.active_entries for row in rows], dtype=np.int64),
        "stats": np.stack([row.stats for row in rows]),
        "row_ends": np.cumsum([len(row.ids) for row in rows], dtype=np.int64),
        "feature_ids": np.concatenate([row.ids for row in rows]),
        "means": np.concatenate([row.means for row in rows]),
        "fit_rows": np.asarray(fit_rows, dtype=np.int32),
        "fit_counts": np.asarray([(f.tokens, f.active) for f in fits], np.int64).reshape(-1, 2),
        "fit_sums": np.asarray([(f.error, f.spread) for f in fits], np.float64).reshape(-1, 2),
        "fit_means": np.asarray([f.mean for f in fits], np.float64).reshape(-1, d_in),
    }
    with whole_file(path) as temporary:
        save_file(arrays, temporary)


def read_shard(path: Path) -> Stored:
    """Read a shard back."""
    from safetensors.numpy import load_file

    arrays = load_file(path)
    assert arrays["stats"].shape[1] == len(SAMPLE_STATS)
    ends = arrays["row_ends"]
    starts = np.concatenate([[0], ends[:-1]])
    rows = [
        RowFeatures(
            tokens=int(arrays["tokens"][at]),
            ids=arrays["feature_ids"][start:end],
            means=arrays["means"][start:end],
            stats=arrays["stats"][at],
            active_entries=int(arrays["active"][at]),
        )
        for at, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]
    fits = [
        Fit(int(tokens), mean, float(spread), float(error), int(active))
        for (tokens, active), (error, spread), mean in zip(
            arrays["fit_counts"], arrays["fit_sums"], arrays["fit_means"], strict=True
        )
    ]
    return Stored(rows, fits)
