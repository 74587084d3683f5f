"""Rows from files and folders: Parquet, JSONL, JSON, and saved Hugging Face data sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from whence.data.sources.source import Source
from whence.errors import BadInput
from whence.runs.tables import TABLE_SUFFIXES, read_table

HELD_OUT_NAMES = ("test", "validation")
"""Splits that query and eval may come from, the first that there is."""


def read_files(train_file: Path, test_file: Path | None) -> list[Source]:
    """The rows of one or two plain files (or saved data sets), train first."""
    if not test_file:
        return [_source("train", train_file)]
    if train_file.resolve() == test_file.resolve():
        raise BadInput(
            f"{test_file}: is the --train-file too; leave --test-file out to split one file"
        )
    return [_source("train", train_file), _source("test", test_file)]


def read_folder(
    folder: Path, held_out_names: Sequence[str] = HELD_OUT_NAMES
) -> list[Source] | None:
    """The train split of a folder and, where it has one, its held-out split: test, or else
    validation, or as `held_out_names` has it.

    The folder holds `train.parquet` or `train.jsonl` (and `test.…`), folders of those names written
    by `save_to_disk`, or is such a data set itself (all train). None when it is none of these.
    """
    if (folder / "state.json").is_file():
        return [_source("train", folder)]
    found = {name: _split_in(folder, name) for name in ("train", *held_out_names)}
    train = found["train"]
    if not train:
        return None
    held_out = next((name for name in held_out_names if found[name]), None)
    sources = [_source("train", train)]
    if held_out and (path := found[held_out]):
        sources.append(_source(held_out, path))
    return sources


def _split_in(folder: Path, name: str) -> Path | None:
    places = [folder / name, *(folder / f"{name}{suffix}" for suffix in TABLE_SUFFIXES)]
    present = [
        path
        for path in places
        if path.is_file() or (path.is_dir() and (path / "state.json").exists())
    ]
    if len(present) > 1:
        names = " and ".join(path.name for path in present)
        raise BadInput(f"{folder}: both {names} are its {name} split; name one with --train-file")
    return present[0] if present else None


def _source(split: str, path: Path) -> Source:
    table = read_table(path)
    if not table.num_rows:
        raise BadInput(f"{path}: has no rows")
    return Source(split, str(path), path.resolve().name, table, table.num_rows)
