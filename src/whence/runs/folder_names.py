"""Short names for paths, so that each can be told from the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from whence.runs.tables import TABLE_SUFFIXES


def told_apart(paths: Sequence[Path]) -> list[str]:
    """The last part of each path, or as many of the last parts as it takes to tell them apart.

    A table's suffix is left out. The same path twice keeps its whole name twice.
    """
    bare = [path.with_suffix("") if path.suffix in TABLE_SUFFIXES else path for path in paths]
    parts = [path.absolute().parts for path in bare]
    for taken in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(part[-taken:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]
