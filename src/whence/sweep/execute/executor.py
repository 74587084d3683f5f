"""What the driver asks of whoever runs tasks."""

from __future__ import annotations

from typing import Protocol

from whence.sweep.execute.outcome import Outcome
from whence.sweep.tasks import Resources, Task


class Executor(Protocol):
    """Runs tasks somewhere else than in the driver's process."""

    def free(self, needs: Resources) -> bool:
        """Whether a task with these needs may be given now."""
        ...

    def submit(self, task: Task, attempt: int, avoid: str | None) -> None:
        """Give out a task. avoid: where an earlier attempt failed; another worker takes it where
        there is one."""
        ...

    def wait(self, seconds: float) -> list[tuple[str, Outcome]]:
        """(task id, outcome) of those that ended, as soon as there is one; at most so long."""
        ...

    def at_once(self, needs: Resources) -> float:
        """How many tasks with these needs can run at the same time."""
        ...

    def note(self) -> str | None:
        """What a person should know now, if anything: tasks that no node can take."""
        ...

    def interrupt(self) -> None:
        """Ask what runs to end, as Ctrl-C would."""
        ...

    def close(self) -> None:
        """End all workers; what still runs is killed."""
        ...
