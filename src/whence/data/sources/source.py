"""One split of a data set as it came, before anything is done to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Source:
    """Rows of one split.

    split: the name it goes by in `source_split` ("train", "test", "validation"). origin: what
    messages about it name (a path, or hub id and split). file: its file or folder name without a
    path, or the hub id. available: how many rows the split has; None where only the first were read
    and the rest were not counted. left_out: reason → rows of the split that are not in the table,
    because they were not asked for (another game, an aborted one).
    """

    split: str
    origin: str
    file: str
    table: pa.Table
    available: int | None
    left_out: Mapping[str, int] = field(default_factory=dict)
