"""The splits of a data set and where they are: `manifest.json`.

A manifest names its splits with paths *relative to its own folder*, so that a folder can be moved
or built elsewhere and stay the same bytes. Rows have `row_id, prompt, completion, source_split,
group_id` and whatever metadata the source had.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.errors import BadInput
from whence.runs.jsonfile import read_json, write_json
from whence.runs.tables import read_table, write_parquet

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

REQUIRED_COLUMNS = ("row_id", "prompt", "completion")
ROW_COLUMNS = ("row_id", "prompt", "completion", "source_split", "group_id")


@dataclass(frozen=True)
class Split:
    """One split: its name, the absolute path of its rows, and how many there are."""

    name: str
    path: Path
    rows: int


@dataclass(frozen=True)
class Manifest:
    """A loaded manifest. `raw` is the JSON as it stands; `splits` has resolved paths."""

    path: Path
    splits: Mapping[str, Split]
    raw: Mapping[str, Any]

    def split(self, name: str) -> Split:
        """The split called `name`. Raises BadInput with the nearest name when there is none."""
        if name in self.splits:
            return self.splits[name]
        near = difflib.get_close_matches(name, self.splits, n=1, cutoff=0.4)
        hint = f'did you mean "{near[0]}"? ' if near else ""
        raise BadInput(
            f'{self.path}: no split "{name}"; {hint}it has {", ".join(self.splits) or "none"}'
        )


def load_manifest(path: Path) -> Manifest:
    """Read a manifest file, or `manifest.json` in the folder `path`.

    Raises BadInput when it is missing, is not JSON, or does not name splits with path and rows.
    """
    if path.is_dir():
        path = path / "manifest.json"
    if not path.is_file():
        raise BadInput(f"{path}: no such manifest; `whence data build` writes one")
    raw = read_json(path)
    named = raw.get("splits") if isinstance(raw, dict) else None
    if not isinstance(named, dict):
        raise BadInput(f'{path}: not a manifest; expected an object with a "splits" object')
    home = path.resolve().parent
    return Manifest(
        path, {name: _parse(path, home, name, entry) for name, entry in named.items()}, raw
    )


def _parse(path: Path, home: Path, name: str, entry: Any) -> Split:
    if (
        not isinstance(entry, dict)
        or not isinstance(entry.get("path"), str)
        or not isinstance(entry.get("rows"), int)
    ):
        raise BadInput(f'{path}: splits.{name} needs "path" (text) and "rows" (a number)')
    return Split(name, (home / entry["path"]).resolve(), entry["rows"])


def read_split_table(manifest: Manifest, name: str) -> pa.Table:
    """The rows of a split as an Arrow table, every column as the source typed it.

    The first columns are `row_id, prompt, completion, source_split, group_id`, all text; where the
    file lacks the last two they are the split's name and the row's own id (a group of one).
    Raises BadInput, naming file and row, for a missing column, a missing or doubled `row_id`, an
    empty prompt or completion, and a row count other than the manifest's.
    """
    import pyarrow as pa

    split = manifest.split(name)
    if not split.path.exists():
        raise BadInput(f"{manifest.path}: splits.{name} points at {split.path}, which is not there")
    table = read_table(split.path)
    for column in REQUIRED_COLUMNS:
        if column not in table.column_names:
            raise BadInput(
                f'{split.path}: no column "{column}"; it has {", ".join(table.column_names)}'
            )
    if table.num_rows != split.rows:
        raise BadInput(
            f"{split.path}: {table.num_rows} rows, but {manifest.path} says {split.rows}; "
            "build the data again"
        )
    columns = {column: table[column].cast(pa.string()) for column in REQUIRED_COLUMNS}
    for column, missing in (
        ("source_split", pa.array([name] * table.num_rows, pa.string())),
        ("group_id", columns["row_id"]),
    ):
        present = column in table.column_names
        columns[column] = table[column].cast(pa.string()) if present else missing
    for column in table.column_names:
        columns.setdefault(column, table[column])
    rows = pa.table(columns)
    check_rows(rows, str(split.path))
    return rows


def read_split(manifest: Manifest, name: str) -> pd.DataFrame:
    """The rows of a split as a data frame with a plain 0…n−1 index; see `read_split_table`."""
    return read_split_table(manifest, name).to_pandas()


def check_rows(rows: pa.Table, origin: str) -> None:
    """Raise BadInput, naming `origin` and the 1-based row, where rows cannot be told apart or used.

    That is: a missing or doubled `row_id`, and a prompt or completion that is empty or blank.
    """
    seen: dict[str, int] = {}
    for number, row_id in enumerate(rows["row_id"].to_pylist(), start=1):
        if not row_id:
            raise BadInput(f"{origin}, row {number}: row_id is empty")
        first = seen.setdefault(row_id, number)
        if first != number:
            raise BadInput(
                f'{origin}, row {number}: row_id "{row_id}" is already that of row {first}; '
                "make row ids unique, or let `whence data build` make them"
            )
    for column in ("prompt", "completion"):
        for number in blank_rows(rows[column])[:1]:
            raise BadInput(f"{origin}, row {number + 1}: {column} is empty")


def blank_rows(texts: pa.ChunkedArray) -> list[int]:
    """0-based positions of texts that are null, empty, or white space only."""
    import numpy as np
    import pyarrow.compute as pc

    blank = pc.equal(pc.utf8_trim_whitespace(pc.fill_null(texts, "")), "")
    return [int(i) for i in np.flatnonzero(blank.to_numpy(zero_copy_only=False))]


def write_split(rows: pd.DataFrame | pa.Table, path: Path) -> int:
    """Write rows as Parquet, byte-identical for equal rows; returns how many there were."""
    import pyarrow as pa

    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pandas(rows, preserve_index=False)
    write_parquet(table, path)
    return int(table.num_rows)


def write_manifest(
    path: Path,
    splits: Mapping[str, Split],
    sections: Mapping[str, Any],
    *,
    home: Path | None = None,
) -> None:
    """Write a manifest: `sections` (dataset, split_policy, …) in the order given, then `splits`.

    `home` is the folder in which the manifest will live when it is written elsewhere first (the
    `.partial` folder of a run). Files beside the manifest are named from there; files elsewhere,
    such as a parent manifest's eval split, are named relative to `home`.
    """
    document = {
        **sections,
        "splits": {
            name: {"path": relative_path(split.path, path.parent, home), "rows": split.rows}
            for name, split in splits.items()
        },
    }
    write_json(path, document)


def relative_path(target: Path, here: Path, home: Path | None = None) -> str:
    """How a file in the folder `here` should name `target` once `here` has become `home`."""
    target, here = target.resolve(), here.resolve()
    start = here if target.is_relative_to(here) else (home or here).resolve()
    return Path(os.path.relpath(target, start)).as_posix()
