"""Which games are played, in which order, under which names and seeds.

Every guesser plays the same words the same number of times, so that guessers are compared on the
same words and a difference between them is not one between their words.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from whence.data.instances import Instance, Instances, TabooExperiment

DEFAULT_TURNS = 3


@dataclass(frozen=True)
class Game:
    """One game to be played. repeat: 0 for the first game of this guesser with this word."""

    game_id: str
    experiment: TabooExperiment
    instance: Instance
    repeat: int
    max_turns: int
    describer: str
    guesser: str


def schedule(
    instances: Instances,
    *,
    describer: str,
    guessers: Sequence[str],
    games_per_guesser: int,
    max_turns: int | None,
    seed: int,
) -> list[Game]:
    """`games_per_guesser` games of each guesser: word by word, every guesser in turn.

    Words are shuffled within their experiment and taken from the experiments in turn; after the
    last word the next repeat begins in the same order. max_turns: None is what the file says, else
    three. A game's id says what it is of, and ends in a digest of all that its play depends on.
    """
    queues = []
    for experiment in instances.experiments:
        queue = list(experiment.instances)
        random.Random(f"{seed} {experiment.name}").shuffle(queue)
        queues.append([(experiment, one) for one in queue])
    longest = max(map(len, queues))
    words = [queue[i] for i in range(longest) for queue in queues if i < len(queue)]
    games = []
    for number in range(games_per_guesser):
        repeat, position = divmod(number, len(words))
        experiment, instance = words[position]
        turns = max_turns or experiment.max_turns or DEFAULT_TURNS
        for g, guesser in enumerate(guessers, start=1):
            place = (experiment.name, instance.task_id, repeat)
            stamp = hashlib.sha256(repr((seed, describer, guesser, *place, turns)).encode())
            readable = f"{_slug(experiment.name)}-{_slug(instance.task_id)}-g{g}-r{repeat}"
            game_id = f"{readable}-{stamp.hexdigest()[:8]}"
            games.append(Game(game_id, experiment, instance, repeat, turns, describer, guesser))
    return games


def request_seed(seed: int, game_id: str, turn: int, attempt: int, role: str) -> int:
    """What a request's sampling is seeded with: the same in every process and order of play."""
    digest = hashlib.sha256(repr((seed, game_id, turn, attempt, role)).encode()).digest()
    return int.from_bytes(digest[:8], "big") % 2**31


def _slug(name: str) -> str:
    return re.sub(r"[^\w.]+", "_", name)
