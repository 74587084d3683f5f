"""`games.jsonl` while it grows: a finished game is a line, appended at once."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from whence.runs.atomic import whole_file
from whence.runs.jsonfile import plain


class Journal:
    """The games finished so far, on disk; opening one goes on where a killed process stopped.

    A last line that a kill tore is cut off: its game was not finished. So is what follows a line
    that a machine without power left unreadable.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places: dict[str, tuple[int, int]] = {}
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self._end = 0
        self._find()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, game_id: str) -> bool:
        return game_id in self._places

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a finished game. A game that is here already is a programming error."""
        game_id = record["game_id"]
        if game_id in self._places:
            raise ValueError(f"game {game_id} was finished twice")
        line = _line(record)
        if os.pwrite(self._file, line, self._end) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        self._places[game_id] = (self._end, len(line))
        self._end += len(line)

    def forget(self, game_ids: Iterable[str]) -> None:
        """Take games out, so that they are played again."""
        for game_id in game_ids:
            del self._places[game_id]
        self.rewrite(list(self._places))

    def flush(self) -> None:
        """Have the disk hold what was appended."""
        os.fsync(self._file)

    def read(self, game_ids: Iterable[str] | None = None) -> Iterator[dict[str, Any]]:
        """Records, one at a time, of these games that are here; of all without an argument."""
        for game_id in list(self._places) if game_ids is None else game_ids:
            if game_id in self._places:
                start, length = self._places[game_id]
                yield json.loads(os.pread(self._file, length, start))

    def rewrite(self, game_ids: Iterable[str]) -> None:
        """Put the file in this order, whole or not at all; games that are not named are gone."""
        with whole_file(self.path) as temporary, temporary.open("wb") as file:
            for record in self.read(game_ids):
                file.write(_line(record))
        os.close(self._file)
        self._file = os.open(self.path, os.O_RDWR)
        self._places, self._end = {}, 0
        self._find()

    def close(self) -> None:
        os.close(self._file)

    def _find(self) -> None:
        with self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                try:
                    game_id = json.loads(line)["game_id"]
                except ValueError:
                    break
                self._places[game_id] = (self._end, len(line))
                self._end += len(line)
        os.ftruncate(self._file, self._end)


def _line(record: Mapping[str, Any]) -> bytes:
    text = json.dumps(plain(record), ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()
