"""What decides a run or a task, in JSON: settings that count, and inputs by content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.errors import BadInput
from whence.runs.config import not_identity, resolved
from whence.runs.fingerprint import fingerprint, hash_path
from whence.sweep.tasks import Task, read_tasks

if TYPE_CHECKING:
    from pydantic import BaseModel


class Contents:
    """Hashes of files and folders, each taken once; and names of what is yet to be made."""

    def __init__(self) -> None:
        self._known: dict[Path, str] = {}

    def promise(self, path: Path, name: str) -> None:
        """Let `name` stand for the content of what a task will write to `path`."""
        self._known[path.absolute()] = name

    def of(self, value: Any) -> Any:
        """A Path as its hash, lists part by part, other values as they are.

        Raises BadInput for a path where there is nothing.
        """
        if isinstance(value, list | tuple):
            return [self.of(item) for item in value]
        if not isinstance(value, Path):
            return value
        path = value.absolute()
        if path not in self._known:
            self._known[path] = hash_path(path)
        return self._known[path]


def deciding(config: BaseModel, leave_out: Sequence[str] = ()) -> dict[str, Any]:
    """The settings that decide what is computed, nested as they are.

    leave_out: dotted names of others that do not.
    """
    settings = resolved(config)
    for name in (*not_identity(config), *leave_out):
        *sections, last = name.split(".")
        at: Any = settings
        for section in sections:
            at = at.get(section) if isinstance(at, dict) else None
        if isinstance(at, dict):
            at.pop(last, None)
    return settings


def task_id(command: str, decides: Mapping[str, Any]) -> str:
    """16 hex digits that name a task by all that decides it."""
    return fingerprint({"command": command, "decides": decides})[:16]


def settled(tasks: Sequence[Task], home: Path) -> list[Task]:
    """The tasks; what another stage has planned before keeps the settings that it has there.

    A folder belongs to the settings that it was made with. Equal work may be named by other paths
    in another stage, and must not be refused for that.
    """
    earlier: dict[str, Task] = {}
    for path in sorted(home.glob("plan/*/tasks.jsonl")):
        try:
            earlier |= {task.id: task for task in read_tasks(path)}
        except BadInput:  # of an older version, and about to be planned again
            continue
    return [
        replace(task, settings=earlier[task.id].settings)
        if task.id in earlier and _still_good(earlier[task.id], task, home)
        else task
        for task in tasks
    ]


def _still_good(earlier: Task, now: Task, home: Path) -> bool:
    """Whether the settings of then write to the folder of now (the sweep may have been moved, or
    copied), and read what is still there."""
    same_place = earlier.settings.get("output_dir") == now.settings.get("output_dir")
    return same_place and _there(earlier.settings, home)


def _there(value: Any, home: Path) -> bool:
    """Whether every path in settings is there, or will be made below `home`."""
    if isinstance(value, Mapping):
        return all(_there(item, home) for item in value.values())
    if isinstance(value, list | tuple):
        return all(_there(item, home) for item in value)
    if not isinstance(value, str) or not value.startswith("/"):
        return True
    return Path(value).is_relative_to(home) or Path(value).exists()
