"""How far a sweep is: a table that stands on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from whence.runs.progress import LINE_SECONDS

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

TABLE_SECONDS = 0.25
"""Least time between two drawings of the table."""


@dataclass
class KindCount:
    """Tasks of one kind. here: those finished in this run of the driver."""

    total: int = 0
    done: int = 0
    running: int = 0
    failed: int = 0
    here: int = 0


@dataclass
class Standing:
    """What there is to show. left: seconds, None while unknown. last: the last failure, one line.
    note: what the executor has to say."""

    kinds: dict[str, KindCount]
    seconds: float
    left: float | None = None
    last: str | None = None
    note: str | None = None

    def sum_of(self, count: str) -> int:
        return sum(getattr(kind, count) for kind in self.kinds.values())


class Display:
    """Shown on stderr while it is open: `with Display() as d: d.show(lambda: standing)`."""

    def __init__(self) -> None:
        self._live: Live | None = None
        self._next = time.monotonic() + LINE_SECONDS

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), transient=True, auto_refresh=False)
            self._live.start()
            self._next = 0.0
        return self

    def show(self, standing: Callable[[], Standing]) -> None:
        """Bring it up to date, where it is time to. standing: made only then."""
        now = time.monotonic()
        if now < self._next:
            return
        if self._live:
            self._live.update(_table(standing()), refresh=True)
            self._next = now + TABLE_SECONDS
        else:
            print(line(standing()), file=sys.stderr, flush=True)
            self._next = now + LINE_SECONDS

    def say(self, text: str) -> None:
        """A line that stays, above the table."""
        if self._live:
            self._live.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()


def line(standing: Standing) -> str:
    """`sweep: 120/768 tasks, 2 running, 1 failed, 3.4 tasks/s, 3:05 left`."""
    parts = [f"sweep: {standing.sum_of('done'):,}/{standing.sum_of('total'):,} tasks"]
    parts.append(f"{standing.sum_of('running'):,} running")
    if standing.sum_of("failed"):
        parts.append(f"{standing.sum_of('failed'):,} failed")
    parts.append(f"{_rate(standing.sum_of('here'), standing.seconds)} tasks/s")
    if standing.left is not None:
        parts.append(f"{clock(standing.left)} left")
    told = ", ".join(parts)
    for more in (standing.last, standing.note):
        told += f"; {more}" if more else ""
    return told


def clock(seconds: float) -> str:
    """`7 s`, `3:05` or `1:02:03`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _table(standing: Standing) -> Table:
    from rich.table import Table
    from rich.text import Text

    left = "time left not known yet" if standing.left is None else f"{clock(standing.left)} left"
    caption = f"{clock(standing.seconds)} so far, {left}"
    for label, text in (("last failure: ", standing.last), ("", standing.note)):
        caption += f"\n{label}{text}" if text else ""
    table = Table(
        box=None, padding=(0, 2, 0, 0), caption=Text(caption), caption_justify="left",
        header_style="bold",
    )  # fmt: skip
    table.add_column("tasks")
    for column in ("done", "of", "running", "failed", "per second"):
        table.add_column(column, justify="right")
    for name, kind in standing.kinds.items():
        table.add_row(
            Text(name), f"{kind.done:,}", f"{kind.total:,}", f"{kind.running:,}",
            Text(f"{kind.failed:,}", style="red" if kind.failed else ""),
            _rate(kind.here, standing.seconds),
        )  # fmt: skip
    return table


def _rate(count: int, seconds: float) -> str:
    rate = count / seconds if seconds > 0 else 0.0
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
