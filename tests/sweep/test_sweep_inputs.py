"""What tasks read from outside is what was there when they were planned, or nothing runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from whence.errors import BadInput
from whence.sweep.inputs import check_inputs, inputs_of
from whence.sweep.tasks import Task


def task(**settings: Any) -> Task:
    return Task("a", "a", "judge", "m:C", "m:f", settings, "runs/a")


def test_files_outside_are_found_wherever_they_are_named(tmp_path: Path) -> None:
    home, outside = tmp_path / "sweep", tmp_path / "model"
    for folder in (home, outside):
        folder.mkdir()
        (folder / "config.json").write_text("{}")
    table = tmp_path / "table.jsonl"
    table.write_text("1\n")
    named = {
        "a": [{"b": str(table)}],
        "model": str(outside),
        "own": str(home),
        "word": "/not/there",
    }
    found = inputs_of([task(**named)], home)
    assert set(found) == {str(table), str(outside)}


def test_data_below_the_sweep_that_no_task_makes_count_too(tmp_path: Path) -> None:
    for name in ("data", "shared/labels", "runs/a"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "t.jsonl").write_text("1\n")
    named = [str(tmp_path / name) for name in ("data", "shared/labels", "runs/a")]
    assert set(inputs_of([task(named=named)], tmp_path)) == {named[0]}


@pytest.mark.parametrize(("then", "told"), [("2\n", "has changed"), (None, "is gone")])
def test_another_file_is_refused_by_name_and_stage(
    tmp_path: Path, then: str | None, told: str
) -> None:
    table = tmp_path / "table.jsonl"
    table.write_text("1\n")
    plan = {"stage": "first", "inputs": inputs_of([task(table=str(table))], tmp_path / "sweep")}
    check_inputs([plan], tmp_path / "sweep")
    if then is None:
        table.unlink()
    else:
        table.write_text(then)
    with pytest.raises(BadInput, match=f"table.jsonl {told} since stage first was planned"):
        check_inputs([plan], tmp_path / "sweep")
