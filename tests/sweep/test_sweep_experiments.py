"""Experiments planned and run as one piece of work give what each gives alone."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from whence.commands import load
from whence.data.experiment import ExperimentConfig, experiment
from whence.data.train import OptimSettings
from whence.errors import BadInput
from whence.runs.jsonfile import read_json
from whence.sweep.campaigns.experiment_steps import rows_read
from whence.sweep.campaigns.kept_model import forget_model
from whence.sweep.plan import PlanConfig, plan
from whence.sweep.tasks import Task, read_tasks

ARMS = ["best=top:6", "matched_random:of=best", "random:6"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from whence.__main__ import main

    home = tmp_path_factory.mktemp("experiments")
    games = ["tiny", "make", "--kind", "games", "--count", "20", "--query", "4"]
    assert main([*games, "--evaluation", "6", "--out", str(home / "games")]) == 0
    return home


@pytest.fixture
def base(home: Path) -> dict[str, Any]:
    """Settings of an experiment on 20 games, its data built by itself."""
    return {
        "build": {
            "run_dir": str(home / "data"),
            "train_file": str(home / "games/pool.jsonl"),
            "test_file": str(home / "games/test.jsonl"),
            "train_size": 20,
            "query_size": 4,
            "eval_size": 6,
            "stratify_by": [],
            "withhold": ["kind"],
        },
        "base_model": "tiny",
        "device": "cpu",
        "arms": ARMS,
        "seeds": [0],
        "max_length": 128,
        "lora": {"lora_r": 4, "lora_alpha": 64},
        "optim": {
            "learning_rate": 8e-3,
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 1,
        },
        "planted": {"file": str(home / "data/withheld.parquet")},
    }


def planned(base: Any, folder: Path, name: str = "one", **stage: Any) -> tuple[Any, list[Task]]:
    """What `plan.json` says, and the tasks."""
    given = {
        "command": "data experiment",
        "base": base,
        "stages": [{"name": name, **stage}],
        "output_dir": folder,
        "trial": False,
    }
    facts = plan(PlanConfig.model_validate(given)).facts
    return facts, read_tasks(folder / "plan" / name / "tasks.jsonl")


def kinds(tasks: Sequence[Task]) -> Counter[str]:
    return Counter(task.kind for task in tasks)


def run_tasks(tasks: Sequence[Task]) -> None:
    for task in tasks:
        load(task.function)(load(task.config).model_validate(task.settings))


def test_one_scoring_and_one_training_a_cell(base: Any, tmp_path: Path) -> None:
    arms = [ARMS, ["best=top:6", "matched_random:of=best"], ["mine=top:6"]]
    facts, tasks = planned(base, tmp_path, grid={"arms": arms, "seeds": [[0], [0, 1]]})
    # Cells by hand: the base; top, matched and random under each of two seeds.
    assert kinds(tasks) == {"adapter": 1, "score": 1, "cell": 1 + 3 * 2, "verdict": 6}
    assert facts["cost"]["trainings"] == 1 + 3 * 2
    assert facts["cost"]["naive_trainings"] == sum(
        1 + arms * seeds for arms in (3, 2, 1) for seeds in (1, 2)
    )
    for task in tasks:
        if task.kind == "cell" and not task.label.startswith(("base", "random")):
            assert any(need.startswith("score") for need in task.needs), task.label
    # Neither the base nor a random draw from the whole pool waits for the scores.
    free = {task.label for task in tasks if task.kind == "cell" and not task.needs}
    assert free == {"base", "random_6, seed 0", "random_6, seed 1"}


@pytest.mark.parametrize(
    ("rows", "batch", "accumulation", "read"),
    # 6 rows in one batch of 128: a step reads 6. 60 rows, 4 a batch, 4 batches a step: 15 batches
    # are 4 steps an epoch, so 8 steps are 2 epochs. 3 rows one by one, a step of all: 8 × 3.
    [(6, 128, 4, 8 * 6), (60, 4, 4, 120), (3, 1, 4, 24), (1000, 10, 2, 160)],
)
def test_a_step_reads_no_more_rows_than_there_are(
    rows: int, batch: int, accumulation: int, read: int
) -> None:
    optim = OptimSettings(
        max_steps=8, per_device_train_batch_size=batch, gradient_accumulation_steps=accumulation
    )
    assert rows_read(rows, optim) == read


def test_another_adapter_of_arms_is_no_other_scoring_where_that_is_fixed(
    base: Any, tmp_path: Path
) -> None:
    grid = {"lora.lora_r": [2, 8]}
    _, tasks = planned(base, tmp_path / "tied", grid=grid)
    assert kinds(tasks) == {"adapter": 2, "score": 2, "cell": 7, "verdict": 2}
    fixed = {**base, "scoring_lora": {"lora_r": 4}}
    _, tasks = planned(fixed, tmp_path / "fixed", grid=grid)
    assert kinds(tasks) == {"adapter": 1, "score": 1, "cell": 7, "verdict": 2}


def test_what_cannot_change_a_number_is_collapsed_and_said(base: Any, tmp_path: Path) -> None:
    grid = {"question": ["a?", "b?"], "max_new_tokens": [4, 8], "planted.useful": [["useful"]]}
    facts, tasks = planned(base, tmp_path, grid=grid)
    assert facts["configurations"] == 4
    assert kinds(tasks)["verdict"] == facts["runs"] == 1
    told = {each["factor"]: each["why"] for each in facts["collapsed"]}
    assert told == {
        "question": "it is the head of the report",
        "max_new_tokens": "words are not judged",
    }
    # Where words are judged, the length of answers counts.
    words = {**base, "judges": ["words", "loss"]}
    facts, _ = planned(words, tmp_path / "words", grid={"max_new_tokens": [4, 8]})
    assert facts["runs"] == 2


@pytest.mark.parametrize(
    ("grid", "named"),
    [
        ({"arms": [["top:6"], ["top:60"]]}, "arms=['top:60'].*needs 60 ranked rows"),
        ({"eval_split": ["eval", "evla"]}, "eval_split=evla.*did you mean"),
        (
            {"base_model": ["tiny", "/no/model"]},
            'base_model=/no/model.*no model folder "/no/model"',
        ),
        ({"dtype": ["float32", "float31"]}, 'dtype=float31.*dtype "float31" is unknown'),
        ({"scoring_lora": [{}, {"lora_q": 3}]}, "lora_q.*did you mean"),
        ({"match_on": [[], ["colour"]]}, "colour"),
    ],
)
def test_a_broken_configuration_is_found_before_anything_runs(
    base: Any, tmp_path: Path, grid: Any, named: str
) -> None:
    import re

    with pytest.raises(BadInput, match=named.replace("[", r"\[").replace("]", r"\]")) as caught:
        planned(base, tmp_path, grid=grid)
    assert re.match(r"1 of 2 configurations cannot run, and none was: ", str(caught.value))
    assert not (tmp_path / "plan").exists()


@pytest.mark.slow
def test_run_together_each_equals_itself_alone(base: Any, tmp_path: Path) -> None:
    forget_model()
    arms = [["best=top:6", "random:6"], ["mine=top:6", "matched_random:of=mine"]]
    _, tasks = planned(base, tmp_path / "sweep", grid={"arms": arms})
    assert kinds(tasks) == {"adapter": 1, "score": 1, "cell": 4, "verdict": 2}
    run_tasks(tasks)
    for task, own in zip([t for t in tasks if t.kind == "verdict"], arms, strict=True):
        alone = copy.deepcopy(base) | {"arms": own, "output_dir": tmp_path / own[0][:4]}
        folder = experiment(ExperimentConfig.model_validate(alone)).folder
        for name in ("items.parquet", "verdict.json"):
            together = tmp_path / "sweep" / task.output / name
            assert together.read_bytes() == (folder / name).read_bytes(), (own, name)
        taken = read_json(tmp_path / "sweep" / task.output / f"arms/{own[0][:4]}/seed-0/cell.json")
        assert "/shared/cell-" in taken["taken_from"]
    # A second stage asks for the same again under other words: nothing has other settings.
    _, again = planned(
        base | {"question": "Again?"}, tmp_path / "sweep", "two", grid={"arms": arms}
    )
    assert {task.id: task.settings for task in again} == {task.id: task.settings for task in tasks}
