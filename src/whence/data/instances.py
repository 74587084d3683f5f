"""Taboo's instances file: which words are to be guessed, and what players are told.

The format is clembench's `taboo/in/instances.json`: experiments (three frequency buckets) of game
instances, each with a target word and words that are forbidden beside it. A game is known by its
`(experiment, task_id)`; what data sets record of it is often only that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whence.errors import BadInput
from whence.runs.jsonfile import read_json


@dataclass(frozen=True)
class Instance:
    """One game to be played. task_id: its `game_id` in the file, as text.

    stems: as the file gives them, of the target and of the related words; may be empty.
    """

    experiment: str
    task_id: str
    target_word: str
    related_words: Sequence[str]
    target_stem: str = ""
    related_stems: Sequence[str] = ()


@dataclass(frozen=True)
class TabooExperiment:
    """Instances of one bucket. Prompts are templates as the file has them, or empty: `$N$`,
    `$TARGET_WORD$`, `$REL_WORD$` stand for the number of tries and the words.
    """

    name: str
    instances: Sequence[Instance]
    max_turns: int | None
    describer_prompt: str
    guesser_prompt: str


@dataclass(frozen=True)
class Instances:
    """The content of one file, in its order."""

    path: Path
    experiments: Sequence[TabooExperiment]

    @property
    def by_task(self) -> Mapping[tuple[str, str], Instance]:
        """(experiment, task_id) → its instance."""
        return {
            (one.experiment, one.task_id): one
            for experiment in self.experiments
            for one in experiment.instances
        }


def read_instances(path: Path) -> Instances:
    """Read an instances file.

    Raises BadInput, naming file, experiment and instance, where it is none, lacks a word, or has
    two instances under one id.
    """
    raw = read_json(path)
    listed = raw.get("experiments") if isinstance(raw, dict) else None
    if not isinstance(listed, list) or not listed:
        raise BadInput(
            f'{path}: not an instances file; expected an object with a list "experiments", as '
            "clembench's taboo/in/instances.json"
        )
    experiments = [_experiment(entry, f"{path}, experiment {i}") for i, entry in enumerate(listed)]
    names = [experiment.name for experiment in experiments]
    for name in names:
        if names.count(name) > 1:
            raise BadInput(f'{path}: two experiments are called "{name}"')
    return Instances(path, experiments)


def _experiment(entry: Any, where: str) -> TabooExperiment:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise BadInput(f'{where}: expected an object with a "name"')
    where = f"{where.rpartition(', experiment ')[0]}, experiment {entry['name']}"
    games = entry.get("game_instances")
    if not isinstance(games, list) or not games:
        raise BadInput(f'{where}: expected a list "game_instances" with games in it')
    instances = [_instance(game, entry["name"], where, i) for i, game in enumerate(games)]
    seen: set[str] = set()
    for one in instances:
        if one.task_id in seen:
            raise BadInput(f"{where}: two instances have game_id {one.task_id}")
        seen.add(one.task_id)
    turns = entry.get("max_turns")
    if turns is not None and (isinstance(turns, bool) or not isinstance(turns, int) or turns < 1):
        raise BadInput(f"{where}: max_turns is {turns!r}, a number of at least 1 was expected")
    return TabooExperiment(
        entry["name"],
        instances,
        turns,
        str(entry.get("describer_initial_prompt") or ""),
        str(entry.get("guesser_initial_prompt") or ""),
    )


def _instance(game: Any, experiment: str, where: str, number: int) -> Instance:
    where = f"{where}, instance {number}"
    if not isinstance(game, dict) or game.get("game_id") is None:
        raise BadInput(f'{where}: expected an object with a "game_id"')
    word = game.get("target_word")
    if not isinstance(word, str) or not any(map(str.isalnum, word)):
        raise BadInput(f'{where}: "target_word" is {word!r}, a word was expected')
    return Instance(
        experiment,
        str(game["game_id"]),
        word.strip(),
        _words(game, "related_word", where),
        str(game.get("target_word_stem") or "").strip(),
        _words(game, "related_word_stem", where),
    )


def _words(game: Mapping[str, Any], key: str, where: str) -> Sequence[str]:
    words = game.get(key) or []
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise BadInput(f'{where}: "{key}" is not a list of words')
    return tuple(word.strip() for word in words if word.strip())
