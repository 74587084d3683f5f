"""Benchmarks as a judge of an experiment, beside loss and words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from whence.data.experiment.outcome import metrics_of, verdict_of
from whence.data.experiment.settings import ExperimentConfig
from whence.errors import BadInput

SETTINGS: dict[str, Any] = {"manifest": Path("m.json"), "output_dir": Path("out")}


def test_eval_takes_the_place_of_judges() -> None:
    config = ExperimentConfig(**SETTINGS, eval=("bench",), tasks="ifeval,arc_easy")
    assert config.judges == ("bench",)
    assert config.eval is None
    assert config.tasks == ("ifeval", "arc_easy")
    # As a flag does of what a file says.
    both = ExperimentConfig(**SETTINGS, judges=["loss", "words"], eval=["loss"])
    assert both.judges == ("loss",)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"judges": ("bench",)}, "judges: bench needs tasks, as in --tasks ifeval"),
        ({"eval": ("bench",)}, "judges: bench needs tasks"),
        ({"tasks": ("ifeval",)}, "judges does not name bench"),
        ({"judges": ("bench",), "tasks": ("a", "a")}, "given twice"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        ExperimentConfig(**SETTINGS, **settings)


def test_documents_of_tasks_are_compared_beside_eval_rows() -> None:
    rows = [
        {"arm": arm, "seed": seed, "row_id": f"e{i}", "correct": None, "loss": loss + i / 10 + seed}
        for arm, loss in (("top", 1.0), ("random", 1.5))
        for seed in (0, 1)
        for i in range(6)
    ]
    rows += [
        {"arm": arm, "seed": seed, "row_id": f"arc/{i}", "arc acc": float(i % share == seed)}
        for arm, share in (("top", 2), ("random", 3))
        for seed in (0, 1)
        for i in range(30)
    ]
    items = pd.DataFrame(rows)
    groups = {f"e{i}": f"g{i}" for i in range(6)}
    assert metrics_of(items, ["arc acc"]) == {"arc acc": True, "loss": False}
    found = verdict_of(items, groups, [("top", "random")], None, bench=["arc acc"])
    acc, loss = found["comparisons"]
    assert (acc["metric"], acc["items"], acc["seeds"]) == ("arc acc", 30, 2)
    assert acc["effect"] == pytest.approx(1 / 2 - 1 / 3)
    assert (loss["metric"], loss["items"]) == ("loss", 6)
    assert loss["effect"] == pytest.approx(-0.5)
    assert found["arms"]["top"] == pytest.approx({"arc acc": 0.5, "loss": 1.75})


def test_a_loss_that_is_no_number_is_refused_beside_tasks_too() -> None:
    rows = [
        {"arm": arm, "seed": 0, "row_id": f"e{i}", "correct": None, "loss": loss}
        for arm in ("top", "random")
        for i, loss in enumerate((1.0, float("nan") if arm == "top" else 1.0))
    ]
    rows += [
        {"arm": arm, "seed": 0, "row_id": f"arc/{i}", "arc acc": 1.0}
        for arm in ("top", "random")
        for i in range(3)
    ]
    groups = {"e0": "g0", "e1": "g1"}
    with pytest.raises(BadInput, match="'loss' is nan at arm 'top', seed 0, row_id 'e1'"):
        verdict_of(pd.DataFrame(rows), groups, [("top", "random")], None, bench=["arc acc"])


TASK = """
task: guess_choice
dataset_path: json
dataset_kwargs:
  data_files: {{test: {data}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{prompt}}}}"
doc_to_choice: choices
doc_to_target: gold
metric_list: [{{metric: acc}}]
"""


@pytest.mark.slow
def test_an_experiment_judged_by_a_task(
    games: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from whence.__main__ import main

    documents = [
        {"prompt": f"CLUE: number {i}. GUESS:", "choices": ["fox", "river"], "gold": i % 2}
        for i in range(12)
    ]
    folder = tmp_path / "tasks"
    folder.mkdir()
    data = folder / "documents.jsonl"
    data.write_text("".join(json.dumps(line) + "\n" for line in documents))
    (folder / "guess_choice.yaml").write_text(TASK.format(data=data))
    asked = [
        *("data", "experiment", "experiment.yaml", "--judges", "words", "bench"),
        *("--tasks", "guess_choice", "--task-include-path", str(folder)),
        *("--output-dir", str(tmp_path / "out")),
    ]
    monkeypatch.chdir(shutil.copytree(games, tmp_path / "home"))
    assert main(asked) == 0
    verdict = json.loads((tmp_path / "out/verdict.json").read_text())
    items = pd.read_parquet(tmp_path / "out/items.parquet")
    metric = "guess_choice acc"
    assert {c["metric"] for c in verdict["comparisons"]} == {"correct", metric, "loss"}
    own = items[items[metric].notna()]
    assert own.groupby("arm")[metric].mean().to_dict() == pytest.approx(
        {arm: means[metric] for arm, means in verdict["arms"].items()}
    )
    assert set(own["row_id"]) == {f"guess_choice/{i}" for i in range(12)}
    assert metric.replace("_", " ") in (tmp_path / "out/report.html").read_text()
