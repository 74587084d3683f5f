"""Which task may run next, and what follows when one ends. No processes here, only logic."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from whence.sweep.execute.outcome import Outcome
from whence.sweep.tasks import Resources, Task

LOST = 5
"""How often a task may be lost before it began (its worker or node went), retries aside."""


@dataclass(frozen=True)
class After:
    """What follows an outcome. again: the task is tried once more. blocked: tasks that cannot run
    any more, because they need it, by way of others perhaps."""

    again: bool = False
    blocked: Sequence[Task] = ()


@dataclass
class _Tries:
    counted: int = 0
    lost: int = 0


@dataclass
class Schedule:
    """The tasks of one run of the driver.

    tasks: each behind those it needs. done: ids of those that are finished. retries: how often a
    failed task is tried again; wrong input never is. keep_going: whether a task that failed for
    good leaves the others running.

    Ready tasks are kept apart by what they need, in order: giving one out costs the number of
    different needs, not of tasks.
    """

    tasks: Sequence[Task]
    done: set[str]
    retries: int
    keep_going: bool
    running: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    blocked: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._place = {task.id: number for number, task in enumerate(self.tasks)}
        self._users: dict[str, list[Task]] = {}
        self._missing: dict[str, int] = {}
        self._ready: dict[Resources, list[int]] = {}
        self._tries: dict[str, _Tries] = {}
        for task in self.tasks:
            if task.id in self.done:
                continue
            needs = {need for need in task.needs if need not in self.done}
            self._missing[task.id] = len(needs)
            for need in needs:
                self._users.setdefault(need, []).append(task)
            if not needs:
                self._make_ready(task)

    @property
    def stopped(self) -> bool:
        """Nothing more is given out, because a task failed for good."""
        return bool(self.failed) and not self.keep_going

    def take(self, free: Callable[[Resources], bool]) -> Task | None:
        """The first ready task for whose needs there is room; it counts as running from now."""
        if self.stopped:
            return None
        heads = ((ready[0], needs) for needs, ready in self._ready.items() if ready)
        for number, needs in sorted(heads, key=lambda head: head[0]):
            if free(needs):
                heapq.heappop(self._ready[needs])
                task = self.tasks[number]
                self.running.add(task.id)
                return task
        return None

    def finish(self, task: Task, outcome: Outcome) -> After:
        """Book how a running task ended."""
        self.running.remove(task.id)
        if outcome.ok:
            self.done.add(task.id)
            for user in self._users.pop(task.id, []):
                self._missing[user.id] -= 1
                if not self._missing[user.id] and user.id not in self.blocked:
                    self._make_ready(user)
            return After()
        if self._may_try_again(task.id, outcome):
            self._make_ready(task)
            return After(again=True)
        self.failed.add(task.id)
        blocked = list(self._all_users(task))
        self.blocked |= {user.id: task.id for user in blocked}
        return After(blocked=blocked)

    def _may_try_again(self, name: str, outcome: Outcome) -> bool:
        if outcome.failure == "bad_input":
            return False
        tries = self._tries.setdefault(name, _Tries())
        if outcome.failure == "lost":
            tries.lost += 1
            return tries.lost <= LOST
        tries.counted += 1
        return tries.counted <= self.retries

    def _make_ready(self, task: Task) -> None:
        heapq.heappush(self._ready.setdefault(task.resources, []), self._place[task.id])

    def _all_users(self, task: Task) -> Iterator[Task]:
        stack, seen = [task.id], set(self.blocked)
        while stack:
            for user in self._users.get(stack.pop(), []):
                if user.id not in seen:
                    seen.add(user.id)
                    stack.append(user.id)
                    yield user
