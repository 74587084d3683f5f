"""Tables on disk, whatever their format: Parquet, JSONL, JSON, saved Hugging Face data sets.

Everything is read into a `pyarrow.Table`, which keeps the types of columns that no method looks
at (an integer column with gaps stays an integer column). A malformed line is named by number.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.errors import BadInput

if TYPE_CHECKING:
    import pyarrow as pa

# Python objects of one chunk live beside the Arrow table, so a chunk bounds the extra memory.
LINES_PER_CHUNK = 2_000
# Fixed so that equal rows give equal bytes.
ROWS_PER_GROUP = 10_000

TABLE_SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".json")


def read_table(path: Path) -> pa.Table:
    """Read one table.

    `path` is a `.parquet`, `.jsonl`/`.ndjson` or `.json` (list of objects) file, or a folder
    written by `datasets.Dataset.save_to_disk`. Raises BadInput, naming the file and the line,
    when it is absent, unreadable, or not a table.
    """
    if path.is_dir():
        return _read_saved_dataset(path)
    if not path.is_file():
        raise BadInput(f"{path}: no such file; check the path")
    if path.suffix == ".parquet":
        return _read_parquet(path)
    if path.suffix in (".jsonl", ".ndjson"):
        return _read_jsonl(path)
    if path.suffix == ".json":
        return _read_json(path)
    raise BadInput(f"{path}: cannot read {path.suffix or 'this'} files; use {_SUFFIX_LIST}")


_SUFFIX_LIST = ", ".join(TABLE_SUFFIXES) + " or a saved Hugging Face data set folder"


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write `table` so that equal rows give equal bytes (fixed codec, row groups, no metadata)."""
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        table.replace_schema_metadata(None),
        path,
        compression="zstd",
        row_group_size=ROWS_PER_GROUP,
        version="2.6",
    )


def is_saved_dataset(folder: Path) -> bool:
    """Whether `folder` was written by `save_to_disk` (one data set, or several under one name)."""
    return (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file()


def _read_parquet(path: Path) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # ParquetFile and not read_table: the latter reads meaning into folder names (`kind=a/`).
        with pq.ParquetFile(path) as file:
            return file.read()
    except (pa.ArrowException, OSError) as error:
        raise BadInput(f"{path}: not a readable Parquet file ({_one_line(error)})") from error


def _read_saved_dataset(folder: Path) -> pa.Table:
    if not (folder / "state.json").is_file():
        raise BadInput(f"{folder}: a folder, but not one saved data set (no state.json in it)")
    from datasets import load_from_disk

    try:
        # Slicing under the Arrow format applies a pending selection or shuffle of the rows.
        return load_from_disk(str(folder)).with_format("arrow")[:]
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"{folder}: not a readable data set ({_one_line(error)})") from error


def _read_json(path: Path) -> pa.Table:
    try:
        rows = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not valid JSON ({_one_line(error)})") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadInput(f"{path}: expected a list of objects, one per row")
    return _from_rows(rows, path)


def _read_jsonl(path: Path) -> pa.Table:
    import pyarrow as pa

    chunks = [_from_rows(rows, path) for rows in _parsed_chunks(path)]
    if not chunks:
        return pa.table({})
    try:
        return pa.concat_tables(chunks, promote_options="permissive")
    except pa.ArrowException as error:
        raise BadInput(f"{path}: a column changes its type ({_one_line(error)})") from error


def _parsed_chunks(path: Path) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are both one
                raise BadInput(
                    f"{path}, line {number}: not valid JSON ({_one_line(error)})"
                ) from error
            if not isinstance(row, dict):
                raise BadInput(
                    f"{path}, line {number}: expected an object, found {type(row).__name__}"
                )
            rows.append(row)
            if len(rows) == LINES_PER_CHUNK:
                yield rows
                rows = []
    if rows:
        yield rows


def _from_rows(rows: list[dict[str, Any]], path: Path) -> pa.Table:
    import pyarrow as pa

    # from_pylist takes its columns from the first row alone.
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {}
    for name in names:
        try:
            columns[name] = pa.array([row.get(name) for row in rows])
        except (pa.ArrowException, OverflowError) as error:
            raise BadInput(
                f'{path}: column "{name}" mixes types ({_one_line(error)}); give it one'
            ) from error
        except UnicodeEncodeError as error:
            before = " ".join(str(error.object)[: error.start].split())[-40:]
            raise BadInput(
                f'{path}: column "{name}" has half a character (a lone surrogate such as \\ud83d) '
                f'after "{before}"; repair that row'
            ) from error
    return pa.table(columns)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
