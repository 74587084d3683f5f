"""Any command with an output folder can be swept, each configuration as a whole."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from whence.commands import load
from whence.errors import BadInput
from whence.runs.record import read_record
from whence.sweep.campaigns import of
from whence.sweep.campaigns.contents import settled
from whence.sweep.collapse import SAME_SETTING
from whence.sweep.layout import stages_planned
from whence.sweep.plan import PlanConfig, plan
from whence.sweep.settings import RankSettings
from whence.sweep.tasks import Task, read_tasks, write_tasks
from whence.sweep.told import markdown

TABLE = {"table": "t.parquet", "value": "x", "higher_is_better": True}


def planned(folder: Path, command: str, base: Any, rank: Any = None, **grid: Any) -> Any:
    given = {
        "command": command,
        "base": base,
        "stages": [{"name": "one", "grid": grid}],
        "rank": TABLE if rank is None else rank,
        "output_dir": folder,
        "trial": False,
    }
    return plan(PlanConfig.model_validate(given)).facts


def test_traces_of_several_seeds_each_in_its_folder(tmp_path: Path) -> None:
    rank = {
        "table": "sentence_metadata.parquet",
        "value": "importance_signed",
        "unit": "problem_id",
    }
    rank |= {"higher_is_better": True}
    facts = planned(tmp_path, "anchors make", {"count": 3}, rank, seed=[0, 1])
    tasks = read_tasks(tmp_path / "plan/one/tasks.jsonl")
    assert facts["kinds"] == {"make": {"tasks": 2, "work": 2.0}}
    campaign = of("anchors make", RankSettings.model_validate(rank))
    for task, seed in zip(tasks, (0, 1), strict=True):
        load(task.function)(load(task.config).model_validate(task.settings))
        record = read_record(tmp_path / task.output)
        assert record is not None
        assert (record.status, record.config["seed"]) == ("done", seed)
        measured = campaign.measured(tmp_path / task.output, RankSettings.model_validate(rank))
        assert measured["unit"].nunique() == 3


def test_inputs_count_by_content_and_not_by_place(tmp_path: Path) -> None:
    rows = '{"clean": "a b", "corrupt": "a c", "target": " d", "foil": " e"}\n'
    for name in ("one", "two", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "c.jsonl").write_text(rows * (2 if name == "other" else 1))
    corpora = [str(tmp_path / name / "c.jsonl") for name in ("one", "two", "other")]
    facts = planned(tmp_path / "sweep", "heads patch", {"model": "tiny"}, corpus=corpora)
    assert (facts["configurations"], facts["runs"]) == (3, 2)
    assert [each["factor"] for each in facts["collapsed"]] == ["corpus"]
    # Another split beside an equal corpus is another run.
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits/c.split.json").write_text('{"train": [0], "val": [], "test": []}')
    (tmp_path / "apart/corpora").mkdir(parents=True)
    (tmp_path / "apart/corpora/c.jsonl").write_text(rows)
    apart = [corpora[0], str(tmp_path / "apart/corpora/c.jsonl")]
    facts = planned(tmp_path / "again", "heads patch", {"model": "tiny"}, corpus=apart)
    assert facts["runs"] == 2


def test_a_folder_that_is_named_in_words_counts_by_content(tmp_path: Path) -> None:
    """Also where the command calls its model otherwise, or takes another model beside it."""
    for name in ("one", "two", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(f'{{"is": "{name[:1]}"}}')
    (tmp_path / "two/config.json").write_text('{"is": "o"}')
    (tmp_path / "other/config.json").write_text('{"is": "x"}')
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    folders = [str(tmp_path / name) for name in ("one", "two", "other")]
    rows = str(tmp_path / "rows.jsonl")
    base = {"model_name": "tiny", "sae_path": ["tiny"], "dataset_path": rows}
    facts = planned(tmp_path / "models", "sae extract", base, model_name=folders)
    assert (facts["configurations"], facts["runs"]) == (3, 2)
    facts = planned(tmp_path / "saes", "sae extract", base, sae_path=[[each] for each in folders])
    assert (facts["configurations"], facts["runs"]) == (3, 2)


def test_values_that_a_command_does_not_tell_apart_are_one_run(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_text("")
    base = {"metadata": str(tmp_path / "t.parquet")}
    facts = planned(tmp_path / "s", "anchors cv", base, folds=[5, "5"], device=["cpu", "<b>"])
    assert (facts["configurations"], facts["runs"]) == (4, 1)
    assert {each["why"] for each in facts["collapsed"]} == {SAME_SETTING}
    said = markdown({**facts, "name": "a <script>"})
    assert said.startswith("# a &lt;script&gt;: one\n")


def test_stages_are_in_the_order_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_text("")
    names = ["zebra", "apple", "mole"]
    for name in reversed(names):
        given = {
            "command": "anchors cv",
            "base": {"metadata": str(tmp_path / "t.parquet")},
            "stages": [{"name": each} for each in names],
            "output_dir": tmp_path / "s",
            "stage": name,
        }
        plan(PlanConfig.model_validate(given))
    assert stages_planned(tmp_path / "s") == names


def test_a_manifest_counts_with_the_rows_that_it_points_to(tmp_path: Path) -> None:
    import pandas as pd

    from whence.runs.manifest import write_split

    text = {"source_split": "x", "group_id": "g"}
    places = []
    for name in ("one", "two", "other"):
        home = tmp_path / name
        rows = pd.DataFrame([{"row_id": "r", "prompt": "p", "completion": name[:1], **text}])
        rows["completion"] = "other" if name == "other" else "same"
        count = write_split(rows, home / "data/train.parquet")
        splits = {"train_base": {"path": "data/train.parquet", "rows": count}}
        (home / "manifest.json").write_text(json.dumps({"dataset": "d", "splits": splits}))
        places.append(str(home / "manifest.json"))
    base = {"base_model": "tiny"}
    facts = planned(tmp_path / "sweep", "data finetune", base, manifest=places)
    assert (facts["configurations"], facts["runs"]) == (3, 2)


@pytest.mark.parametrize(
    ("command", "grid", "rank", "told"),
    [
        ("data eval-loss", {}, None, "has no output_dir"),
        ("anchors make", {"seed": [0]}, {}, "say rank.table or rank.file"),
        ("anchors cv", {"metadata": ["/no/table"]}, None, "metadata: /no/table: no such file"),
        ("sae predict", {"sae_dir": ["/no/sae"]}, None, "sae_dir: /no/sae: no such file"),
        ("data finetune", {"base_model": ["/no/m"]}, None, 'no model folder "/no/m"'),
        ("anchors cvv", {"seed": [0]}, None, "did you mean anchors cv"),
    ],
)
def test_what_cannot_be_swept_is_said_at_once(
    tmp_path: Path, command: str, grid: Any, rank: Any, told: str
) -> None:
    base: dict[str, Any] = {}
    if command == "data finetune":
        (tmp_path / "manifest.json").write_text('{"dataset": "d", "splits": {}}')
        base = {"manifest": str(tmp_path / "manifest.json")}
    if command == "sae predict":
        base = {"scores": str(tmp_path)}
    with pytest.raises(BadInput, match=told):
        planned(tmp_path / "sweep", command, base, rank, **grid)


def test_work_that_another_stage_planned_keeps_its_settings(tmp_path: Path) -> None:
    """Where its inputs are still there; else the new ones count."""
    old, new = tmp_path / "old.jsonl", tmp_path / "new.jsonl"
    old.write_text("")
    first = Task("a", "a", "k", "m:C", "m:f", {"corpus": str(old)}, "runs/a")
    home = tmp_path / "sweep"
    write_tasks(home / "plan/one/tasks.jsonl", [first])
    moved = replace(first, settings={"corpus": str(new)})
    # The sweep itself is at another place now, and the old one is still there.
    (tmp_path / "sweep/runs/a").mkdir(parents=True)
    there = str(tmp_path / "sweep/runs/a")
    elsewhere = replace(first, settings={"corpus": str(old), "output_dir": there})
    write_tasks(tmp_path / "copy/plan/one/tasks.jsonl", [elsewhere])
    here = replace(first, settings={"corpus": str(new), "output_dir": str(tmp_path / "copy/a")})
    assert settled([here], tmp_path / "copy") == [here]
    assert settled([moved], home)[0].settings == {"corpus": str(old)}
    old.unlink()
    assert settled([moved], home)[0].settings == {"corpus": str(new)}
