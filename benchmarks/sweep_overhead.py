"""What the executor itself costs: seconds a task beyond the task, and what the registry costs.

    python benchmarks/sweep_overhead.py        # about 3 minutes; Ray where installed
    python benchmarks/sweep_overhead.py --tasks 200 --executors local

A trivial task opens a run folder, writes one number and publishes it, as every command does; the
folder's own cost (record, hashes, flushes) is measured apart, in this process without an executor,
and shown. Overhead is (wall time of the driver × tasks at once − seconds inside the functions) /
tasks, the start of workers included. The registry is written and read at 1,000, 10,000 and 100,000
entries, and the driver's schedule is made of as many tasks: seconds an entry must not grow. Fails
where overhead passes 50 ms local or 250 ms on Ray, or an entry costs over 2.5 times as much at
100,000 as at 1,000.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from whence.runs.config import OutputConfig
from whence.runs.finding import Finding
from whence.runs.jsonfile import write_json
from whence.runs.store import open_run
from whence.sweep.execute.outcome import Outcome
from whence.sweep.execute.registry import Event, Registry, now, read_registry
from whence.sweep.execute.schedule import Schedule
from whence.sweep.layout import PLAN, TASKS, plan_folder
from whence.sweep.run import RunConfig, run_sweep
from whence.sweep.tasks import Task, write_tasks

LIMITS = {"local": 0.050, "ray": 0.250}
GROWTH = 2.5
SIZES = (1_000, 10_000, 100_000)


class TrivialConfig(OutputConfig):
    n: int = 0


@dataclass(frozen=True)
class TrivialResult:
    done: bool

    def finding(self) -> Finding:
        return Finding("nothing")


def trivial(config: TrivialConfig) -> TrivialResult:
    with open_run(config.output_dir, command="trivial", config=config) as run:
        if not run.done:
            write_json(run.folder / "n.json", config.n)
    return TrivialResult(run.done)


def trivial_tasks(home: Path, count: int) -> list[Task]:
    name = Path(__file__).stem
    return [
        Task(
            id=f"{n:06d}",
            label=f"n={n}",
            kind="trivial",
            config=f"{name}:TrivialConfig",
            function=f"{name}:trivial",
            settings={"n": n, "output_dir": str(home / "runs" / f"{n:06d}")},
            output=f"runs/{n:06d}",
        )
        for n in range(count)
    ]


def overhead(executor: str, count: int, workers: int) -> tuple[float, float, float]:
    """(seconds a task beyond its function, seconds of a function, wall seconds)."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "S"
        tasks = trivial_tasks(home, count)
        write_tasks(plan_folder(home, "one") / TASKS, tasks)
        plan = {"stage": "one", "number": 1, "configurations": count, "trial": {}, "inputs": {}}
        write_json(plan_folder(home, "one") / PLAN, plan)
        config = RunConfig.model_validate({"sweep": home, "executor": executor, "workers": workers})
        result = run_sweep(config)
        assert result.done == count
        inside = result.kinds[0].seconds
    return (result.seconds * workers - inside) / count, inside / count, result.seconds


def alone(count: int) -> float:
    """Seconds a run folder takes in this process, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        for n in range(count):
            trivial(TrivialConfig(n=n, output_dir=Path(folder) / f"{n}"))
        return (time.perf_counter() - began) / count


def registry_costs(size: int) -> tuple[float, float, float]:
    """Seconds an entry to append, to read, and to schedule."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        began = time.perf_counter()
        with Registry(home) as registry:
            for n in range(size // 2):
                log = f"logs/{n:06d}.1.log"
                registry.append(Event(f"{n:06d}", "started", 1, now(), log=log))
                registry.append(
                    Event(f"{n:06d}", "done", 1, now(), 1.0, "host pid 1", log, headline="found")
                )
        written = (time.perf_counter() - began) / size
        began = time.perf_counter()
        assert len(read_registry(home)) == size // 2
        read = (time.perf_counter() - began) / size
        tasks = trivial_tasks(home, size)
        began = time.perf_counter()
        schedule = Schedule(tasks, set(), retries=1, keep_going=True)
        outcome = Outcome(1.0, "here")
        while (task := schedule.take(lambda needs: True)) is not None:
            schedule.finish(task, outcome)
        assert len(schedule.done) == size
        return written, read, (time.perf_counter() - began) / size


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--executors", nargs="*", default=["local", "ray"])
    asked = parser.parse_args()
    failed = []
    print(f"a run folder without an executor: {1000 * alone(100):.1f} ms\n")
    print("| executor | tasks | wall, s | in a task, ms | overhead a task, ms | limit, ms |")
    print("| --- | --- | --- | --- | --- | --- |")
    for executor in asked.executors:
        if executor == "ray" and importlib.util.find_spec("ray") is None:
            print("| ray | not installed | | | | |")
            continue
        beyond, inside, wall = overhead(executor, asked.tasks, asked.workers)
        print(
            f"| {executor} | {asked.tasks:,} | {wall:.1f} | {1000 * inside:.1f} | "
            f"{1000 * beyond:.1f} | {1000 * LIMITS[executor]:.0f} |",
            flush=True,
        )
        if beyond > LIMITS[executor]:
            failed.append(f"{executor}: {1000 * beyond:.0f} ms a task")
    print("\n| entries | append, µs | read, µs | schedule, µs |")
    print("| --- | --- | --- | --- |")
    costs = {}
    for size in SIZES:
        costs[size] = registry_costs(size)
        print(f"| {size:,} | " + " | ".join(f"{1e6 * cost:.1f}" for cost in costs[size]) + " |")
    names = ("append", "read", "schedule")
    for name, small, large in zip(names, costs[SIZES[0]], costs[SIZES[-1]], strict=True):
        if large > GROWTH * small:
            failed.append(f"{name}: {large / small:.1f} times as much an entry at {SIZES[-1]:,}")
    for each in failed:
        print(f"FAILED: {each}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
