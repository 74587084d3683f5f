"""A tree of rollouts in a local folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whence.anchors.rollouts.tree import Names
from whence.errors import BadInput


@dataclass(frozen=True)
class LocalTree:
    """root: the folder that holds the model folders."""

    root: Path

    def __post_init__(self) -> None:
        if not self.root.is_dir():
            raise BadInput(
                f"{self.root}: no such folder; give the folder that holds the model folders "
                "(deepseek-r1-distill-qwen-14b, …) as --root"
            )

    def names(self, folder: str) -> Names:
        """List one folder without descending: a published tree has half a million files."""
        files: set[str] = set()
        folders: set[str] = set()
        try:
            with os.scandir(self.root / folder) as entries:
                for entry in entries:
                    (folders if entry.is_dir() else files).add(entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return Names()
        except OSError as error:
            raise BadInput(f"{self.place(folder)}: cannot be listed ({error.strerror})") from None
        return Names(frozenset(files), frozenset(folders))

    def files(self, paths: Sequence[str]) -> dict[str, Path]:
        return {path: self.root / path for path in paths if (self.root / path).is_file()}

    def place(self, path: str) -> str:
        return str(self.root / path)

    def source(self) -> Mapping[str, Any]:
        return {"kind": "local", "root": str(self.root.absolute())}
