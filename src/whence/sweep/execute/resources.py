"""What tasks need against what a machine has: cores, GPUs, memory."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from whence.errors import BadInput
from whence.sweep.tasks import Resources, Task

GB = 10**9


@dataclass(frozen=True)
class Machine:
    """cores: that this process may use. gpus: ids as CUDA_VISIBLE_DEVICES has them. memory_gb: of
    the machine."""

    cores: int
    gpus: Sequence[str]
    memory_gb: float


def this_machine() -> Machine:
    """What is here, by the affinity and limits of this process; imports no torch."""
    import psutil
    from joblib import cpu_count  # type: ignore[import-untyped]

    return Machine(cpu_count(), _gpus(), psutil.virtual_memory().total / GB)


def with_flags(tasks: Sequence[Task], cpus: float | None, gpus: float | None) -> list[Task]:
    """The tasks, needing what the flags say instead of what was planned."""
    asked = {key: value for key, value in (("cpus", cpus), ("gpus", gpus)) if value is not None}
    return [replace(task, resources=replace(task.resources, **asked)) for task in tasks]


def threads_of(needs: Resources) -> int:
    """Threads of numeric libraries in a task: its cores. The same wherever it runs, because sums
    of floating-point numbers depend on how many threads share them."""
    return max(1, int(needs.cpus))


def check_fits(tasks: Sequence[Task], machine: Machine) -> None:
    """Raises BadInput for a task that needs more GPUs or memory than there is.

    One that asks for more cores runs alone.
    """
    for needs, task in {task.resources: task for task in tasks}.items():
        if needs.gpus > len(machine.gpus):
            raise BadInput(
                f"task {task.label} needs {needs.gpus:g} GPU{'s' * (needs.gpus > 1)} and this "
                f"machine has {len(machine.gpus)}; plan with fewer, or --gpus-per-task 0"
            )
        if needs.gpus > 1 and needs.gpus != int(needs.gpus):
            raise BadInput(f"task {task.label} needs {needs.gpus:g} GPUs: whole ones above 1")
        if needs.memory_gb is not None and needs.memory_gb > machine.memory_gb:
            raise BadInput(
                f"task {task.label} needs {needs.memory_gb:g} GB and this machine has "
                f"{machine.memory_gb:.0f}"
            )


def _gpus() -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [each for each in visible.split(",") if each.strip() not in ("", "-1")]
    with suppress(OSError, subprocess.SubprocessError):
        told = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=20, check=True,
        ).stdout  # fmt: skip
        return told.split()
    return []
