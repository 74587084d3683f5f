"""Every request, written down before it is sent, so that a killed process has paid for nothing
that is not counted.

One line a fact, tab-separated, appended at once:

    sent      game_id  model  attempt
    answered  game_id  model  prompt_tokens  completion_tokens
    failed    game_id  model  attempt  cause          "unreachable": it never left this machine

A run that is broken off between the line and the socket (killed, interrupted, stopped) leaves at
most one line too many per game in progress.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whence.data.games.backend import Ask, AskError, Reply

UNREACHABLE = "unreachable"
LINE = re.compile(r"sent(\t[^\t]+){2}\t\d+|(answered|failed)(\t[^\t]+){2}\t\d+\t[^\t]+")


@dataclass
class Spent:
    """What one model's requests came to. sent: requests that left for the server; retries: those
    among them that repeat a failed one.
    """

    sent: int = 0
    retries: int = 0
    answered: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def to_dict(self) -> dict[str, int]:
        return {
            "requests": self.sent,
            "retries": self.retries,
            "answered": self.answered,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
        }


@dataclass
class Ledger:
    """Requests of all processes of a run. most: requests that one game may send in this process.

    by_model, failures (cause → requests): over all processes. of_game: model → what the game spent
    in this process.
    """

    path: Path
    most: int
    by_model: dict[str, Spent] = field(default_factory=lambda: defaultdict(Spent))
    failures: Counter[str] = field(default_factory=Counter)
    of_game: dict[str, dict[str, Spent]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(Spent))
    )

    def __post_init__(self) -> None:
        for line in self._read():
            self._enter(line)
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def close(self) -> None:
        os.close(self._file)

    def sent(self, ask: Ask, attempt: int) -> None:
        """Count a request that is about to be sent. Raises AskError once the game's are spent."""
        spent = sum(one.sent for one in self.of_game[ask.game_id].values())
        if spent >= self.most:
            raise AskError(
                "budget_requests", f"{spent} requests sent, as many as --max-requests-per-game"
            )
        self._write(ask, "sent", attempt)
        mine = self.of_game[ask.game_id][ask.model]
        mine.sent += 1
        mine.retries += attempt > 1

    def answered(self, ask: Ask, reply: Reply) -> None:
        self._write(ask, "answered", reply.prompt_tokens, reply.completion_tokens)
        mine = self.of_game[ask.game_id][ask.model]
        mine.answered += 1
        mine.prompt_tokens += reply.prompt_tokens
        mine.completion_tokens += reply.completion_tokens

    def failed(self, ask: Ask, attempt: int, cause: str) -> None:
        """Count a request that brought no reply; one that never left is no request."""
        self._write(ask, "failed", attempt, cause)
        if cause == UNREACHABLE:
            mine = self.of_game[ask.game_id][ask.model]
            mine.sent -= 1
            mine.retries -= attempt > 1

    def total(self) -> Spent:
        """Over all models."""
        whole = Spent()
        for one in self.by_model.values():
            for name in vars(whole):
                setattr(whole, name, getattr(whole, name) + getattr(one, name))
        return whole

    def _write(self, ask: Ask, kind: str, *facts: object) -> None:
        fields = [kind, ask.game_id, ask.model, *map(str, facts)]
        line = "\t".join(field.replace("\t", " ").replace("\n", " ") for field in fields)
        os.write(self._file, (line + "\n").encode())
        self._enter(line.split("\t"))

    def _enter(self, line: list[str]) -> None:
        kind, model, facts = line[0], self.by_model[line[2]], line[3:]
        if kind == "sent":
            model.sent += 1
            model.retries += int(facts[0]) > 1
        elif kind == "answered":
            model.answered += 1
            model.prompt_tokens += int(facts[0])
            model.completion_tokens += int(facts[1])
        else:
            self.failures[facts[1]] += 1
            if facts[1] == UNREACHABLE:
                model.sent -= 1
                model.retries -= int(facts[0]) > 1

    def _read(self) -> Iterator[list[str]]:
        """Whole lines of earlier processes. A torn last one is cut off: it was not sent. Lines that
        a machine without power left unreadable are passed over.
        """
        if not self.path.exists():
            return
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(self.path, len(whole))
        for line in whole.decode(errors="replace").split("\n")[:-1]:
            if LINE.fullmatch(line):
                yield line.split("\t")


def per_model(spent: dict[str, Spent]) -> dict[str, Any]:
    """model → its figures, models in alphabetical order."""
    return {model: spent[model].to_dict() for model in sorted(spent)}
