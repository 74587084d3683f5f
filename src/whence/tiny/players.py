"""Players for `whence games generate`: words to play, and games to learn both parts from.

The instances file is clembench's, with the tiny world's words and its own short prompts: 12
evaluated newcomers, 24 others and 24 known things. A describer that has learned its rows gives true
clues, even about newcomers, of which the base model knows the names alone; a guesser that has
learned its rows finds them. How well they play is up to how long they are trained.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from whence.tiny.games import Messages, draw_game, instruction
from whence.tiny.world import Thing, World

TURNS = 3
OTHERS = 24
"""Words of each experiment besides the evaluated ones."""
RELATED = 3

GUESSER_PROMPT = f"{instruction('$N$')}\n$CLUE$"
"""With the first clue in it, exactly what a game of `whence tiny make --kind games` begins with."""
DESCRIBER_PROMPT = (
    "Describe the secret word. There are $N$ tries.\nSECRET: $TARGET_WORD$\nDo not say:\n$REL_WORD$"
)


def words_to_play(world: World) -> dict[str, Sequence[Thing]]:
    """Experiment → its things, the same for every seed."""
    others = [thing for thing in world.newcomers if thing not in world.evaluated]
    rng = random.Random("whence.tiny.players:words")
    return {
        "evaluated": world.evaluated,
        "newcomers": rng.sample(others, OTHERS),
        "known": rng.sample(world.known, OTHERS),
    }


def make_instances(world: World) -> dict[str, Any]:
    """The instances file, as `whence.data.instances.read_instances` reads it."""
    return {
        "experiments": [
            {
                "name": name,
                "max_turns": TURNS,
                "describer_initial_prompt": DESCRIBER_PROMPT,
                "guesser_initial_prompt": GUESSER_PROMPT,
                "game_instances": [
                    {
                        "game_id": number,
                        "target_word": thing.name,
                        "related_word": related_words(world, thing),
                    }
                    for number, thing in enumerate(things)
                ],
            }
            for name, things in words_to_play(world).items()
        ]
    }


def related_words(world: World, thing: Thing) -> list[str]:
    """Names of other things of its kind, which a describer must not say."""
    alike = [other.name for other in world.things if other["kind"] == thing["kind"]]
    alike.remove(thing.name)
    return random.Random(f"whence.tiny.players:{thing.name}").sample(alike, RELATED)


def describer_view(world: World, thing: Thing, game: Messages) -> Messages:
    """A guesser's game as its describer saw it, up to the last clue."""
    told = DESCRIBER_PROMPT.replace("$N$", str(TURNS)).replace("$TARGET_WORD$", thing.name)
    told = told.replace("$REL_WORD$", "\n".join(f"- {w}" for w in related_words(world, thing)))
    said = [
        {
            "role": "assistant" if message["role"] == "user" else "user",
            "content": message["content"].removeprefix(f"{instruction(TURNS)}\n"),
        }
        for message in game[:-1]
    ]
    return [{"role": "user", "content": told}, *said]


def make_players(
    world: World, count: int, seed: int = 0
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """`count` rows of describers and as many of guessers, of all words to play in equal shares.

    The last clue, or the last guess, is what a row teaches; clues are true and guesses right. No
    two games of a part are the same.
    """
    things = [thing for some in words_to_play(world).values() for thing in some]
    rows: list[list[Mapping[str, Any]]] = []
    for part in ("describer", "guesser"):
        rng = random.Random(f"whence.tiny.players:{part}:{seed}")
        used: dict[str, set[tuple[str, ...]]] = {}
        drawn = []
        for thing in (things[i % len(things)] for i in range(count)):
            game = draw_game(thing, world, rng, used.setdefault(thing.name, set()), wrong=False)
            drawn.append(game if part == "guesser" else describer_view(world, thing, game))
        rng.shuffle(drawn)
        rows.append(
            [
                {"messages": messages, "row_id": f"{part}-{i:05d}"}
                for i, messages in enumerate(drawn)
            ]
        )
    return rows[0], rows[1]
