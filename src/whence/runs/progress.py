"""How far a long loop is, on stderr: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

Item = TypeVar("Item")

QUIET_SECONDS = 2.0
"""Work shorter than this is not reported at all."""
LINE_SECONDS = 5.0
"""Least time between two plain lines, so that logs stay readable."""


def track(
    items: Iterable[Item], total: int | None = None, label: str = "working", unit: str = "rows"
) -> Iterator[Item]:
    """Yield from `items`, reporting each one as done when the next is asked for.

    total: how many there will be; taken from `len(items)` where that exists, else unknown.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with Progress(label, total, unit) as progress:
        for item in items:
            yield item
            progress.advance()


class Progress:
    """One piece of work under way: `with Progress("scoring", total=5000) as p: p.advance(32)`.

    Pieces may be nested; on a terminal each has its own bar. `total` may be unknown, and what was
    done by an earlier attempt is given as `done`, so that the rate counts only this one.
    """

    def __init__(
        self, label: str, total: int | None = None, unit: str = "rows", done: int = 0
    ) -> None:
        self.label, self.total, self.unit, self.done = label, total, unit, done
        self._first = done
        self._bar: _Bar | None = None

    def __enter__(self) -> Self:
        self._started = self._spoke = time.monotonic()
        if sys.stderr.isatty():
            self._bar = _Bar(self)
        return self

    def advance(self, n: int = 1) -> None:
        """Count `n` more as done."""
        self.done += n
        if self._bar:
            self._bar.show(self)
            return
        now = time.monotonic()
        if now - self._spoke >= LINE_SECONDS:
            self._spoke = now
            print(self._line(now - self._started), file=sys.stderr, flush=True)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.close()
        seconds = time.monotonic() - self._started
        if kind is None and seconds >= QUIET_SECONDS:
            line = f"{self.label}: {self.done:,} {self.unit} in {_clock(seconds)}"
            print(line, file=sys.stderr, flush=True)

    def _line(self, seconds: float) -> str:
        rate = (self.done - self._first) / seconds
        done = f"{self.done:,}" + (f"/{self.total:,}" if self.total is not None else "")
        line = f"{self.label}: {done} {self.unit}, {_rate(rate)} {self.unit}/s"
        if self.total is not None and rate > 0:
            line += f", {_clock(max(0, self.total - self.done) / rate)} left"
        return line


class _Bar:
    """A row of the one live display that a terminal can hold, shared by nested work."""

    display: RichProgress | None = None
    rows = 0

    def __init__(self, work: Progress) -> None:
        if _Bar.display is None:
            _Bar.display = _display()
            _Bar.display.start()
        _Bar.rows += 1
        self.task = _Bar.display.add_task(
            work.label, total=work.total, completed=work.done, unit=work.unit
        )

    def show(self, work: Progress) -> None:
        if _Bar.display:
            _Bar.display.update(self.task, completed=work.done)

    def close(self) -> None:
        if _Bar.display:
            _Bar.display.remove_task(self.task)
            _Bar.rows -= 1
            if _Bar.rows == 0:
                _Bar.display.stop()
                _Bar.display = None


def _display() -> RichProgress:
    # rich costs 0.1 s to import and most commands' --help never shows a bar
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Display
    from rich.text import Text

    class SpeedColumn(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{_rate(speed)}/s", style="progress.data.speed")

    return Display(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        SpeedColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=Console(stderr=True),
        transient=True,
    )


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def _clock(seconds: float) -> str:
    """`7 s`, `3:05` or `1:02:03`: what a person reads at a glance."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
