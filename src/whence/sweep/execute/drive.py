"""The driver's loop: give tasks out, write down what happens, try again, go on. Any executor."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import Timeout

from whence.errors import BadInput
from whence.runs.atomic import lock_beside, remove_lock
from whence.runs.fingerprint import RECORD_NAME
from whence.runs.jsonfile import read_json
from whence.sweep.execute.executor import Executor
from whence.sweep.execute.live import Display, KindCount, Standing
from whence.sweep.execute.outcome import Outcome
from whence.sweep.execute.registry import Event, Registry, State, TaskState, now
from whence.sweep.execute.remaining import Remaining
from whence.sweep.execute.schedule import After, Schedule
from whence.sweep.execute.worker import here
from whence.sweep.layout import log_file, registry_file
from whence.sweep.tasks import Task

POLL_SECONDS = 0.25
"""How long to wait for an outcome before the display is drawn again."""
GRACE_SECONDS = 1.0
"""After Ctrl-C: so long short tasks may still come to their end …"""
STOP_SECONDS = 5.0
"""… and so long the others may take to put away what they have."""


@dataclass(frozen=True)
class Driven:
    """How one run of the driver ended: ids of tasks.

    done: all that are, here or before. ran: finished here. failed, blocked: for good.
    """

    done: set[str]
    ran: set[str]
    failed: set[str]
    blocked: dict[str, str]
    seconds: float


@contextmanager
def only_driver(home: Path) -> Iterator[None]:
    """Hold a sweep's folder for one driver. Raises BadInput naming another that holds it."""
    lock = lock_beside(registry_file(home))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        holder = ""
        with suppress(OSError):
            holder = Path(lock.lock_file).read_text(encoding="utf-8").strip()
        raise BadInput(
            f"{home}: another driver ({holder or 'not known yet'}) runs this sweep; wait for it or "
            "stop it"
        ) from None
    except OSError as error:
        raise BadInput(f"{home}: cannot be written ({error.strerror})") from None
    try:
        Path(lock.lock_file).write_text(f"{here()}\n", encoding="utf-8")
        yield
    finally:
        remove_lock(lock)
        lock.release()


def finished(tasks: Sequence[Task], states: Mapping[str, TaskState], home: Path) -> set[str]:
    """Tasks that are done by the registry, and by their folder: a deleted one is done again.

    Raises BadInput for a folder whose record cannot be read.
    """
    return {
        task.id
        for task in tasks
        if task.id in states and states[task.id].state == "done" and _whole(home / task.output)
    }


class Drive:
    """One run of the driver over `tasks` (each behind those it needs).

    retries: how often a task that raised or died is tried again. keep_going: whether the others go
    on when one failed for good. trial: see `Remaining`.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        home: Path,
        executor: Executor,
        registry: Registry,
        *,
        done: set[str],
        retries: int,
        keep_going: bool,
        trial: Mapping[str, float],
    ) -> None:
        self.tasks = {task.id: task for task in tasks}
        self.home, self.executor, self.registry = home, executor, registry
        self.schedule = Schedule(tasks, set(done), retries, keep_going)
        self.before = frozenset(done)
        self.kinds: dict[str, KindCount] = {}
        self.remaining = Remaining(trial)
        self.since: dict[str, float] = {}
        self.avoid: dict[str, str] = {}
        self.last: str | None = None
        self.display = Display()
        self.started = time.monotonic()
        for task in tasks:
            kind = self.kinds.setdefault(task.kind, KindCount())
            kind.total += 1
            if task.id in done:
                kind.done += 1
                if seconds := registry.states[task.id].seconds:
                    self.remaining.learn(task.kind, task.work, seconds)
            else:
                at_once = executor.at_once(task.resources)
                self.remaining.expect(task.kind, task.work, at_once)

    def run(self) -> Driven:
        """Until nothing can run any more. KeyboardInterrupt: stop giving out, wait a moment, book
        what ended, and raise it again."""
        with self.display:
            try:
                while self._give_out():
                    self._collect(POLL_SECONDS)
                    self.display.show(self.standing)
            except KeyboardInterrupt:
                self._stop()
                raise
        return Driven(
            done=self.schedule.done,
            ran=self.schedule.done - self.before,
            failed=self.schedule.failed,
            blocked=self.schedule.blocked,
            seconds=time.monotonic() - self.started,
        )

    def standing(self) -> Standing:
        """For the display."""
        at = time.monotonic()
        running = [
            (self.tasks[name].kind, self.tasks[name].work, at - since)
            for name, since in self.since.items()
        ]
        return Standing(
            kinds=self.kinds,
            seconds=at - self.started,
            left=self.remaining.seconds(running),
            last=self.last,
            note=self.executor.note(),
        )

    def _give_out(self) -> bool:
        """Fill every free place; False when nothing runs and nothing can."""
        while (task := self.schedule.take(self.executor.free)) is not None:
            attempt = self.registry.attempts(task.id) + 1
            self._write(task, "started", attempt)
            self.since[task.id] = time.monotonic()
            self.kinds[task.kind].running += 1
            self.executor.submit(task, attempt, self.avoid.get(task.id))
        return bool(self.schedule.running)

    def _collect(self, seconds: float) -> None:
        for name, outcome in self.executor.wait(seconds):
            task = self.tasks[name]
            del self.since[name]
            kind = self.kinds[task.kind]
            kind.running -= 1
            attempt = self.registry.attempts(name)
            ended: State = "failed"
            if outcome.ok:
                ended = "done"
            elif outcome.failure in ("died", "lost"):
                ended = "died"
            self._write(task, ended, attempt, outcome)
            after = self.schedule.finish(task, outcome)
            if outcome.ok:
                kind.done += 1
                kind.here += 1
                took = None if outcome.reused else outcome.seconds
                self.remaining.finish(task.kind, task.work, took)
            else:
                self._after_failure(task, attempt, outcome, after)

    def _after_failure(self, task: Task, attempt: int, outcome: Outcome, after: After) -> None:
        self.avoid[task.id] = outcome.where
        self.last = f"{task.label}: {outcome.error}"
        if after.again:
            return
        log = log_file(self.home, task.id, attempt)
        self.display.say(f"failed: {task.label}: {outcome.error} (log: {log})")
        for lost in (task, *after.blocked):
            self.kinds[lost.kind].failed += 1
            self.remaining.finish(lost.kind, lost.work, None)
        for blocked in after.blocked:
            self.registry.append(
                Event(
                    blocked.id, "blocked", self.registry.attempts(blocked.id), now(),
                    error=f"needs {task.label}, which failed",
                )
            )  # fmt: skip

    def _write(
        self, task: Task, state: State, attempt: int, outcome: Outcome | None = None
    ) -> None:
        log = log_file(self.home, task.id, attempt).relative_to(self.home).as_posix()
        if outcome is None:
            self.registry.append(Event(task.id, state, attempt, now(), log=log))
            return
        self.registry.append(
            Event(
                task=task.id,
                state=state,
                attempt=attempt,
                at=now(),
                seconds=outcome.seconds,
                where=outcome.where,
                log=log,
                error=outcome.error,
                headline=outcome.headline,
                peak_memory_bytes=outcome.peak_memory_bytes,
                reused=outcome.reused,
            )
        )

    def _stop(self) -> None:
        """Give what runs a moment, then ask it to end, and say what is left."""
        with suppress(KeyboardInterrupt):  # a second one does not wait
            self._wait_for_running(GRACE_SECONDS)
            if self.schedule.running:
                self.executor.interrupt()
                self._wait_for_running(STOP_SECONDS)
        left = len(self.tasks) - len(self.schedule.done)
        self.display.say(f"stopped: {left:,} of {len(self.tasks):,} tasks are left")

    def _wait_for_running(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while self.schedule.running and time.monotonic() < end:
            self._collect(0.1)


def _whole(folder: Path) -> bool:
    record = folder / RECORD_NAME
    if not record.is_file():
        return False
    try:
        return bool(read_json(record)["status"] == "done")
    except (BadInput, KeyError, TypeError) as error:
        why = error if isinstance(error, BadInput) else f"{record}: not a record of a whence run"
        raise BadInput(f"{why}; delete the folder, and it is made again") from None
