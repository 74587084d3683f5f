"""Files that planned tasks read and none of them makes: known when it is planned, checked when it
runs, so that no task computes on something else than its id says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from whence.errors import BadInput
from whence.runs.fingerprint import hash_path
from whence.sweep.tasks import Task

MADE = ("runs", "shared")
"""Folders of the sweep that tasks, and planning, write to."""


def inputs_of(tasks: Sequence[Task], home: Path) -> dict[str, str]:
    """Path → hash of its content, of every file and folder that a task names and none makes."""
    words = {word for task in tasks for word in _words(task.settings) if word.startswith("/")}
    named = {word for word in words if not _made(Path(word), home)}
    return {word: hash_path(Path(word)) for word in sorted(named) if Path(word).exists()}


def check_inputs(plans: Iterable[Mapping[str, Any]], home: Path) -> None:
    """Raise BadInput for a file that is gone or another one since its stage was planned."""
    known: dict[str, str | None] = {}
    for plan in plans:
        for word, planned in plan.get("inputs", {}).items():
            path = Path(word)
            if word not in known:
                known[word] = hash_path(path) if path.exists() else None
            if known[word] != planned:
                how = "is gone" if known[word] is None else "has changed"
                raise BadInput(
                    f"{path} {how} since stage {plan['stage']} was planned; put it back, or plan "
                    f"the stage again into {home} with --overwrite (what is finished and does not "
                    "depend on it stays)"
                )


def _made(path: Path, home: Path) -> bool:
    return path == home or any(path.is_relative_to(home / name) for name in MADE)


def _words(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _words(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _words(each)
