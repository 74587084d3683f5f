"""One game of taboo between a describer and a guesser, as clembench plays it.

    describer  ← opening prompt          → "CLUE: …"      checked, repaired or the game is lost
    guesser    ← opening prompt + clue   → "GUESS: word"  the target: won; else the next turn
    describer  ← "GUESS: word"           → "CLUE: …"      and so on, `max_turns` times

A player's chat holds what was accepted, in its plain form. A reply that was not, and what the
player was told about it, is in the turn's record and in no later request: rows made of chats are
games without stumbling.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from whence.data.evaluate.guesses import plain_word
from whence.data.games.backend import Ask, Message, Reply
from whence.data.games.prompts import (
    EMPTY_CLUE,
    EMPTY_GUESS,
    clue_repair,
    describer_opening,
    guesser_opening,
    placeholder_repair,
)
from whence.data.games.replies import read_clue, read_guess, same_word
from whence.data.games.rules import Violation, forbidden_words, violations
from whence.data.games.schedule import Game, request_seed
from whence.runs.jsonfile import plain

Asking = Callable[[Ask], Awaitable[Reply]]


@dataclass(frozen=True)
class Manner:
    """How games are played. repair_attempts: further replies that a bad one is given.

    placeholders: guesses that only repeat the answer's form, unless they are the target.
    """

    seed: int
    strict: bool
    describer_temperature: float
    guesser_temperature: float
    describer_tokens: int
    guesser_tokens: int
    describer_repairs: int
    guesser_repairs: int
    placeholders: frozenset[str]


class Over(Exception):  # noqa: N818 (the game is over; nothing went wrong with the program)
    """The game ends here. outcome, cause and detail as `games.jsonl` has them."""

    def __init__(self, outcome: str, cause: str, detail: str) -> None:
        super().__init__(f"{cause}: {detail}")
        self.outcome, self.cause, self.detail = outcome, cause, detail


@dataclass
class Table:
    """What has been said in a game so far; whole at any moment, should the game be broken off."""

    game: Game
    describer: list[Message] = field(default_factory=list)
    guesser: list[Message] = field(default_factory=list)
    turns: list[dict[str, Any]] = field(default_factory=list)


async def play(table: Table, manner: Manner, ask: Asking) -> str:
    """Play a game to its end at an empty table; returns "success" or "failure".

    Raises Over where a player drops out, and what `ask` raises.
    """
    game = table.game
    forbidden = forbidden_words(game.instance)
    for turn in range(1, game.max_turns + 1):
        record: dict[str, Any] = {
            "turn": turn,
            "clue": None,
            "clue_violations": [],
            "guess": None,
            "guess_word": None,
            "describer_repairs": 0,
            "guesser_repairs": 0,
            "rejected": [],
        }
        table.turns.append(record)
        if turn == 1:
            opening = describer_opening(game.experiment, game.instance, game.max_turns)
        else:
            opening = table.turns[-2]["guess"]
        table.describer.append(_user(opening))

        clue, found = await _clue(
            table, record, manner, ask, lambda text: violations(text, forbidden)
        )
        record["clue"], record["clue_violations"] = f"CLUE: {clue}", plain(found)
        table.describer.append(_assistant(record["clue"]))

        clue_line = record["clue"]
        first = guesser_opening(game.experiment, clue_line, game.max_turns)
        table.guesser.append(_user(first if turn == 1 else clue_line))
        word = await _guess(table, record, manner, ask)
        record["guess"], record["guess_word"] = f"GUESS: {word}", word
        table.guesser.append(_assistant(record["guess"]))
        if same_word(word, game.instance.target_word):
            return "success"
    return "failure"


async def _clue(
    table: Table,
    record: dict[str, Any],
    manner: Manner,
    ask: Asking,
    judge: Callable[[str], Sequence[Violation]],
) -> tuple[str, Sequence[Violation]]:
    """A clue that is passed on, with the rules that it breaks where play is not strict."""
    chat = list(table.describer)
    for attempt in range(manner.describer_repairs + 1):
        record["describer_repairs"] = attempt
        reply = await ask(
            Ask(
                table.game.game_id,
                table.game.describer,
                chat,
                manner.describer_tokens,
                manner.describer_temperature,
                request_seed(manner.seed, table.game.game_id, record["turn"], attempt, "describer"),
            )
        )
        clue = read_clue(reply.text)
        found = judge(clue)
        if clue and not found:
            return clue, found
        last = attempt == manner.describer_repairs
        if clue and last and not manner.strict:
            return clue, found
        note = clue_repair(found) if clue else EMPTY_CLUE
        record["rejected"].append(
            {
                "role": "describer",
                "reply": reply.text,
                "reason": "rule_violation" if clue else "empty_clue",
                "violations": plain(found),
            }
        )
        chat = _told(table.describer, reply.text, note)
    if clue:
        words = ", ".join(f'"{one.word}" ({one.how}: "{one.forbidden}")' for one in found)
        raise Over("failure", "describer_rule_violation", words)
    raise Over("aborted", "describer_empty_clue", f"no clue in {attempt + 1} replies")


async def _guess(table: Table, record: dict[str, Any], manner: Manner, ask: Asking) -> str:
    """A guess that counts."""
    target = table.game.instance.target_word
    chat = list(table.guesser)
    for attempt in range(manner.guesser_repairs + 1):
        record["guesser_repairs"] = attempt
        reply = await ask(
            Ask(
                table.game.game_id,
                table.game.guesser,
                chat,
                manner.guesser_tokens,
                manner.guesser_temperature,
                request_seed(manner.seed, table.game.game_id, record["turn"], attempt, "guesser"),
            )
        )
        word = read_guess(reply.text, words=len(target.split()))
        placeholder = plain_word(word) in manner.placeholders and not same_word(word, target)
        if word and not placeholder:
            return word
        record["rejected"].append(
            {
                "role": "guesser",
                "reply": reply.text,
                "reason": "placeholder_guess" if word else "empty_guess",
                "violations": [],
            }
        )
        chat = _told(table.guesser, reply.text, placeholder_repair(word) if word else EMPTY_GUESS)
    if word:
        raise Over("aborted", "guesser_placeholder_guess", f'"{word}" in {attempt + 1} replies')
    raise Over("aborted", "guesser_empty_guess", f"no single word in {attempt + 1} replies")


def _told(chat: Sequence[Message], reply: str, note: str) -> list[Message]:
    """The chat with a bad reply and what is to be said about it; an empty reply leaves no message,
    which some servers refuse, and the note goes below the last one.
    """
    if reply.strip():
        return [*chat, _assistant(reply), _user(note)]
    return [*chat[:-1], _user(f"{chat[-1]['content']}\n\n{note}")]


def _user(text: str) -> Message:
    return {"role": "user", "content": text}


def _assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}
