"""What a command says when it ends: what it found, and which file holds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Finding:
    """The closing words of a command.

    headline: one plain sentence. columns, rows: a short table (may be empty).
    files: what → where. failed: the command ran, and what it looked for is not so (exit code 1).
    """

    headline: str
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    files: Mapping[str, Path] = field(default_factory=dict)
    failed: bool = False
