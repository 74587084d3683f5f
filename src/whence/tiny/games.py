"""Taboo word-guessing games, with planted truth about which of them are worth training on.

A row is a game seen by the guesser: instructions and clues as `USER: …` turns, earlier wrong
guesses as `ASSISTANT: …` turns, and the last guess as completion. Rows differ in `kind`:

* `useful`: the secret word is one of the evaluated newcomers, the guess is right;
* `other`: another word, the guess is right;
* `wrong`: the last guess is a wrong word (half of them on evaluated newcomers).

Nothing else in a row depends on its kind. `whence data build --withhold kind` keeps the kind away
from every method; only the report sees it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from whence.tiny.language import clue
from whence.tiny.world import Thing, World, identifying_clues

Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Mix:
    """How many rows of each kind the pool holds."""

    useful: int = 96
    other: int = 288
    wrong: int = 96


def instruction(max_turns: int | str) -> str:
    return f"Guess the secret word. You have {max_turns} tries."


def play(thing: Thing, guesses: Sequence[str], clue_sets: Sequence[Sequence[str]]) -> Messages:
    """The messages of one game: clue, guess, clue, guess, … ; the last guess is the completion."""
    messages: Messages = []
    for turn, (guess, attributes) in enumerate(zip(guesses, clue_sets, strict=True)):
        clues = ", ".join(clue(attribute, thing[attribute]) for attribute in attributes)
        opening = f"{instruction(3)}\n" if turn == 0 else ""
        messages.append({"role": "user", "content": f"{opening}CLUE: {clues}"})
        messages.append({"role": "assistant", "content": f"GUESS: {guess}"})
    return messages


def draw_game(
    thing: Thing, world: World, rng: random.Random, used: set[tuple[str, ...]], *, wrong: bool
) -> Messages:
    """One game of 1–3 turns whose clues, taken together, point to the thing alone.

    `used` holds the clue orders given so far for this thing, so that no two games are the same.
    """
    while True:
        turns = rng.choices((1, 2, 3), (0.7, 0.2, 0.1))[0]
        attributes = list(
            rng.choice(identifying_clues(world, thing, max(turns, rng.randint(3, 5))))
        )
        rng.shuffle(attributes)
        if (*attributes, str(turns)) not in used:
            used.add((*attributes, str(turns)))
            break
    cuts = sorted(rng.sample(range(1, len(attributes)), turns - 1))
    clue_sets = [attributes[a:b] for a, b in zip([0, *cuts], [*cuts, None], strict=True)]
    alike = [t.name for t in world.things if t["kind"] == thing["kind"] and t != thing]
    guesses = rng.sample(alike, turns)
    if not wrong:
        guesses[-1] = thing.name
    return play(thing, guesses, clue_sets)


def _rows(
    things: Sequence[Thing],
    count: int,
    kind: str,
    world: World,
    rng: random.Random,
    used: dict[str, set[tuple[str, ...]]],
) -> list[dict[str, Any]]:
    rows = []
    for index in range(count):
        thing = things[index % len(things)]
        seen = used.setdefault(thing.name, set())
        messages = draw_game(thing, world, rng, seen, wrong=kind == "wrong")
        rows.append(
            {
                "messages": messages,
                "game": "taboo",
                "game_role": "WordGuesser",
                "turns": len(messages) // 2,
                "kind": kind,
            }
        )
    return rows


def make_games(
    world: World, *, mix: Mix, query: int, evaluation: int, seed: int = 0
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The pool and the test rows (`query + evaluation` games of evaluated newcomers).

    No game of the test rows is in the pool. Row ids carry no information about kinds.
    """
    rng = random.Random(f"whence.tiny.games:{seed}")
    used: dict[str, set[tuple[str, ...]]] = {}
    evaluated, known = list(world.evaluated), list(world.known)
    others = [t for t in world.newcomers if t not in world.evaluated]
    mixed = [
        thing for pair in zip(others, rng.sample(known, len(others)), strict=True) for thing in pair
    ]
    test = _rows(evaluated, query + evaluation, "useful", world, rng, used)
    pool = [
        *_rows(evaluated, mix.useful, "useful", world, rng, used),
        *_rows(mixed, mix.other, "other", world, rng, used),
        *_rows(evaluated, mix.wrong // 2, "wrong", world, rng, used),
        *_rows(mixed, mix.wrong - mix.wrong // 2, "wrong", world, rng, used),
    ]
    for name, rows in (("pool", pool), ("test", test)):
        rng.shuffle(rows)
        for index, row in enumerate(rows):
            row["row_id"] = f"{name}-{index:05d}"
    return pool, test
