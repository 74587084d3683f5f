"""The files of an extraction, put together from its shards, one shard in memory at a time.

How they look is said in `whence.sae.store`. An NPZ is written as `numpy.savez_compressed` would,
but shard by shard, so that no array is ever whole in memory; equal shards give equal bytes.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from whence.runs.atomic import whole_file
from whence.runs.jsonfile import write_jsonl
from whence.sae.extract.shards import Stored
from whence.sae.rows import TokenRow
from whence.sae.sample_stats import SAMPLE_STATS

if TYPE_CHECKING:
    import pyarrow as pa

DENSE_BYTES = 5
"""Of one row and feature in an NPZ, as it is in memory: bool and float32."""
COMPRESSION = 1
"""Of zlib. What is compressed is mostly zeros; level 6 takes three times as long for a tenth."""

Shards = Callable[[], Iterable[Stored]]
"""Reads the shards of one SAE, in order, as often as it is called."""


def fits_dense(rows: int, d_sae: int, limit_gb: float) -> bool:
    """Whether the dense arrays of one SAE stay within the limit."""
    return rows * d_sae * DENSE_BYTES <= limit_gb * 1e9


def write_npz(path: Path, shards: Shards, rows: int, d_sae: int) -> None:
    """The dense arrays of one SAE."""

    def dense(dtype: Any, value: Callable[[Any], Any]) -> Iterator[NDArray[Any]]:
        for shard in shards():
            block = np.zeros((len(shard.rows), d_sae), dtype=dtype)
            for at, row in enumerate(shard.rows):
                block[at, row.ids] = value(row)
            yield block

    per_row = [(row.stats.copy(), row.tokens) for shard in shards() for row in shard.rows]
    stats = np.stack([row[0] for row in per_row]).astype(np.float32)
    lengths = np.asarray([row[1] for row in per_row], dtype=np.int32)
    width = max(map(len, SAMPLE_STATS))
    names = np.asarray(SAMPLE_STATS, dtype=f"<U{width}")
    with (
        whole_file(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=COMPRESSION) as file,
    ):
        _put(file, "feature_presence", (rows, d_sae), dense(np.bool_, lambda _row: True))
        _put(file, "feature_activation_mean", (rows, d_sae), dense(np.float32, lambda r: r.means))
        _put(file, "sample_stats", stats.shape, [stats])
        _put(file, "seq_lens", lengths.shape, [lengths])
        _put(file, "stat_feature_names", names.shape, [names])


def write_sparse(path: Path, shards: Shards, row_ids: Sequence[str]) -> None:
    """The same as Parquet, a row group a shard."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            ("row_id", pa.string()),
            ("seq_len", pa.int32()),
            *((name, pa.float32()) for name in SAMPLE_STATS if name != "seq_len"),
            ("feature_ids", pa.list_(pa.int32())),
            ("feature_activation_means", pa.list_(pa.float32())),
        ]
    )
    done = 0
    with (
        whole_file(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd", version="2.6") as file,
    ):
        for shard in shards():
            stats = np.stack([row.stats for row in shard.rows])
            columns: dict[str, Any] = {name: stats[:, at] for at, name in enumerate(SAMPLE_STATS)}
            ends = np.cumsum([0, *(len(row.ids) for row in shard.rows)], dtype=np.int32)
            columns |= {
                "row_id": list(row_ids[done : done + len(shard.rows)]),
                "seq_len": np.asarray([row.tokens for row in shard.rows], dtype=np.int32),
                "feature_ids": pa.ListArray.from_arrays(
                    ends, np.concatenate([row.ids for row in shard.rows])
                ),
                "feature_activation_means": pa.ListArray.from_arrays(
                    ends, np.concatenate([row.means for row in shard.rows])
                ),
            }
            done += len(shard.rows)
            file.write_table(pa.table({name: columns[name] for name in schema.names}, schema))


def write_examples(path: Path, table: pa.Table, rows: Sequence[TokenRow]) -> None:
    """`examples.jsonl`: what each row of the arrays is, with every column that JSON can hold.

    The source's own columns array_index, tokens and truncated, if it has any, are left out.
    """
    own = ("array_index", "row_id", "tokens", "truncated")
    columns = [
        name
        for name in table.column_names
        if name not in own and is_json(table.schema.field(name).type)
    ]

    def lines() -> Iterator[dict[str, Any]]:
        number = 0
        for batch in table.select(columns).to_batches(max_chunksize=1000):
            for source in batch.to_pylist():
                row = rows[number]
                mine = (number, row.row_id, len(row.ids), row.truncated)
                yield dict(zip(own, mine, strict=True)) | {k: _json(v) for k, v in source.items()}
                number += 1

    write_jsonl(path, lines())


def is_json(kind: pa.DataType) -> bool:
    """Whether JSON can hold values of an Arrow type: no bytes, times or decimals."""
    from pyarrow import types

    if types.is_dictionary(kind):
        return is_json(kind.value_type)
    if types.is_struct(kind):
        return all(is_json(kind.field(at).type) for at in range(kind.num_fields))
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return is_json(kind.value_type)
    plain = (types.is_null, types.is_boolean, types.is_integer, types.is_floating)
    return any(is_a(kind) for is_a in (*plain, types.is_string, types.is_large_string))


def _json(value: Any) -> Any:
    """Numbers that are none, as Parquet may hold them, are null in JSON."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _json(item) for key, item in value.items()}
    return [_json(item) for item in value] if isinstance(value, list) else value


def _put(
    file: zipfile.ZipFile, name: str, shape: tuple[int, ...], blocks: Iterable[NDArray[Any]]
) -> None:
    """One array of an NPZ, its blocks one below the other. An entry opened by name has no date."""
    with file.open(f"{name}.npy", "w", force_zip64=True) as stream:
        for at, block in enumerate(blocks):
            if at == 0:
                header = {
                    "descr": np.lib.format.dtype_to_descr(block.dtype),
                    "fortran_order": False,
                    "shape": shape,
                }
                np.lib.format.write_array_header_1_0(stream, header)
            stream.write(np.ascontiguousarray(block).data)
