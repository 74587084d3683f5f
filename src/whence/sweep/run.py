"""`whence sweep run`: do what was planned, here or on a Ray cluster, and go on where it stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from whence.errors import BadInput
from whence.runs.config import Config, Words
from whence.runs.finding import Finding
from whence.runs.validation import nearest

if TYPE_CHECKING:
    from whence.sweep.execute.drive import Driven
    from whence.sweep.execute.executor import Executor
    from whence.sweep.execute.registry import TaskState
    from whence.sweep.tasks import Task


class RunConfig(Config):
    """Run the tasks of planned stages. Killed at any moment, the same command goes on."""

    sweep: Path = Field(
        description="Folder of the sweep. On Ray every node must see it under this path."
    )
    stage: Words = Field(default=(), description="Stages to run; default: all that are planned.")
    executor: Literal["local", "ray"] = Field(
        default="local", description="local: worker processes here. ray: a Ray cluster."
    )
    address: str | None = Field(
        default=None,
        description="Running Ray cluster: auto, or host:port; default: one is started here.",
    )
    workers: int | None = Field(
        default=None,
        ge=1,
        description="Most tasks at once; default: as many as the cores allow by what they need.",
    )
    gpus_per_task: float | None = Field(
        default=None, ge=0, description="GPUs of every task, instead of what was planned."
    )
    cpus_per_task: float | None = Field(
        default=None,
        gt=0,
        description="Cores of every task, and threads of its numeric libraries, instead of what "
        "was planned.",
    )
    retries: int = Field(
        default=1,
        ge=0,
        description="How often a task that raised or whose worker died is tried again.",
    )
    continue_on_error: bool = Field(
        default=False, description="Run all that can be run when a task failed for good."
    )

    @model_validator(mode="after")
    def _address_is_of_a_cluster(self) -> RunConfig:
        if self.address is not None and self.executor != "ray":
            raise ValueError("address is a Ray cluster's: add --executor ray")
        return self


@dataclass(frozen=True)
class KindTotal:
    """Tasks of one kind. seconds: of all done ones together, whenever they ran."""

    kind: str
    tasks: int
    done: int
    failed: int
    blocked: int
    seconds: float


@dataclass(frozen=True)
class FailedTask:
    """A task that failed for good. log: of its last attempt."""

    label: str
    attempts: int
    log: Path
    error: str


@dataclass(frozen=True)
class SweepResult:
    """Where the sweep stands after a run. ran: tasks finished by it; seconds: its wall time."""

    home: Path
    stages: Sequence[str]
    configurations: int
    kinds: Sequence[KindTotal]
    failed: Sequence[FailedTask]
    blocked: Sequence[str]
    ran: int
    seconds: float

    @property
    def tasks(self) -> int:
        return sum(kind.tasks for kind in self.kinds)

    @property
    def done(self) -> int:
        return sum(kind.done for kind in self.kinds)

    def finding(self) -> Finding:
        """What is done and what is not; the failed tasks where there are any."""
        from whence.sweep.execute.live import clock
        from whence.sweep.layout import registry_file

        files = {"registry": registry_file(self.home), "logs": self.home / "logs"}
        counts = f"{self.done:,} of {self.tasks:,} tasks"
        of = f"({self.configurations:,} configuration{'s' * (self.configurations != 1)})"
        said = f"{counts} done {of}"
        if self.failed:
            said += f", {len(self.failed):,} failed"
            said += f", {len(self.blocked):,} blocked by them" if self.blocked else ""
            return Finding(
                f"{said}; run the same command again to try them again",
                columns=("failed", "attempts", "error", "log"),
                rows=[
                    (each.label, str(each.attempts), each.error, str(each.log))
                    for each in self.failed
                ],
                files=files,
                failed=True,
            )
        said = f"{said} in {clock(self.seconds)}" if self.ran else f"Already done: {counts} {of}"
        return Finding(
            f"{said}; next: whence sweep summarize {self.home}",
            columns=("kind", "tasks", "done", "seconds", "mean"),
            rows=[
                (
                    each.kind,
                    f"{each.tasks:,}",
                    f"{each.done:,}",
                    f"{each.seconds:,.1f}",
                    f"{each.seconds / each.done:,.2f}" if each.done else "–",
                )
                for each in self.kinds
            ],
            files=files,
        )


def run_sweep(config: RunConfig) -> SweepResult:
    """Run every planned task that is not done, and write down what happens in `registry.jsonl`.

    Raises BadInput, before anything runs, for a folder without a plan, or one that was planned
    elsewhere, a stage that is not planned, tasks that this machine or cluster cannot hold, and a
    folder that another driver holds.
    """
    from whence.sweep.execute.drive import Drive, finished, only_driver
    from whence.sweep.execute.registry import Registry
    from whence.sweep.execute.resources import with_flags
    from whence.sweep.inputs import check_inputs

    home = config.sweep.absolute()
    stages, tasks, plans = _planned(home, config.stage)
    check_inputs(plans, home)
    tasks = with_flags(tasks, config.cpus_per_task, config.gpus_per_task)
    trial = {kind: pace for plan in plans for kind, pace in plan.get("trial", {}).items()}
    configurations = sum(int(plan["configurations"]) for plan in plans)
    with only_driver(home), Registry(home) as registry:
        done = finished(tasks, registry.states, home)
        if len(done) == len(tasks):
            return _result(config.sweep, stages, configurations, tasks, registry.states, done)
        _check_place(tasks, home)
        executor = _executor(config, home, tasks)
        try:
            driven = Drive(
                tasks,
                home,
                executor,
                registry,
                done=done,
                retries=config.retries,
                keep_going=config.continue_on_error,
                trial=trial,
            ).run()
        finally:
            executor.close()
        return _result(
            config.sweep, stages, configurations, tasks, registry.states, driven.done, driven
        )


def _planned(
    home: Path, asked: Sequence[str]
) -> tuple[list[str], list[Task], list[Mapping[str, Any]]]:
    """Stages, their tasks merged (equal ids of two stages are one task), and their plans."""
    from whence.runs.jsonfile import read_json
    from whence.sweep.layout import PLAN, TASKS, plan_folder, stages_planned
    from whence.sweep.tasks import in_order, read_tasks

    planned = stages_planned(home)
    for name in asked:
        if name not in planned:
            raise BadInput(
                f"--stage {name}: not planned in {home}{nearest(name, planned)}; there are "
                f"{', '.join(planned)}"
            )
    stages = [name for name in planned if name in asked] if asked else planned
    tasks: dict[str, Task] = {}
    plans = [read_json(plan_folder(home, name) / PLAN) for name in stages]
    for name, plan in zip(stages, plans, strict=True):
        path = plan_folder(home, name) / TASKS
        own = read_tasks(path)
        if len(own) != plan.get("tasks", len(own)):
            raise BadInput(
                f"{path}: holds {len(own)} tasks and {plan['tasks']} were planned; plan the stage "
                "again with --overwrite"
            )
        for task in own:
            tasks.setdefault(task.id, task)
    return stages, in_order(list(tasks.values())), plans


def _check_place(tasks: Sequence[Task], home: Path) -> None:
    """Raise BadInput where tasks would write to another place: the sweep's folder was moved."""
    first = tasks[0]  # all of a plan were made for one folder
    planned = Path(str(first.settings.get("output_dir", home / first.output)))
    if planned.resolve() != (home / first.output).resolve():
        raise BadInput(
            f"{home}: was planned at another place (its tasks write to {planned.parent}); move it "
            "back, or plan every stage again here with --overwrite (what is finished stays)"
        )


def _executor(config: RunConfig, home: Path, tasks: Sequence[Task]) -> Executor:
    if config.executor == "ray":
        from whence.sweep.execute.ray_cluster import RayExecutor

        return RayExecutor(home, tasks, address=config.address, workers=config.workers)
    from whence.sweep.execute.local import LocalExecutor

    return LocalExecutor(home, tasks, workers=config.workers)


def _result(
    home: Path,
    stages: Sequence[str],
    configurations: int,
    tasks: Sequence[Task],
    states: Mapping[str, TaskState],
    done: set[str],
    driven: Driven | None = None,
) -> SweepResult:
    failed = driven.failed if driven else set()
    blocked = driven.blocked if driven else {}
    kinds: dict[str, list[Task]] = {}
    for task in tasks:
        kinds.setdefault(task.kind, []).append(task)
    totals = [
        KindTotal(
            kind=kind,
            tasks=len(own),
            done=sum(task.id in done for task in own),
            failed=sum(task.id in failed for task in own),
            blocked=sum(task.id in blocked for task in own),
            seconds=sum(states[task.id].seconds or 0.0 for task in own if task.id in done),
        )
        for kind, own in kinds.items()
    ]
    return SweepResult(
        home=home,
        stages=stages,
        configurations=configurations,
        kinds=totals,
        failed=[
            FailedTask(
                label=task.label,
                attempts=states[task.id].attempts,
                log=home / (states[task.id].log or ""),
                error=states[task.id].error or "",
            )
            for task in tasks
            if task.id in failed
        ],
        blocked=[task.label for task in tasks if task.id in blocked],
        ran=len(driven.ran) if driven else 0,
        seconds=driven.seconds if driven else 0.0,
    )
