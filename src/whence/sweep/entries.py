"""An entry: one configuration of a stage's grid, and the run that gives its result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from whence.errors import BadInput
from whence.runs.jsonfile import read_jsonl, write_jsonl


@dataclass(frozen=True)
class Entry:
    """One line of `manifest.jsonl`.

    id: fingerprint of the whole configuration, base included, and of the content of its inputs.
    setting: the same without the seeds: entries of one setting are replications of each other.
    factors: dotted key → value, of the factors that the grid varies (seeds aside), as asked for.
    seed: dotted key → value of the keys that a seed sets, or empty.
    run: id of the task whose folder has the result; entries that cannot differ share one.
    output: that folder, below the sweep's. idle: key → why it cannot change what is ranked here.
    """

    id: str
    stage: str
    setting: str
    factors: Mapping[str, Any]
    seed: Mapping[str, Any]
    run: str
    output: str
    idle: Mapping[str, str] = field(default_factory=dict)


def write_manifest(path: Path, entries: Iterable[Entry]) -> None:
    """One line an entry."""
    write_jsonl(path, [asdict(entry) for entry in entries])


def read_manifest(path: Path) -> list[Entry]:
    """Raises BadInput naming the line that is no entry."""
    entries = []
    for number, line in enumerate(read_jsonl(path), start=1):
        try:
            entries.append(Entry(**line))
        except TypeError as error:
            raise BadInput(
                f"{path}, line {number}: not an entry ({error}); plan the stage again"
            ) from None
    return entries
