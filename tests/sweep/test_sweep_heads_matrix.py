"""Models × conditions of `heads run`: planned from config.json, each run equal to itself alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from whence.commands import load
from whence.errors import BadInput
from whence.heads.rebuild import RebuildConfig, rebuild
from whence.heads.run import RunConfig, run_plan
from whence.sweep.campaigns import trial
from whence.sweep.campaigns.heads_run import HeadsRun
from whence.sweep.campaigns.heads_trial import samples_of
from whence.sweep.campaigns.kept_model import forget_model
from whence.sweep.campaigns.trial import Tried, tried
from whence.sweep.plan import PlanConfig, plan
from whence.sweep.settings import RankSettings
from whence.sweep.tasks import Task, read_tasks
from whence.sweep.told import headline

ROWS = 6
LAYERS, HEADS = 6, 4
"""Of the tiny model."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small corpora without splits, and a plan of two conditions."""
    from whence.heads.corpora.make import MakeConfig, make

    home = tmp_path_factory.mktemp("matrix")
    make(MakeConfig(output_dir=home / "probes", count=40))
    (home / "corpora").mkdir()
    for name in ("facts", "logic"):
        lines = (home / f"probes/corpora/{name}.jsonl").read_text().splitlines()
        (home / f"corpora/{name}.jsonl").write_text("\n".join(lines[:ROWS]) + "\n")
    conditions = [{"tag": name, "dataset": {"id": name}} for name in ("facts", "logic")]
    written = {
        "run_name": "matrix",
        "battery": {"type": "heads_zero"},
        "shared": {"model": {"name": "tiny", "dtype": "float32"}, "device": "cpu"},
        "conditions": conditions,
    }
    (home / "plan.json").write_text(json.dumps(written))
    patch = {"type": "activation_patch", "layers": [1, 5], "window": True}
    (home / "patch.json").write_text(json.dumps({**written, "battery": patch}))
    far = {"type": "heads_zero", "layers": [5, 6]}
    (home / "far.json").write_text(json.dumps({**written, "battery": far}))
    return home


def planned(
    home: Path, folder: Path, stage: str = "one", trial: bool = False, **grid: Any
) -> tuple[Any, list[Task]]:
    given = {
        "command": "heads run",
        "base": {"plan": str(home / "plan.json"), "corpora": str(home / "corpora")},
        "stages": [{"name": stage, "grid": grid}],
        "output_dir": folder,
        "trial": trial,
    }
    facts = plan(PlanConfig.model_validate(given)).facts
    return facts, read_tasks(folder / "plan" / stage / "tasks.jsonl")


def test_a_matrix_is_counted_as_the_replays_that_it_makes(home: Path, tmp_path: Path) -> None:
    facts, tasks = planned(home, tmp_path / "a", only="all", dtype=["float32", "bfloat16"])
    replays = sum(HEADS * (LAYERS - layer) / LAYERS for layer in range(LAYERS))
    assert facts["cost"]["forwards"] == 4 * ROWS * (2 + replays)
    assert len(tasks) == 4
    # Residuals: what leaves layer 1 enters block 2; what leaves the last layer replays nothing.
    plans = [str(home / "patch.json")]
    facts, _ = planned(home, tmp_path / "b", plan=plans, only=["facts"])
    assert facts["cost"]["forwards"] == round(ROWS * (3 + (4 + 0 + 4) / LAYERS))


def test_seeds_that_draw_nothing_are_one_run(home: Path, tmp_path: Path) -> None:
    facts, _ = planned(home, tmp_path / "a", only=["facts"], seeds=[0, 1], memory_gb=[1, 2])
    assert (facts["configurations"], facts["runs"]) == (4, 1)
    assert {each["factor"] for each in facts["collapsed"]} == {"seeds", "memory_gb"}
    facts, _ = planned(home, tmp_path / "b", only=["facts"], seeds=[0, 1], subsample=[3])
    assert (facts["runs"], facts["collapsed"]) == (2, [])


@pytest.mark.parametrize(
    ("grid", "told"),
    [
        ({"only": ["facts", "logik"]}, "only=logik.*did you mean logic"),
        ({"corpora": ["/no/corpora"]}, "/no/corpora"),
        ({"split": ["all", "test"]}, "split=test.*has no split file"),
        ({"model": ["tiny", "/no/model"]}, 'model=/no/model.*no model folder "/no/model"'),
        ({"plan": ["/no/plan.json"]}, "/no/plan.json"),
        ({"plan": ["far.json"]}, "layer"),
        ({"subsample": [3, 30]}, "subsample=30.*6 rows"),
        ({"seeds": "all"}, "stands for no values"),
    ],
)
def test_what_cannot_run_is_found_before_anything_does(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grid: Any, told: str
) -> None:
    monkeypatch.chdir(home)
    with pytest.raises(BadInput, match=told):
        planned(home, tmp_path, **grid)


def test_each_run_equals_itself_alone_and_they_can_be_put_together(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from whence.heads import conditions

    forget_model()
    loads = []
    first_load = conditions.load

    def counted(*given: Any, **named: Any) -> Any:
        loads.append(given)
        return first_load(*given, **named)

    monkeypatch.setattr(conditions, "load", counted)
    _, tasks = planned(home, tmp_path, only="all")
    for task in tasks:
        load(task.function)(load(task.config).model_validate(task.settings))
    assert len(loads) == 1
    forget_model()
    for name, task in zip(("facts", "logic"), tasks, strict=True):
        alone = tmp_path / name
        run_plan(
            RunConfig(
                plan=home / "plan.json", corpora=home / "corpora", only=(name,), output_dir=alone
            )
        )
        for file in ("metrics/per_example.parquet", "metrics/summary.json"):
            there = tmp_path / task.output / file
            assert there.read_bytes() == (alone / file).read_bytes(), (name, file)
    runs = tuple(tmp_path / task.output for task in tasks)
    together = rebuild(RebuildConfig(runs=runs, output_dir=tmp_path / "together"))
    assert list(together.summary["conditions"]) == ["facts", "logic"]
    # Another stage finds them done: they are neither tried nor priced again.
    tried_for: list[list[str]] = []

    def noted(samples: Any) -> Tried:
        tried_for.extend([task.id for task in sample.planned] for sample in samples)
        return Tried({"run": 0.5}, {"run": 10.0}, start=3.0)

    monkeypatch.setattr(trial, "tried", noted)
    facts, _ = planned(home, tmp_path, "two", trial=True, only="all")
    assert (facts["done"], facts["seconds"], tried_for) == (2, 0.0, [])
    shutil.rmtree(tmp_path / tasks[1].output)
    facts, _ = planned(home, tmp_path, "three", trial=True, only="all")
    assert tried_for == [[tasks[1].id]]
    assert (facts["done"], facts["seconds"]) == (1, 3.0 + 0.5 * tasks[1].work)
    assert facts["bytes_tried"] == 10.0 * tasks[1].work
    assert "1 of 2 tasks are done; about " in headline(facts)


def test_small_runs_stand_for_the_largest_of_each_model(home: Path, tmp_path: Path) -> None:
    _, tasks = planned(home, tmp_path / "sweep", dtype=["float32"])
    (sample,) = samples_of(tasks, tmp_path / "trial", HeadsRun(RankSettings())._task)
    assert sample.planned == tasks
    # Both conditions, on 2, 2 and 6 rows of each.
    replays = sum(HEADS * (LAYERS - layer) / LAYERS for layer in range(LAYERS))
    assert [each.work for each in sample.small] == [2 * n * (2 + replays) for n in (2, 2, 6)]
    (task,) = tasks
    few = RunConfig.model_validate(sample.small[0].settings)
    assert few.corpora is not None
    for name in ("facts", "logic"):
        lines = (home / f"corpora/{name}.jsonl").read_text().splitlines()
        cut = (few.corpora / f"{name}.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in cut] == [json.loads(lines[0]), json.loads(lines[-1])]
    found = tried([sample])
    load(task.function)(load(task.config).model_validate(task.settings))
    left = [file.stat().st_size for file in (tmp_path / "sweep/runs").rglob("*") if file.is_file()]
    assert found.bytes["run"] * task.work == pytest.approx(sum(left), rel=0.2)
    assert found.seconds["run"] > 0


def test_subsamples_are_tried_on_smaller_ones(home: Path, tmp_path: Path) -> None:
    _, tasks = planned(home, tmp_path / "sweep", only=["facts"], subsample=[3])
    (sample,) = samples_of(tasks, tmp_path / "trial", HeadsRun(RankSettings())._task)
    settings = [RunConfig.model_validate(each.settings) for each in sample.small]
    assert [each.subsample for each in settings] == [2, 2, 3]
    # Of all rows, for some may be such that they cannot be drawn.
    assert settings[0].corpora is not None
    assert len((settings[0].corpora / "facts.jsonl").read_text().splitlines()) == ROWS
