"""Which word a game was about, also where nobody guessed it.

A row of a word game says at most what was guessed last, and in a lost game that is a wrong word.
The word itself is known from the instances file, by (experiment, task_id); without one from the
games themselves: the describer was told it, and where a guesser won it is the last guess. Both hold
for the other games of the same instance too, as long as those agree: releases of a benchmark number
other words alike, and then only games of the same split, or of the same model, can say it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from whence.data.evaluate.guesses import is_won, parse_guess, plain_word
from whence.data.instances import Instances
from whence.data.sources.episode import Episode, Message
from whence.errors import BadInput

TOLD = re.compile(r"target word that you need to describe[^\n]*\n+[ \t]*(\S[^\n]*)")
"""The describer's prompt of clembench's Taboo, and the word in it."""

NUMBERED = re.compile(r"^\d+_(?=.)")

Key = tuple[str | None, ...]


@dataclass
class TargetWords:
    """What is known of the words, gathered while episodes are read.

    instances: the file that decides, where one is given. said: games that told their word → plain
    form → as written, under each of their keys. sources: what `of` went by → episodes.
    """

    instances: Instances | None = None
    said: dict[Key, dict[str, str]] = field(default_factory=dict)
    sources: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        listed = self.instances.by_task if self.instances else {}
        self._listed = {
            (_experiment(experiment), task): one.target_word
            for (experiment, task), one in listed.items()
        }

    def hear(self, episode: Episode) -> None:
        """Take note of what an episode, of whatever role, says of its word.

        Raises BadInput where the instances file says another word.
        """
        word, how = told_by(episode)
        if word is None:
            return
        listed = self._listed.get(_instance(episode))
        if listed is not None and plain_word(listed) != plain_word(word):
            assert self.instances
            raise BadInput(
                f'{episode.place}: {how} "{word}", but {self.instances.path} has "{listed}" for '
                f"{episode.experiment}, {episode.task_id}; give the instances file that these "
                "games were played with, or none"
            )
        for key in _keys(episode):
            self.said.setdefault(key, {}).setdefault(plain_word(word), word)

    def of(self, episode: Episode) -> str | None:
        """The word of an episode, None where nothing says it. Call it when all have been heard."""
        word, source = self._find(episode)
        self.sources[source] += 1
        return word

    def check(self, episodes: Sequence[Episode]) -> None:
        """Raise BadInput for an instances file that knows none of these games."""
        if self.instances and episodes and not any(_instance(e) in self._listed for e in episodes):
            names = ", ".join(experiment.name for experiment in self.instances.experiments)
            raise BadInput(
                f"--instances {self.instances.path}: has none of these games, of which the first "
                f"is {episodes[0].experiment}, {episodes[0].task_id}; its experiments are {names}"
            )

    def _find(self, episode: Episode) -> tuple[str | None, str]:
        listed = self._listed.get(_instance(episode))
        if listed is not None:
            return listed, "instances"
        own, _ = told_by(episode)
        if own is not None:
            return own, "own_row"
        for key in _keys(episode):
            words = self.said.get(key, {})
            if len(words) == 1:
                return next(iter(words.values())), "other_rows"
        return None, "unknown"


def told_by(episode: Episode) -> tuple[str | None, str]:
    """The word that an episode itself is certain of, and how, for a message; None without one."""
    if episode.word:
        return episode.word, "was played with"
    prompt = next((m["content"] for m in episode.messages if m["role"] == "user"), "")
    told = TOLD.search(prompt)
    if told:
        return told[1].strip(), "its describer was told"
    if is_won(episode.outcome):
        return _last_guess(episode.messages), "was won with"
    return None, ""


def _last_guess(messages: Sequence[Message]) -> str | None:
    answers = [m["content"] for m in messages if m["role"] == "assistant"]
    return parse_guess(answers[-1]) if answers else None


def _keys(episode: Episode) -> list[Key]:
    """What an episode shares with others of the same word, the surest first."""
    game = _instance(episode)
    found: list[Key] = [(*game, episode.split), game]
    return found if episode.model is None else [(*game, episode.split, episode.model), *found]


def _instance(episode: Episode) -> tuple[str, str]:
    return _experiment(episode.experiment), episode.task_id


def _experiment(name: str) -> str:
    """Without the number that result folders have before it: `0_high_en` is `high_en`."""
    return NUMBERED.sub("", name)
