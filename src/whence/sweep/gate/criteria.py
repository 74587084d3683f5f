"""What must hold of a whole sweep before its numbers leave the house."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.errors import BadInput, WhenceError
from whence.runs.fingerprint import hash_folder, hash_path
from whence.runs.jsonfile import read_json, read_jsonl
from whence.runs.progress import track
from whence.runs.record import read_record
from whence.sweep.layout import MANIFEST, PLAN, TASKS, plan_folder, summary_folder
from whence.sweep.summarize.command import RESULTS, SUMMARY, readme_block
from whence.sweep.summarize.finished import Stage, read_stage, result_of
from whence.sweep.tasks import Task, read_tasks

if TYPE_CHECKING:
    from whence.sweep.campaigns.campaign import Check

NAMED = 20
"""Most offenders that are listed by name."""


@dataclass(frozen=True)
class Criterion:
    """name: what was asked. sentence: what was found. offenders: what does not hold, one line each,
    the first twenty. where: the file or folder that shows it."""

    name: str
    passed: bool
    sentence: str
    where: str
    offenders: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"offenders": list(self.offenders)}


def criteria(
    home: Path, stages: Sequence[str], readme: Path | None, markers: tuple[str, str]
) -> list[Criterion]:
    """Everything, stage by stage, then the README. A plan or run that cannot be read is an
    offender."""
    found: list[Criterion] = []
    for name in stages:
        try:
            found += _stage(read_stage(home, name))
        except (WhenceError, KeyError, TypeError, ValueError) as error:
            where, said = str(plan_folder(home, name)), str(error)
            if not isinstance(error, WhenceError):
                said = f"{type(error).__name__}: {said}; plan the stage again"
            found.append(Criterion(f"{name}: can be read", False, said, where))
    if readme is not None:
        found.append(_readme(home, readme, markers))
    return found


def _stage(stage: Stage) -> list[Criterion]:
    return [
        _finished(stage),
        _as_left(stage),
        _summarised(stage),
        _measured(stage),
        *_runs(stage),
    ]


def _criterion(
    name: str, offenders: Sequence[str], good: str, bad: str, where: Path | str
) -> Criterion:
    said = good if not offenders else bad
    listed = list(offenders[:NAMED])
    if len(offenders) > NAMED:
        listed.append(f"and {len(offenders) - NAMED} more")
    return Criterion(name, not offenders, said, str(where), listed)


def _finished(stage: Stage) -> Criterion:
    """Every task of the stage has its result."""
    from whence.sweep.execute.registry import read_registry

    tasks = read_tasks(plan_folder(stage.home, stage.name) / TASKS)
    open_tasks = [task for task in tasks if result_of(stage.home / task.output) is None]
    states = read_registry(stage.home) if open_tasks else {}
    offenders = [_told(task, states.get(task.id)) for task in open_tasks]
    if len(stage.entries) != stage.plan["configurations"]:
        offenders.append(
            f"the manifest has {len(stage.entries):,} configurations and the plan "
            f"{stage.plan['configurations']:,}; plan the stage again"
        )
    if len(tasks) != stage.plan["tasks"]:
        offenders.append(
            f"{TASKS} has {len(tasks):,} tasks and the plan {stage.plan['tasks']:,}; plan the "
            "stage again"
        )
    planned = {task.id for task in tasks}
    offenders += [
        f"run {run} is in the manifest and is no task; plan the stage again"
        for run in stage.missing
        if run not in planned
    ]
    return _criterion(
        f"{stage.name}: every task finished",
        offenders,
        f"{len(tasks):,} tasks, {len(stage.entries):,} configurations",
        f"{len(open_tasks):,} of {len(tasks):,} tasks are not finished"
        if open_tasks
        else "manifest, tasks and plan are not of one another",
        stage.home / "registry.jsonl",
    )


def _as_left(stage: Stage) -> Criterion:
    """What runs wrote is what their records say."""
    outputs = {entry.run: stage.home / entry.output for entry in stage.entries}
    offenders = []
    for run in track(list(stage.results), label=f"hashing {stage.name}", unit="runs"):
        record = read_record(outputs[run])
        assert record is not None  # it is among the finished
        made = hash_folder(outputs[run], list(record.outputs))
        edited = [
            file for file, output in record.outputs.items() if made.get(file) != output["sha256"]
        ]
        if edited:
            offenders.append(f"run {run}: {edited[0]} is gone or was edited")
    return _criterion(
        f"{stage.name}: results are as their runs left them",
        offenders,
        f"{len(stage.results):,} runs",
        f"{len(offenders):,} of {len(stage.results):,} runs were edited",
        stage.home / "runs",
    )


def _told(task: Task, state: Any) -> str:
    """`probes pooling=mean (a1b2): failed after 2 attempts: out of memory; log logs/a1b2.2.log`."""
    name = f"{task.label} ({task.id})"
    if state is None:
        return f"{name}: not begun"
    if state.state == "done":
        return f"{name}: was done, and {task.output} is no longer whole"
    said = "running, or its driver died" if state.state == "started" else state.state
    attempts = f" after {state.attempts} attempts" if state.attempts > 1 else ""
    error = f": {state.error}" if state.error else ""
    log = f"; log {state.log}" if state.log else ""
    return f"{name}: {said}{attempts}{error}{log}"


def _summarised(stage: Stage) -> Criterion:
    """The summary is whole, of all runs, and of what they hold now."""
    folder = summary_folder(stage.home, stage.name)
    again = f"whence sweep summarize {stage.home} --stage {stage.name}"
    name = f"{stage.name}: summarised from the present results"
    offenders: list[str] = []
    try:
        record = read_record(folder)
    except BadInput as error:
        return Criterion(name, False, f"{error}; {again} --overwrite", str(folder))
    if record is None or record.status != "done":
        return Criterion(name, False, f"not summarised; {again}", str(folder))
    made = hash_folder(folder, list(record.outputs))
    offenders += [
        f"{file} of the summary is gone or was edited"
        for file, output in record.outputs.items()
        if made.get(file) != output["sha256"]
    ]
    plan = plan_folder(stage.home, stage.name)
    asked = {"manifest": plan / MANIFEST, "plan": plan / PLAN}
    if any(record.inputs[key]["sha256"] != hash_path(path) for key, path in asked.items()):
        offenders.append("the stage was planned anew since")
    # Where the list of runs itself was edited, that is said, and nothing is made of it.
    listed = made.get(RESULTS) == record.outputs.get(RESULTS, {}).get("sha256")
    lines = read_jsonl(folder / RESULTS) if listed else []
    then = {line["run"]: line["results"] for line in lines}
    if listed:
        offenders += [f"run {run} was not summarised" for run in stage.results if run not in then]
    offenders += [
        f"run {run} holds something else now"
        for run, mark in then.items()
        if stage.results.get(run, mark) != mark
    ]
    offenders += [f"run {run} is gone" for run in then if run not in stage.results]
    if stage.missing:
        offenders.append(f"{len(stage.missing)} runs are missing in it")
    return _criterion(
        name, offenders, f"{len(then):,} runs", f"out of step; {again} --overwrite", folder
    )


def _measured(stage: Stage) -> Criterion:
    """Every series of every run has a finite value of the ranked metric, on every part."""
    name = f"{stage.name}: every ranked metric is there and finite"
    path = summary_folder(stage.home, stage.name) / "measured.parquet"
    if not path.is_file():
        return Criterion(name, False, "not summarised, so not measured", str(path))
    from whence.runs.tables import read_table

    try:
        table = read_table(path).to_pandas()
    except WhenceError as error:
        return Criterion(name, False, str(error), str(path))
    offenders = []
    finite = np.isfinite(table["value"].to_numpy(dtype=np.float64))
    bad = table[~finite]
    offenders += [f"run {run} has values that are not finite" for run in bad["run"].unique()]
    # What validates and tests is measured on both; a series that lacks one cannot be ranked.
    parts = set(table["part"].unique())
    there = table[finite].groupby(["run", "series"], sort=False)["part"].agg(set)
    measured = set(table["run"].unique())
    for (run, series), own in there.items():
        lacking = parts - own
        if lacking:
            told = " and ".join(sorted(lacking))
            offenders.append(f"run {run}: {series} has no {_metrics(table)} on {told}")
    offenders += [
        f"run {run} has no {_metrics(table)}"
        for run in dict.fromkeys(entry.run for entry in stage.entries)
        if run not in measured
    ]
    return _criterion(
        name,
        offenders,
        f"{len(table):,} values of {_metrics(table)} in {len(measured):,} runs",
        f"{len(offenders):,} missing or not finite",
        path,
    )


def _metrics(table: Any) -> str:
    return " and ".join(sorted(map(str, table["metric"].unique())))


def _runs(stage: Stage) -> Iterator[Criterion]:
    """The command's own checks of every finished run, a line a check."""
    from whence.sweep.campaigns import of
    from whence.sweep.settings import RankSettings

    campaign = of(stage.plan["command"], RankSettings(**stage.plan["rank"]))
    outputs = {entry.run: stage.home / entry.output for entry in stage.entries}
    by_name: dict[str, list[tuple[str, Check]]] = {}
    unreadable = []
    for run in track(list(stage.results), label=f"checking {stage.name}", unit="runs"):
        try:
            for check in campaign.checks(outputs[run]):
                by_name.setdefault(check.name, []).append((run, check))
        except (WhenceError, OSError, KeyError) as error:
            unreadable.append(f"run {run}: cannot be checked ({type(error).__name__}: {error})")
    where = stage.home / "runs"
    if unreadable:
        yield _criterion(
            f"{stage.name}: runs can be read", unreadable, "", f"{len(unreadable)} cannot", where
        )
    for name, own in by_name.items():
        failed = [f"run {run}: {check.sentence}" for run, check in own if not check.passed]
        proved = sum(check.proved for _, check in own if check.passed)
        idle = len(own) - len(failed) - proved
        said = f"{proved}/{len(own)} passed"
        said += f", {idle} could not be tested" if idle else ""
        offenders = failed
        if not failed and not proved:
            first = own[0][1].sentence
            offenders = [f"nothing tested it; the first says: {first}"]
        yield _criterion(f"{stage.name}: {name}", offenders, said, said, where)


def _readme(home: Path, readme: Path, markers: tuple[str, str]) -> Criterion:
    """The block says what the summaries say now."""
    from whence.runs.marked_block import block_of

    name = "README in step with the results"
    try:
        there = block_of(readme, *markers)
        wanted = readme_block(home).strip("\n")
    except BadInput as error:
        return Criterion(name, False, str(error), str(readme))
    if there == wanted:
        return Criterion(name, True, "the block is what the summaries say", str(readme))
    told = f"the block says something else; whence sweep summarize {home} --readme {readme}"
    return Criterion(name, False, told, str(readme))


def facts_of(found: Sequence[Criterion], stages: Sequence[str], home: Path) -> Mapping[str, Any]:
    """`gate.json`."""
    failed = [each.name for each in found if not each.passed]
    summaries = {}
    for stage in stages:
        path = summary_folder(home, stage) / SUMMARY
        # One that cannot be read is among what failed already.
        with suppress(BadInput, KeyError, TypeError):
            if path.is_file():
                summaries[stage] = read_json(path)["headline"]
    return {
        "verdict": "NOT OK" if failed else "OK",
        "passed": len(found) - len(failed),
        "failed": failed,
        "stages": list(stages),
        "criteria": [each.to_dict() for each in found],
        "results": summaries,
    }
