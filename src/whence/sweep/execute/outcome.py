"""What came of one attempt at a task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Failure = Literal["bad_input", "error", "busy", "died", "lost"]
"""bad_input: its settings or files are wrong. error: it raised. busy: another process holds its
folder. died: its worker ended in the middle of it. lost: its worker ended before it began."""


@dataclass(frozen=True)
class Outcome:
    """seconds: wall time in the worker. headline: the finding's, where the result has one.
    reused: the folder was whole already. error: one line. where: host, process, node.
    peak_memory_bytes: largest resident size of the worker during the task (since it began, where
    the system cannot reset it)."""

    seconds: float
    where: str
    failure: Failure | None = None
    error: str | None = None
    headline: str | None = None
    reused: bool = False
    peak_memory_bytes: int | None = None

    @property
    def ok(self) -> bool:
        return self.failure is None
