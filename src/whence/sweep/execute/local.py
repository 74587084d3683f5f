"""Worker processes on this machine, long-lived, so that imports and caches stay warm."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path

from whence.sweep.execute.isolation import THREAD_VARIABLES
from whence.sweep.execute.outcome import Outcome
from whence.sweep.execute.resources import Machine, check_fits, this_machine, threads_of
from whence.sweep.execute.worker import began, here
from whence.sweep.tasks import Resources, Task

END_SECONDS = 2.0
"""How long an idle worker may take to end by itself."""


@dataclass
class _Slot:
    """A place for one task at a time; its process begins with its first task.

    devices: what CUDA_VISIBLE_DEVICES is in it, "" hides all. running: task, attempt, since when.
    death: readable when the process is gone, even where a child of it holds the pipe (Linux).
    unborn: why no process could be started, or given a task.
    """

    devices: str
    process: subprocess.Popen[bytes] | None = None
    pipe: Connection | None = None
    death: int | None = None
    running: tuple[Task, int, float] | None = None
    unborn: str | None = None


class LocalExecutor:
    """N worker processes.

    workers: most tasks at once; None: as many as the cores allow by what the tasks need. A worker
    that dies takes one task with it, and is replaced; so is one in which a task raised, because
    nobody knows what it left behind. Raises BadInput for a task that the machine cannot hold.
    """

    def __init__(
        self,
        home: Path,
        tasks: Sequence[Task],
        workers: int | None = None,
        machine: Machine | None = None,
    ) -> None:
        self.home = home
        self.machine = machine or this_machine()
        check_fits(tasks, self.machine)
        needs = {task.resources for task in tasks} or {Resources()}
        least = min(each.cpus for each in needs)
        self._counts_cpus = workers is None
        self.workers = workers or max(1, int(self.machine.cores / least))
        self._threads = max(map(threads_of, needs))
        self._slots: list[_Slot] = []

    def free(self, needs: Resources) -> bool:
        busy = [slot.running[0].resources for slot in self._slots if slot.running]
        if not busy:
            return True
        if len(busy) >= self.workers:
            return False
        cpus = sum(each.cpus for each in busy) + needs.cpus
        memory = sum(each.memory_gb or 0.0 for each in busy) + (needs.memory_gb or 0.0)
        if self._counts_cpus and cpus > self.machine.cores + 1e-9:
            return False
        return memory <= self.machine.memory_gb and self._devices(needs.gpus) is not None

    def at_once(self, needs: Resources) -> float:
        most = float(self.workers)
        if self._counts_cpus:
            most = min(most, self.machine.cores / needs.cpus)
        if needs.gpus:
            most = min(most, len(self.machine.gpus) / needs.gpus)
        if needs.memory_gb:
            most = min(most, self.machine.memory_gb / needs.memory_gb)
        return max(1.0, float(int(most + 1e-9)))

    def submit(self, task: Task, attempt: int, avoid: str | None) -> None:
        # Nothing to avoid here: a worker that failed was ended, so every other one is another.
        devices = self._devices(task.resources.gpus)
        assert devices is not None, "free() was not asked"
        idle = [slot for slot in self._slots if slot.running is None]
        slot = next((slot for slot in idle if slot.devices == devices), None)
        if slot is None:
            if len(self._slots) >= self.workers and idle:
                self._end(idle[0])
                self._slots.remove(idle[0])
            slot = _Slot(devices)
            self._slots.append(slot)
        slot.running = (task, attempt, time.monotonic())
        try:
            self._send(slot, task, attempt)
        except OSError:  # it died while it was idle
            self._end(slot)
            try:  # once more, and `wait` sees that it is gone
                self._send(slot, task, attempt)
            except OSError as error:
                slot.unborn = str(error)
                self._end(slot)

    def wait(self, seconds: float) -> list[tuple[str, Outcome]]:
        busy = [slot for slot in self._slots if slot.running]
        if unborn := [slot for slot in busy if slot.pipe is None]:
            return [self._unborn(slot) for slot in unborn]
        watched: dict[object, _Slot] = {slot.pipe: slot for slot in busy if slot.pipe}
        watched |= {slot.death: slot for slot in busy if slot.death is not None}
        if not watched:
            time.sleep(seconds)
        ready = {id(watched[each]): watched[each] for each in wait(list(watched), seconds)}  # type: ignore[arg-type]
        return [self._collect(slot) for slot in ready.values()]

    def note(self) -> str | None:
        return None

    def interrupt(self) -> None:
        for slot in self._slots:
            if slot.running and slot.process:
                slot.process.send_signal(signal.SIGINT)

    def close(self) -> None:
        for slot in self._slots:
            if slot.pipe:
                slot.pipe.close()  # all at once, so that they end side by side
        for slot in self._slots:
            self._end(slot)
        self._slots.clear()

    def _collect(self, slot: _Slot) -> tuple[str, Outcome]:
        assert slot.running
        assert slot.pipe
        task, attempt, since = slot.running
        slot.running = None
        try:
            if not slot.pipe.poll():
                raise EOFError  # its process is gone
            outcome: Outcome = slot.pipe.recv()
        except (EOFError, OSError):
            outcome = self._death(slot, task, attempt, time.monotonic() - since)
        if not outcome.ok and outcome.failure != "bad_input":
            self._end(slot)
        return task.id, outcome

    def _unborn(self, slot: _Slot) -> tuple[str, Outcome]:
        """The task of a slot without a process: the machine had no room for another."""
        assert slot.running
        task, _, since = slot.running
        slot.running = None
        why = f"no worker could be started ({slot.unborn})"
        seconds = round(time.monotonic() - since, 4)
        return task.id, Outcome(seconds, f"{here()} (driver)", "lost", why)

    def _death(self, slot: _Slot, task: Task, attempt: int, seconds: float) -> Outcome:
        assert slot.process
        with contextlib.suppress(subprocess.TimeoutExpired):
            slot.process.wait(END_SECONDS)
        where = began(self.home, task.id, attempt)
        how = _told(slot.process.poll())
        return Outcome(
            seconds=round(seconds, 4),
            where=where or f"{here()} (driver)",
            failure="died" if where else "lost",
            error=f"its worker {how}{'' if where else ' before the task began'}",
        )

    def _send(self, slot: _Slot, task: Task, attempt: int) -> None:
        if slot.process is None:
            self._begin(slot)
        assert slot.pipe
        slot.pipe.send((task, str(self.home), attempt))

    def _begin(self, slot: _Slot) -> None:
        ours, theirs = Pipe()
        environment = {
            **os.environ,
            **dict.fromkeys(THREAD_VARIABLES, str(self._threads)),
            "CUDA_VISIBLE_DEVICES": slot.devices,
            "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        }
        slot.process = subprocess.Popen(
            [
                sys.executable, "-m", "whence.sweep.execute.process",
                str(theirs.fileno()), str(os.getpid()),
            ],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env=environment,
            # A group of its own: Ctrl-C is for the driver, and what a task starts ends with it.
            start_new_session=True,
        )  # fmt: skip
        theirs.close()
        slot.pipe = ours
        if hasattr(os, "pidfd_open"):
            slot.death = os.pidfd_open(slot.process.pid)

    def _end(self, slot: _Slot) -> None:
        """End a worker and everything that it started."""
        process, slot.process = slot.process, None
        if slot.pipe:
            slot.pipe.close()
            slot.pipe = None
        if slot.death is not None:
            os.close(slot.death)
            slot.death = None
        if process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0 if slot.running else END_SECONDS)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _devices(self, gpus: float) -> str | None:
        """CUDA_VISIBLE_DEVICES for a task that needs so many, or None where they are taken."""
        if not gpus:
            return ""
        left = dict.fromkeys(self.machine.gpus, 1.0)
        for slot in self._slots:
            if slot.running:
                used = slot.running[0].resources.gpus
                for device in filter(None, slot.devices.split(",")):
                    left[device] -= min(used, 1.0)
        whole = min(gpus, 1.0)
        fitting = [device for device, share in left.items() if share >= whole - 1e-9]
        count = max(1, int(gpus))
        # The fullest first, so that parts of a GPU share one and whole ones stay free.
        fitting.sort(key=lambda device: left[device])
        return ",".join(fitting[:count]) if len(fitting) >= count else None


def _told(code: int | None) -> str:
    if code is None:
        return "closed its pipe"
    if code < 0:
        name = signal.Signals(-code).name
        return f"was killed by {name}{', perhaps for memory' if name == 'SIGKILL' else ''}"
    return f"ended with exit code {code}"
