"""Rows from the Hugging Face hub, streamed: only as many as are needed leave the server."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from whence.data.sources.local import HELD_OUT_NAMES
from whence.data.sources.source import Source
from whence.errors import BadInput
from whence.runs.progress import Progress

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import IterableDataset

ROWS_PER_READ = 1_000


def pin(name: str, revision: str | None) -> str:
    """The commit that `revision` (None: the newest) of a hub data set is now."""
    from huggingface_hub import HfApi

    with in_one_line(name):
        return str(HfApi().dataset_info(name, revision=revision).sha)


def choose_config(
    name: str, wanted: str | None, *, revision: str | None, default: str
) -> str | None:
    """Which configuration of the data set `name` (hub id, or local folder of data files) to read.

    `wanted` where the data set has it. `default`, the value of a flag nobody set, gives way to the
    data set's own choice (None). Raises BadInput with the nearest name for any other.
    """
    from datasets import get_dataset_config_names

    with in_one_line(name):
        available = list(get_dataset_config_names(name, revision=revision))
    if wanted is None or wanted in available:
        return wanted
    if wanted == default and (len(available) == 1 or "default" in available):
        return None
    near = difflib.get_close_matches(wanted, available, n=1)
    hint = f'did you mean "{near[0]}"? ' if near else ""
    raise BadInput(
        f"--dataset-config {wanted}: {name} has no such configuration; {hint}it has "
        f"{', '.join(available[:20])}"
    )


def open_splits(
    name: str, config: str | None, revision: str | None
) -> Mapping[str, IterableDataset]:
    """The splits of a data set, not yet read. Raises BadInput where there is no train split."""
    from datasets import load_dataset

    with in_one_line(name):
        splits: Mapping[str, IterableDataset] = load_dataset(
            name, config, revision=revision, streaming=True
        )
    if "train" not in splits:
        raise BadInput(f"{name}: has no train split, but {', '.join(splits)}; use --train-file")
    return splits


def stream(
    name: str, config: str | None, *, revision: str | None, limits: Mapping[str, int | None]
) -> list[Source]:
    """Read the first rows of a data set's train split and of its test (or else validation) split.

    limits: "train" and "test" → how many rows at most; None reads all. Without a held-out split the
    train split is read for both. Rows keep the order in which they are stored, so a row's place is
    its index in the split. Raises BadInput when the data set cannot be reached or has no train
    split.
    """
    splits = open_splits(name, config, revision)
    train, test = limits["train"], limits["test"]
    held_out = next((split for split in HELD_OUT_NAMES if split in splits), None)
    if held_out:
        wanted = {"train": train, held_out: test}
    else:
        wanted = {"train": None if train is None or test is None else train + test}
    sources = []
    for split, limit in wanted.items():
        available = split_size(splits[split], split)
        with in_one_line(name):
            table = _first_rows(splits[split], limit, f"reading {name} {split}", available)
        if not table.num_rows:
            raise BadInput(f"{name}: its {split} split has no rows")
        if limit is None or table.num_rows < limit:
            available = table.num_rows
        sources.append(
            Source(split, f"{name} {split}", name.rstrip("/").rpartition("/")[2], table, available)
        )
    return sources


def _first_rows(
    rows: IterableDataset, limit: int | None, label: str, available: int | None
) -> pa.Table:
    import pyarrow as pa

    total = min((n for n in (limit, available) if n is not None), default=None)
    parts = []
    with Progress(label, total) as progress:
        some = rows if limit is None else rows.take(limit)
        for part in some.with_format("arrow").iter(batch_size=ROWS_PER_READ):
            parts.append(part)
            progress.advance(part.num_rows)
    return pa.concat_tables(parts, promote_options="permissive") if parts else pa.table({})


def split_size(rows: IterableDataset, split: str) -> int | None:
    """How many rows a split has, where the data set says so."""
    known: Mapping[str, Any] = rows.info.splits or {}
    return known[split].num_examples or None if split in known else None


@contextmanager
def in_one_line(name: str) -> Iterator[None]:
    """Whatever goes wrong inside is BadInput that names the data set and says what to do."""
    try:
        yield
    except Exception as error:  # the hub's client raises whatever its HTTP library does
        raise BadInput(f"data set {name}: {_advice(error)}") from error


def _advice(error: Exception) -> str:
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, GatedRepoError) or "gated" in str(error):
        return "is gated; accept its terms on its hub page, then run `hf auth login`"
    if isinstance(error, RevisionNotFoundError):
        return "has no such revision; give a branch, tag or commit of it as --dataset-revision"
    if isinstance(error, RepositoryNotFoundError | DatasetNotFoundError):
        return "is not on the hub; check the name (private ones need `hf auth login`)"
    if isinstance(error, ConnectionError) or type(error).__module__.startswith("httpx"):
        return (
            "the hub cannot be reached; check the network, or download the data set where there is "
            "one and give its folder as --dataset-name"
        )
    return f"cannot be read: {' '.join(str(error).split())[:300] or type(error).__name__}"
