"""What tasks cost here, by small ones of the same kinds, run before anything else is."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from whence.runs.jsonfile import read_jsonl
from whence.runs.progress import track
from whence.sweep.campaigns.extrapolate import Expected, expected
from whence.sweep.campaigns.trial_process import TIMINGS, Timing
from whence.sweep.execute.isolation import THREAD_VARIABLES
from whence.sweep.execute.resources import this_machine, threads_of
from whence.sweep.tasks import Resources, Task, write_tasks

LONGEST = 90.0
"""Seconds that the trial of one model may take; what is not done by then is not tried."""
TOGETHER = 240.0
"""Seconds that all trials of a plan may take."""
PROCESS = "whence.sweep.campaigns.trial_process"


@dataclass(frozen=True)
class Tried:
    """What one unit of `Task.work` costs here, by kind of task; without the kinds that could not be
    tried. start: seconds that a worker spends beside, on modules and models. notes: what went
    wrong, a sentence a model."""

    seconds: Mapping[str, float] = field(default_factory=dict)
    bytes: Mapping[str, float] = field(default_factory=dict)
    start: float = 0.0
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Sample:
    """planned: tasks of one model. small: what is run in their place, each kind more than once and
    of growing work; kinds that are not planned are run and not told. folder: of this sample alone;
    outputs of small tasks are named from it. module: what runs them."""

    model: str
    planned: Sequence[Task]
    small: Sequence[Task]
    folder: Path
    module: str = PROCESS


def tried(samples: Sequence[Sample]) -> Tried:
    """Run the samples, the one with most work first, until `TOGETHER` is over.

    A kind is told only where all its planned tasks have been tried. What the quickest model takes
    to start is taken for modules, which a worker loads once, whatever the number of models.
    """
    found: dict[str, list[Expected]] = {}
    starts: list[float] = []
    missing: set[str] = set()
    notes: list[str] = []
    end = time.monotonic() + TOGETHER
    largest = sorted(samples, key=lambda each: -sum(task.work for task in each.planned))
    for sample in track(largest, label="trial of small tasks", unit="models"):
        timings, fault = _run(sample, min(LONGEST, end - time.monotonic()))
        notes += [f"the trial with {sample.model} {fault}"] if fault else []
        start = 0.0
        for kind in sorted({task.kind for task in sample.planned}):
            own = [each for each in timings if each.kind == kind]
            works = [task.work for task in sample.planned if task.kind == kind]
            if all(each.first for each in own):
                missing.add(kind)
                continue
            found.setdefault(kind, []).append(expected(own, works))
            start += found[kind][-1].start
        starts.append(start)
    told = {kind: each for kind, each in found.items() if kind not in missing}
    work = {kind: sum(one.work for one in each) for kind, each in told.items()}
    return Tried(
        {kind: sum(one.seconds for one in each) / work[kind] for kind, each in told.items()},
        {kind: sum(one.bytes for one in each) / work[kind] for kind, each in told.items()},
        sum(starts) - (len(starts) - 1) * min(starts) if starts else 0.0,
        notes,
    )


def _run(sample: Sample, longest: float) -> tuple[list[Timing], str | None]:
    """What the small tasks took, and why there is not more of it."""
    needs = {task.kind: task.resources for task in sample.planned}
    if any(each.gpus for each in needs.values()) and not this_machine().gpus:
        return [], "was not made: tasks ask for a GPU, and there is none here"
    if not sample.small:
        return [], "was not made: nothing small stands for its tasks"
    if longest <= 0:
        return [], f"was not made: those before it took {TOGETHER:.0f} seconds"
    sample.folder.mkdir(parents=True, exist_ok=True)
    spec = sample.folder / "tasks.jsonl"
    write_tasks(spec, [_as_planned(task, needs) for task in sample.small])
    process = subprocess.Popen(
        [sys.executable, "-m", sample.module, str(spec), str(sample.folder), str(os.getpid())],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        env=_environment(list(needs.values())), start_new_session=True, text=True,
    )  # fmt: skip
    fault = None
    try:
        said = process.communicate(timeout=longest)[1].strip()
        if process.returncode:
            last = said.rpartition("\n")[2]
            fault = f"failed: {last or f'exit code {process.returncode}'}"
    except subprocess.TimeoutExpired:
        fault = f"was ended after {longest:.0f} seconds"
    finally:  # with all that it started
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    timings = sample.folder / TIMINGS
    done = [Timing(**line) for line in read_jsonl(timings)] if timings.is_file() else []
    return done, fault


def _as_planned(task: Task, needs: Mapping[str, Resources]) -> Task:
    """With the resources of its kind. One that asks for no GPU will see none, though another kind
    of the same process does."""
    own = needs.get(task.kind, Resources())
    others = any(each.gpus for each in needs.values())
    hidden = {"device": "cpu"} if others and not own.gpus and "device" in task.settings else {}
    return replace(task, resources=own, settings={**task.settings, **hidden})


def _environment(needs: Sequence[Resources]) -> dict[str, str]:
    """As a worker has it: no GPU where none is asked for, threads as there are cores."""
    threads = str(max(map(threads_of, needs)))
    hidden = {} if any(each.gpus for each in needs) else {"CUDA_VISIBLE_DEVICES": ""}
    path = os.pathsep.join(each or os.getcwd() for each in sys.path)
    return {**os.environ, **dict.fromkeys(THREAD_VARIABLES, threads), **hidden, "PYTHONPATH": path}
