"""Folders of games that clembench recorded: `**/interactions.json`, one episode each.

    results/<models>/<game>/<n>_<experiment>/episode_<k>/{interactions,instance,scores}.json
    results/<models>/<game>/<experiment>/instance_<id>/{interactions,instance,scores}.json

Two ages of the format are read: in the older one a player is "WordGuesser, model" and folder names
say what was played; newer ones have `meta`, and players as objects with `game_role`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from whence.data.sources.episode import Message
from whence.data.sources.target_word import NUMBERED
from whence.errors import BadInput
from whence.runs.jsonfile import read_json

FILE = "interactions.json"
GAME_MASTER = "GM"
PROGRAMMATIC = "programmatic"
# Roles of a game whose players are only numbered in files of the older format.
NUMBERED_ROLES = {"taboo": {"Player 1": "WordDescriber", "Player 2": "WordGuesser"}}
OUTCOMES = {"Aborted": "aborted", "Success": "success", "Lose": "failure"}
"""What `scores.json` calls it → what data sets of games call it. An abortion overrides the rest."""
LOGGED = {
    "invalid format": "aborted",
    "correct guess": "success",
    "invalid clue": "failure",
    "max turns reached": "failure",
    "max rounds reached": "failure",
}
"""Taboo's own log, where a run was not scored."""


class Recorded:
    """One recorded game. Raises BadInput, naming the file, for what is not one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        raw = read_json(path)
        if not isinstance(raw, dict) or not isinstance(raw.get("players"), dict):
            raise BadInput(f'{path}: not a recorded game; expected an object with "players"')
        turns = raw.get("turns")
        if not isinstance(turns, list) or not all(isinstance(turn, list) for turn in turns):
            raise BadInput(f'{path}: not a recorded game; "turns" is not a list of lists of events')
        self._raw, self._turns = raw, turns
        meta = raw.get("meta")
        self._meta: Mapping[str, Any] = meta if isinstance(meta, dict) else {}
        episode = path.absolute().parent
        self.game = str(self._meta.get("game_name") or _said_by(raw) or episode.parents[1].name)
        experiment = str(self._meta.get("experiment_name") or episode.parent.name)
        self.experiment = NUMBERED.sub("", experiment)
        self._instance = _beside(path, "instance.json")
        self.word = _text(self._instance.get("target_word"))
        task = self._meta.get("game_id", self._instance.get("game_id"))
        self.task_id = _number_at_the_end(episode.name) if task is None else str(task)

    @property
    def players(self) -> list[tuple[str, str, str | None]]:
        """Name, role and model of every player, the game master left out.

        The role is the player's name where the file says no other.
        """
        found = []
        for name, player in self._raw["players"].items():
            if name == GAME_MASTER:
                continue
            if isinstance(player, dict):
                role, model = player.get("game_role"), player.get("model_name")
            elif isinstance(player, str):
                role, comma, model = player.partition(",")
                if not comma:
                    role, model = None, player
            else:
                raise BadInput(f"{self.path}: the player {name} is neither text nor an object")
            known = NUMBERED_ROLES.get(self.game, {}).get(name, name)
            found.append((name, (_text(role) or known), _text(model)))
        return found

    @property
    def outcome(self) -> str | None:
        """success, failure or aborted: by its scores, else by its log; None where neither says."""
        scores = _beside(self.path, "scores.json").get("episode scores")
        for values in (scores, self._raw):
            marks = values if isinstance(values, dict) else {}
            for mark, outcome in OUTCOMES.items():
                if marks.get(mark) in (1, True):
                    return outcome
        logged = {LOGGED.get(_type(event)) for turn in self._turns for event in turn}
        return next((outcome for outcome in OUTCOMES.values() if outcome in logged), None)

    def messages(self, player: str) -> list[Message]:
        """What was said to a player (user) and by it (assistant), in order."""
        found: list[Message] = []
        for number, turn in enumerate(self._turns):
            for event in turn:
                if not isinstance(event, dict) or player not in (
                    event.get("from"),
                    event.get("to"),
                ):
                    continue
                action = event.get("action")
                content = action.get("content") if isinstance(action, dict) else None
                if not isinstance(content, str):
                    raise BadInput(
                        f"{self.path}: in turn {number}, what {event.get('from')} says to "
                        f"{event.get('to')} is not text"
                    )
                role = "user" if event.get("to") == player else "assistant"
                found.append({"role": role, "content": content})
        return found


def has_episodes(folder: Path) -> bool:
    """Whether anything below `folder` is a recorded game."""
    return next(_files(folder), None) is not None


def recorded_games(folder: Path) -> Sequence[Path]:
    """The files of all recorded games below `folder`, sorted by name, `episode_2` before `_10`."""
    return sorted(_files(folder), key=lambda path: _natural(path.relative_to(folder)))


def _files(folder: Path) -> Iterator[Path]:
    # os.walk and not rglob, which would list the other nine files of each episode as well.
    for place, inner, names in os.walk(folder, followlinks=False):
        inner.sort()
        if FILE in names:
            yield Path(place, FILE)


def _natural(path: Path) -> list[tuple[bool, int, str]]:
    pieces = re.split(r"(\d+)", path.as_posix())
    return [(p.isdecimal(), int(p) if p.isdecimal() else 0, p) for p in pieces if p]


def _beside(path: Path, name: str) -> Mapping[str, Any]:
    other = path.with_name(name)
    if not other.is_file():
        return {}
    raw = read_json(other)
    if not isinstance(raw, dict):
        raise BadInput(f"{other}: expected an object")
    return raw


def _said_by(raw: Mapping[str, Any]) -> str | None:
    """The game by what older files say of the game master: "Game master for taboo"."""
    said = raw["players"].get(GAME_MASTER)
    found = re.fullmatch(r"Game master for (\S+)", said) if isinstance(said, str) else None
    return found[1] if found else None


def _type(event: Any) -> str:
    action = event.get("action") if isinstance(event, dict) else None
    return str(action.get("type")) if isinstance(action, dict) else ""


def _number_at_the_end(name: str) -> str:
    found = re.search(r"_(\d+)$", name)
    return str(int(found[1])) if found else name


def _text(value: Any) -> str | None:
    return value.strip() or None if isinstance(value, str) else None
