"""`registry.jsonl`: what happened to each task, one line an event, appended by the driver alone."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from whence.errors import BadInput, WhenceError
from whence.runs.atomic import whole_file
from whence.runs.jsonfile import plain
from whence.sweep.layout import registry_file

State = Literal["started", "done", "failed", "died", "blocked"]
SYNC_SECONDS = 1.0
"""Events of so long may be lost with the power; their tasks are then asked again, and answer at
once from their folders."""


@dataclass(frozen=True)
class Event:
    """One line.

    state: started (given to a worker), done, failed (it raised), died (its worker ended), blocked
    (a task that it needs failed for good). attempt: from 1, over all runs of the sweep. at: UTC.
    log: below the sweep's folder. seconds, headline, error, peak_memory_bytes, reused: see
    `whence.sweep.execute.outcome.Outcome`.
    """

    task: str
    state: State
    attempt: int
    at: str
    seconds: float | None = None
    where: str | None = None
    log: str | None = None
    error: str | None = None
    headline: str | None = None
    peak_memory_bytes: int | None = None
    reused: bool = False


@dataclass
class TaskState:
    """Where a task stands: its last event, and all of them.

    seconds: of the attempt that did the work, an answer from a whole folder aside.
    """

    state: State
    attempts: int = 0
    seconds: float | None = None
    where: str | None = None
    log: str | None = None
    error: str | None = None
    headline: str | None = None
    peak_memory_bytes: int | None = None
    events: list[Event] = field(default_factory=list)

    def take(self, event: Event) -> None:
        self.state = event.state
        self.attempts = max(self.attempts, event.attempt)
        self.log = event.log or self.log
        self.error = event.error
        if event.state != "started":
            self.where, self.headline = event.where, event.headline
            if not (event.reused and self.seconds is not None):
                self.seconds, self.peak_memory_bytes = event.seconds, event.peak_memory_bytes
        self.events.append(event)


def read_registry(home: Path) -> dict[str, TaskState]:
    """Task id → where it stands; tasks that nothing happened to are absent.

    May be read while a driver writes. Raises BadInput naming a line that is no event; a last line
    without its end is one that is being written, or was when its driver died, and is passed over.
    """
    path = registry_file(home)
    states: dict[str, TaskState] = {}
    if path.is_file():
        for number, line, event in _events(path):
            if event is None and line.endswith(b"\n"):
                raise BadInput(
                    f"{path}, line {number}: not an event; `whence sweep run` repairs it"
                )
            if event is not None:
                _take(states, event)
    return states


class Registry:
    """The file, open for one driver. `states` follows every event.

    Opening takes away what a killed driver left unfinished, or a machine without power unreadable;
    every line that is an event stays.
    """

    def __init__(self, home: Path) -> None:
        self.path = registry_file(home)
        self.states: dict[str, TaskState] = {}
        self.path.touch()
        kept: list[bytes] = []
        for _, line, event in _events(self.path):
            if event is not None and line.endswith(b"\n"):
                _take(self.states, event)
                kept.append(line)
        if sum(map(len, kept)) != self.path.stat().st_size:
            with whole_file(self.path) as repaired:
                repaired.write_bytes(b"".join(kept))
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        self._synced = time.monotonic()

    def append(self, event: Event) -> None:
        """Write one event down. It is in the file when this returns, and on the disk soon after.

        Raises WhenceError where it does not fit.
        """
        known = {k: v for k, v in asdict(event).items() if v is not None and v is not False}
        line = (json.dumps(plain(known), ensure_ascii=False, allow_nan=False) + "\n").encode()
        try:
            if os.write(self._file, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise WhenceError(
                f"{self.path}: cannot be written on ({error.strerror}); make room, and run the "
                "same command again"
            ) from None
        _take(self.states, event)
        if time.monotonic() - self._synced > SYNC_SECONDS:
            self.sync()

    def attempts(self, task: str) -> int:
        """How often it was given to a worker, by this driver and those before."""
        return self.states[task].attempts if task in self.states else 0

    def sync(self) -> None:
        """Have the disk hold what was appended."""
        os.fsync(self._file)
        self._synced = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.sync()
        os.close(self._file)


def now() -> str:
    """This moment as events have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _take(states: dict[str, TaskState], event: Event) -> None:
    if event.task not in states:
        states[event.task] = TaskState(event.state)
    states[event.task].take(event)


def _events(path: Path) -> Iterator[tuple[int, bytes, Event | None]]:
    """(number, line, event or None where it is none)."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                found: Mapping[str, Any] = json.loads(line)
                yield number, line, Event(**found)
            except (ValueError, TypeError):
                yield number, line, None
