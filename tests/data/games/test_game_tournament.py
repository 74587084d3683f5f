"""Many games at once: slots, slow games, outages, and what is left when a run is broken off."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from test_game_play import MANNER

from whence.data.games.backend import Ask, AskError, Reply
from whence.data.games.ledger import Ledger
from whence.data.games.schedule import Game, schedule
from whence.data.games.tournament import Limits, Outage, play_games
from whence.data.instances import read_instances
from whence.errors import BadInput


@pytest.fixture
def games(words_file: Path) -> list[Game]:
    """Sixteen games of one guesser."""
    return schedule(
        read_instances(words_file),
        describer="describer",
        guessers=("guesser",),
        games_per_guesser=16,
        max_turns=1,
        seed=1,
    )


def reply_to(ask: Ask) -> Reply:
    return Reply("CLUE: riddle" if ask.model == "describer" else "GUESS: pear", 1, 1)


def run(
    games: Sequence[Game], ask: Any, path: Path, *, concurrency: int = 4, seconds: float = 30
) -> list[dict[str, Any]]:
    """Records in the order in which games ended."""
    ended: list[dict[str, Any]] = []
    ledger = Ledger(path / "requests.tsv", 40)
    limits = Limits(concurrency, seconds)
    try:
        asyncio.run(play_games(games, ask, ledger, MANNER, limits, ended.append))
    finally:
        (path / "ended").write_text(str(len(ended)))
    return ended


def test_a_slow_game_holds_its_own_slot_and_no_other(games: list[Game], tmp_path: Path) -> None:
    slow, others = games[0].game_id, set()
    last: list[asyncio.Event] = []

    async def ask(ask: Ask) -> Reply:
        if not last:
            last.append(asyncio.Event())
        if ask.game_id == slow:
            await last[0].wait()  # for ever, if the others did not go on meanwhile
        elif ask.model == "guesser":
            others.add(ask.game_id)
            if len(others) == 15:
                last[0].set()
        return reply_to(ask)

    ended = run(games, ask, tmp_path, concurrency=2)
    assert len(ended) == 16
    assert slow in [record["game_id"] for record in ended[-2:]]


def test_no_more_games_than_slots(games: list[Game], tmp_path: Path) -> None:
    now, most = 0, 0

    async def ask(ask: Ask) -> Reply:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        return reply_to(ask)

    run(games, ask, tmp_path, concurrency=3)
    assert most == 3


def test_time_runs_out_for_one_game(games: list[Game], tmp_path: Path) -> None:
    async def ask(ask: Ask) -> Reply:
        if ask.game_id == games[2].game_id and ask.model == "guesser":
            await asyncio.sleep(60)
        return reply_to(ask)

    ended = run(games, ask, tmp_path, seconds=0.2)
    (cut,) = [record for record in ended if record["outcome"] == "error"]
    assert cut["game_id"] == games[2].game_id
    assert cut["error"] == "budget_seconds: not over after 0.2 s"
    assert cut["turns"][0]["clue"] == "CLUE: riddle", "what was said is kept"


def test_failures_in_a_row_are_an_outage_but_not_failures_among_others(
    games: list[Game], tmp_path: Path
) -> None:
    async def failing(ask: Ask) -> Reply:
        raise AskError("connection", "gone")

    async def every_other(ask: Ask) -> Reply:
        if games.index(next(g for g in games if g.game_id == ask.game_id)) % 2:
            raise AskError("connection", "gone")
        return reply_to(ask)

    async def refused(ask: Ask) -> Reply:
        raise AskError("refused", "this chat")

    with pytest.raises(Outage, match="10 games in a row failed, the last by connection: gone"):
        run(games, failing, tmp_path)
    outcomes = [r["outcome"] for r in run(games, every_other, tmp_path, concurrency=1)]
    assert outcomes.count("error") == 8
    assert len(run(games, refused, tmp_path)) == 16


def test_what_ends_the_run_ends_every_slot(games: list[Game], tmp_path: Path) -> None:
    cancelled = []

    async def ask(ask: Ask) -> Reply:
        if ask.game_id == games[3].game_id:
            await asyncio.sleep(0.01)
            raise BadInput("no such model")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(ask.game_id)
            raise
        return reply_to(ask)

    with pytest.raises(BadInput, match="no such model"):
        run(games, ask, tmp_path)
    assert cancelled == [game.game_id for game in games[:3]]
