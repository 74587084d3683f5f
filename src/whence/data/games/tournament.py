"""Many games at once, each in a slot of its own: a slow game holds up no other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from whence.data.games.backend import Ask, AskError, Backend, Reply
from whence.data.games.ledger import Ledger
from whence.data.games.play import Asking, Manner, Over, Table, play
from whence.data.games.records import cause_of, game_record
from whence.data.games.schedule import Game
from whence.errors import WhenceError

REQUEST_CAUSES = frozenset(
    {"rate_limit", "server_error", "connection", "timeout", "bad_reply", "refused"}
)
"""Errors of requests."""
PASSING_CAUSES = REQUEST_CAUSES - {"refused"}
"""Those that may pass: a game that ended in one is played again when its run is resumed."""
OUTAGE = 10
"""Games that fail by requests one after the other, and more where more are played at once, after
which the endpoint is taken to be down and the run stops.
"""


class Outage(WhenceError):  # noqa: N818 (it names what is the matter)
    """The endpoint answers no more; the games finished so far are kept."""


@dataclass(frozen=True)
class Limits:
    """concurrency: games in progress at once. seconds: for one game, from its first request on."""

    concurrency: int
    seconds: float


def counted(backend: Backend, ledger: Ledger) -> Asking:
    """`backend.ask` with each call counted as one request: for backends that keep no ledger."""

    async def ask(ask: Ask) -> Reply:
        ledger.sent(ask, 1)
        try:
            reply = await backend.ask(ask)
        except AskError as error:
            ledger.failed(ask, 1, error.cause)
            raise
        ledger.answered(ask, reply)
        return reply

    return ask


async def play_games(
    games: Sequence[Game],
    ask: Asking,
    ledger: Ledger,
    manner: Manner,
    limits: Limits,
    finished: Callable[[dict[str, Any]], None],
) -> None:
    """Play all games, `limits.concurrency` at once, and hand each record to `finished`.

    Raises Outage, and what ends a run (BadInput of a backend), after which nothing is in progress.
    """
    waiting = iter(games)
    outage = _OutageWatch(max(OUTAGE, 2 * limits.concurrency))

    async def slot(games: Iterator[Game]) -> None:
        for game in games:
            record = await _play_one(game, ask, ledger, manner, limits.seconds)
            finished(record)
            outage.see(record)

    slots = [asyncio.create_task(slot(waiting)) for _ in range(min(limits.concurrency, len(games)))]
    try:
        await asyncio.gather(*slots)
    finally:
        for task in slots:
            task.cancel()
        await asyncio.gather(*slots, return_exceptions=True)


async def _play_one(
    game: Game, ask: Asking, ledger: Ledger, manner: Manner, seconds: float
) -> dict[str, Any]:
    table = Table(game)
    outcome, error = "error", None
    try:
        async with asyncio.timeout(seconds) as limit:
            outcome = await play(table, manner, ask)
    except Over as over:
        outcome, error = over.outcome, str(over)
    except AskError as failed:
        error = str(failed)
    except TimeoutError:
        if not limit.expired():
            raise
        error = f"budget_seconds: not over after {seconds:g} s"
    return game_record(table, outcome, error, ledger.of_game.pop(game.game_id, {}))


class _OutageWatch:
    """Counts games that failed by requests with no other game ending between them."""

    def __init__(self, most: int) -> None:
        self._most, self._row = most, 0

    def see(self, record: dict[str, Any]) -> None:
        self._row = self._row + 1 if cause_of(record) in PASSING_CAUSES else 0
        if self._row >= self._most:
            raise Outage(
                f"{self._row} games in a row failed, the last by {record['error']}; nothing is "
                "lost: run the same command again to go on once the endpoint answers"
            )


def to_the_end(playing: Coroutine[Any, Any, None]) -> None:
    """Run `playing` to its end, also from a notebook, whose own loop runs already.

    It then plays in a thread of its own; an interrupt of the notebook's cell ends it there too.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(playing)
        return
    loop = asyncio.new_event_loop()
    task = loop.create_task(playing)

    def run() -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(task)
        finally:
            loop.close()

    with ThreadPoolExecutor(max_workers=1) as thread:
        done = thread.submit(run)
        try:
            done.result()
        except KeyboardInterrupt:
            with suppress(RuntimeError):  # where it has just come to its end
                loop.call_soon_threadsafe(task.cancel)
            raise
