"""Small experiments that stand for planned ones: every kind of task, and what it costs."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from whence.models.load import model_source
from whence.runs.jsonfile import read_jsonl
from whence.runs.manifest import load_manifest, read_split
from whence.sweep.campaigns import experiment_trial
from whence.sweep.campaigns.contents import Contents
from whence.sweep.campaigns.experiment_trial import _shares, samples_of
from whence.sweep.campaigns.trial import Sample
from whence.sweep.execute.worker import run_task
from whence.sweep.plan import PlanConfig, plan
from whence.sweep.run import RunConfig, run_sweep
from whence.sweep.tasks import Task, read_tasks

POOL = 24


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built pool of 24 games, 4 queries, 6 games to judge by."""
    from whence.__main__ import main

    home = tmp_path_factory.mktemp("data")
    games = ["tiny", "make", "--kind", "games", "--count", str(POOL), "--query", "4"]
    assert main([*games, "--evaluation", "6", "--out", str(home / "games")]) == 0
    built = ["--train-size", str(POOL), "--query-size", "4", "--eval-size", "6"]
    files = ["--train-file", str(home / "games/pool.jsonl")]
    files += ["--test-file", str(home / "games/test.jsonl"), "--withhold", "kind"]
    assert main(["data", "build", *files, *built, "--run-dir", str(home / "built")]) == 0
    return home / "built"


@pytest.fixture(scope="module")
def earlier(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An adapter and scores that are given."""
    home = tmp_path_factory.mktemp("earlier")
    planned(settings(data), home)
    made = {task.kind: task for task in tasks_of(home) if task.kind in ("adapter", "score")}
    for task in made.values():
        assert run_task(task, home, attempt=1).failure is None
    return {
        "scoring_adapter": home / made["adapter"].output,
        "scores": home / made["score"].output,
    }


@pytest.fixture
def base(data: Path) -> dict[str, Any]:
    return settings(data)


def settings(data: Path) -> dict[str, Any]:
    """Of an experiment on the data."""
    return {
        "manifest": str(data / "manifest.json"),
        "base_model": "tiny",
        "device": "cpu",
        "arms": ["best=top:6", "matched_random:of=best", "full"],
        "seeds": [3, 4],
        "max_length": 128,
        "lora": {"lora_r": 4, "lora_alpha": 64},
        "optim": {"learning_rate": 8e-3, "num_train_epochs": 2, "per_device_train_batch_size": 4},
        "planted": {"file": str(data / "withheld.parquet"), "oracle": 4},
    }


def planned(base: Any, folder: Path, *, trial: bool = False, **stage: Any) -> Any:
    """What `plan.json` says; the tasks are in the folder."""
    given = {
        "command": "data experiment",
        "base": base,
        "stages": [{"name": "one", **stage}],
        "output_dir": folder,
        "trial": trial,
    }
    return plan(PlanConfig.model_validate(given)).facts


def tasks_of(folder: Path) -> list[Task]:
    return read_tasks(folder / "plan/one/tasks.jsonl")


def kinds(tasks: Sequence[Task]) -> Counter[str]:
    return Counter(task.kind for task in tasks)


def rows_of(task: Task, split: str) -> list[str]:
    """Rows of the split under the name that the task's settings have for it."""
    manifest = load_manifest(Path(task.settings["manifest"]))
    ids: list[str] = read_split(manifest, task.settings[split])["row_id"].tolist()
    return ids


def run_small(sample: Sample) -> None:
    """As the trial's process does."""
    sample.folder.mkdir(exist_ok=True)
    for task in sample.small:
        outcome = run_task(task, sample.folder, attempt=1)
        assert outcome.failure is None, (task.label, outcome.error)
        assert not outcome.reused
        assert (sample.folder / task.output / "whence.json").is_file()


def test_rounds_have_every_kind_and_parts_as_they_are_planned(
    base: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment_trial, "ROUNDS", (8, 16))
    planned(base, tmp_path / "sweep", grid={"lora.lora_r": [2, 8]})
    tasks = tasks_of(tmp_path / "sweep")
    (sample,) = samples_of(tasks, tmp_path / "trial", Contents())
    assert set(kinds(sample.planned)) == {"adapter", "score", "cell", "verdict"}
    assert kinds(sample.small) == dict.fromkeys([*kinds(sample.planned), "untold cell"], 2)
    cells = [task for task in sample.small if task.kind == "cell"]
    # Four times 2 passes over 6, 6, 24 and 4 rows, and the base: 19 rows a cell; 6 to judge by.
    assert [task.work for task in cells] == [8, 16]
    assert [len(rows_of(task, "eval_split")) for task in cells] == [2, 4]
    assert [task.settings["lora"]["lora_r"] for task in cells] == [5, 5]
    scored = [task for task in sample.small if task.kind == "score"]
    assert [task.work for task in scored] == [8, 16]
    # A split's rows come from all over it, in its order.
    manifest = load_manifest(Path(base["manifest"]))
    whole = read_split(manifest, "score_pool")["row_id"].tolist()
    drawn = [whole.index(row) for row in rows_of(scored[0], "pool_split")]
    assert drawn == sorted(drawn)
    assert drawn[0] == 0
    assert drawn[-1] == POOL - 1
    run_small(sample)


@pytest.mark.parametrize(("total", "parts"), [(8, (6, 2)), (100, (30, 10))])
def test_shares_keep_proportions(total: int, parts: tuple[int, int]) -> None:
    assert _shares(total, 30, 10) == parts
    for first, second in ((1, 1), (1, 1000), (1000, 1), (3, 2)):
        one, two = _shares(total, first, second)
        assert 1 <= one <= first
        assert 1 <= two <= second
        assert one + two == min(total, first + second)


@pytest.mark.parametrize(
    ("given", "made"),
    [
        # Trained far more than judged, in steps; answers judged, by few rows.
        (
            {
                "judges": ["words", "loss"],
                "optim": {"max_steps": 400, "learning_rate": 1e-4},
                "scoring_optim": {"max_steps": 300},
            },
            {"adapter", "score"},
        ),
        ({"scores": True}, set()),
        ({"scoring_adapter": True}, {"score"}),
        ({"scores": True, "start_from": "scoring_adapter"}, {"adapter"}),
        ({"scoring_split": "score_pool", "arms": ["random:6"]}, {"adapter", "score"}),
    ],
)
def test_whatever_an_experiment_is_given(
    base: Any,
    given: dict[str, Any],
    made: set[str],
    earlier: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(experiment_trial, "ROUNDS", (8,))
    files = {name: str(earlier[name]) for name, value in given.items() if value is True}
    planned({**base, **given, **files}, tmp_path / "sweep", grid={"seeds": [[3], [4]]})
    (sample,) = samples_of(tasks_of(tmp_path / "sweep"), tmp_path / "trial", Contents())
    assert set(kinds(sample.planned)) == {*made, "cell", "verdict"}
    assert kinds(sample.small) == dict.fromkeys([*made, "cell", "verdict", "untold cell"], 1)
    run_small(sample)


def test_a_pool_smaller_than_a_round(
    base: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All rounds are of the same rows then, and each is run nevertheless."""
    monkeypatch.setattr(experiment_trial, "ROUNDS", (8, 16))
    small = {**base, "pool_split": "attr_query", "arms": ["random:3"], "planted": None}
    planned(small, tmp_path / "sweep", grid={"optim.num_train_epochs": [1, 3]})
    (sample,) = samples_of(tasks_of(tmp_path / "sweep"), tmp_path / "trial", Contents())
    scored = [task for task in sample.small if task.kind == "score"]
    assert [task.work for task in scored] == [8, 8]
    assert all(len(rows_of(task, "pool_split")) == 4 for task in scored)
    run_small(sample)


def test_each_model_is_tried_by_itself(base: Any, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(model_source("tiny"), other)
    (other / "README.md").write_text("of other content")
    models = ["tiny", str(other)]
    planned(base, tmp_path / "sweep", grid={"base_model": models})
    samples = samples_of(tasks_of(tmp_path / "sweep"), tmp_path / "trial", Contents())
    for model, sample in zip(models, samples, strict=True):
        tasks = [*sample.planned, *sample.small]
        assert {task.settings["base_model"] for task in tasks} == {model}
        assert {task.settings["output_dir"] for task in sample.small} == {
            str(sample.folder / task.output) for task in sample.small
        }


def test_cells_that_benchmarks_judge_are_not_told(base: Any, tmp_path: Path) -> None:
    planned(base, tmp_path / "sweep")
    bench = {"judges": ["bench"], "tasks": ["ifeval"]}
    tasks = [
        replace(task, settings={**task.settings, **bench})
        if task.kind in ("cell", "verdict")
        else task
        for task in tasks_of(tmp_path / "sweep")
    ]
    (sample,) = samples_of(tasks, tmp_path / "trial", Contents())
    assert "cell" not in kinds(sample.small)
    for task in sample.small:
        if task.kind in ("untold cell", "verdict"):
            assert (task.settings["judges"], task.settings["tasks"]) == (["loss"], [])


@pytest.mark.slow
def test_a_plan_says_how_long_its_run_takes(
    base: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "temporary"
    there.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(there))
    base["optim"]["num_train_epochs"] = 8
    facts = planned(base, tmp_path / "sweep", trial=True, grid={"lora.lora_r": [2, 8]})
    assert not list(there.iterdir())
    assert set(facts["trial"]) == set(facts["kinds"]) == {"adapter", "score", "cell", "verdict"}
    assert all(seconds > 0 for seconds in facts["trial"].values())
    run_sweep(RunConfig(sweep=tmp_path / "sweep", workers=1))
    lines = read_jsonl(tmp_path / "sweep/registry.jsonl")
    taken = sum(line["seconds"] for line in lines if line["state"] == "done")
    assert taken / 3 < facts["seconds"] < taken * 3
    tasks = tasks_of(tmp_path / "sweep")
    files = [path for task in tasks for path in (tmp_path / "sweep" / task.output).rglob("*")]
    size = sum(path.stat().st_size for path in files if path.is_file())
    assert size / 3 < facts["bytes_tried"] < size * 3
