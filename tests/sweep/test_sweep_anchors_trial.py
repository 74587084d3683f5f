"""What a pass and an evaluation of `anchors run` take, measured before a stage is run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from whence.anchors.make import MakeConfig, make
from whence.runs.jsonfile import read_jsonl
from whence.sweep.campaigns import anchors_trial
from whence.sweep.campaigns.anchors_trial import DONE, samples_of
from whence.sweep.campaigns.trial_process import TIMINGS, Timing
from whence.sweep.plan import PlanConfig, plan
from whence.sweep.tasks import Task, read_tasks, write_tasks


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> list[Task]:
    """One pass over 12 traces and two evaluations."""
    home = tmp_path_factory.mktemp("anchors")
    make(MakeConfig(count=12, output_dir=home / "traces"))
    base: dict[str, Any] = {
        "dataset": {"metadata": str(home / "traces/sentence_metadata.parquet")},
        "activations": {"model_name_or_path": "tiny", "dtype": "float32"},
        "training": {"probes": ["position_baseline", "linear_probe"], "bootstrap_iterations": 100},
    }
    stage = {"name": "one", "grid": {"labels.anchor_percentile": [50.0, 60.0]}}
    given = {"command": "anchors run", "base": base, "stages": [stage], "trial": False}
    plan(PlanConfig.model_validate({**given, "output_dir": home / "sweep"}))
    return read_tasks(home / "sweep/plan/one/tasks.jsonl")


def test_a_pass_and_an_evaluation_are_timed(tasks: list[Task], tmp_path: Path) -> None:
    (sample,) = samples_of(tasks, set(), tmp_path)
    assert sorted(task.id for task in sample.planned) == sorted(task.id for task in tasks)
    found = timed(sample.small, tmp_path)
    assert [(each.kind, each.first) for each in found] == [
        ("extract", True),
        ("extract", False),
        ("judge", False),
    ]
    start, pace, fit = (each.seconds for each in found)
    # A character takes next to nothing beside the start.
    assert 0 < pace < start / 10
    assert 0 < fit < 10


def test_a_pass_that_is_done_is_not_made_again(tasks: list[Task], tmp_path: Path) -> None:
    done = {task.id for task in tasks if task.kind == "extract"}
    (sample,) = samples_of(tasks, done, tmp_path)
    assert [task.kind for task in sample.small] == [DONE, "judge"]
    assert [each.kind for each in timed(sample.small, tmp_path)] == ["judge"]
    # A second pass of the same model that is not done is the one that is timed.
    (extract,) = (task for task in tasks if task.kind == "extract")
    other = replace(extract, id="extract-other")
    judge = replace(tasks[-1], id="other", needs=[other.id])
    (sample,) = samples_of([*tasks, other, judge], done, tmp_path)
    assert [task.id for task in sample.small] == [other.id, judge.id]


def timed(small: Any, folder: Path) -> list[Timing]:
    write_tasks(folder / "tasks.jsonl", small)
    anchors_trial.main(folder / "tasks.jsonl", folder)
    return [Timing(**line) for line in read_jsonl(folder / TIMINGS)]
