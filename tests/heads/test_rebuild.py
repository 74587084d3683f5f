"""Runs made one by one, put together, hold what one run of all of them would."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from lab import SUBSET, config, corpus, cross, single

from whence.errors import BadInput, WhenceError
from whence.heads.rebuild import RebuildConfig, rebuild
from whence.heads.run import run_plan

Folder = Callable[[str], Path]
HEADS = {"type": "heads_zero", "layers": [0, 2]}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    corpus(tmp_path, "facts", range(8))
    corpus(tmp_path, "negation", (0, 3, 4, 5, 6, 7))
    return tmp_path


def run_single(home: Path, model: Path, name: str, battery: object = HEADS) -> Path:
    """A single run on one corpus, in a folder of its own."""
    out = home / "singles" / name
    plan = single(model, battery, dataset={"id": name, "split": "train"})  # type: ignore[arg-type]
    run_plan(config(home, plan, output_dir=out))
    return out


def rows(folder: Path, name: str, *leave_out: str) -> list[dict[str, object]]:
    table = pq.ParquetFile(folder / name).read()
    return [{k: v for k, v in row.items() if k not in leave_out} for row in table.to_pylist()]


def nameless(value: Any) -> Any:
    """`value` without the names of the runs in it."""
    if isinstance(value, dict):
        return {key: nameless(item) for key, item in value.items() if key != "run_id"}
    return [nameless(item) for item in value] if isinstance(value, list) else value


def test_single_runs_become_one(home: Path, zoo_folder: Folder) -> None:
    model = zoo_folder("gpt2")
    facts, negation = (run_single(home, model, name) for name in ("facts", "negation"))
    result = rebuild(RebuildConfig(runs=(facts, negation), output_dir=home / "both"))
    assert list(result.summary["conditions"]) == ["facts", "negation"]
    plan = cross(model, HEADS)
    plan["conditions"][1]["tag"] = "negation"
    run_plan(config(home, plan, output_dir=home / "one"))
    for name in ("metrics/head_impact.parquet", "artifacts/cross_condition/head_matrix.parquet"):
        assert rows(home / "both", name, "run_id") == rows(home / "one", name, "run_id")
    for name in ("invariants.json", "summary.json"):
        a, b = (home / folder / "artifacts/cross_condition" / name for folder in ("both", "one"))
        assert nameless(json.loads(a.read_text())) == nameless(json.loads(b.read_text()))
    for name in ("metrics/per_example.parquet", "artifacts/impact_heatmap.png", "report.html"):
        assert (home / "both" / name).is_file()
    assert [row[0] for row in result.finding().rows] == ["facts", "negation"]
    again = rebuild(RebuildConfig(runs=(facts, negation), output_dir=home / "both"))
    assert again.done_before


def test_conditions_of_runs_finished_or_not(home: Path, zoo_folder: Folder) -> None:
    """What a run with a failure has finished is put together with another run's."""
    model = zoo_folder("gpt2")
    plan = cross(model, HEADS)
    plan["conditions"].reverse()
    plan["conditions"].append({"tag": "typo", "dataset": {"id": "fact"}})
    with pytest.raises(WhenceError, match="1 of 3 conditions failed"):
        run_plan(config(home, plan))
    extra = run_single(home, model, "facts")
    found = rebuild(
        RebuildConfig(runs=(home / "out.partial", extra), output_dir=home / "all",
                      tags=("neg", "facts", "more"))
    )  # fmt: skip
    assert list(found.summary["conditions"]) == ["neg", "facts", "more"]
    parts = found.summary["conditions"]
    assert parts["facts"]["clean"] == parts["more"]["clean"] != parts["neg"]["clean"]


def test_two_of_one_tag(home: Path, zoo_folder: Folder) -> None:
    facts = run_single(home, zoo_folder("gpt2"), "facts")
    twice = RebuildConfig(runs=(facts, facts), output_dir=home / "x")
    with pytest.raises(BadInput, match=r"its tag 'facts' is that of .*; name them with --tags"):
        rebuild(twice)
    with pytest.raises(BadInput, match="--tags: 1 given for 2 conditions"):
        rebuild(twice.model_copy(update={"tags": ("a",)}))
    rebuild(twice.model_copy(update={"tags": ("a", "b")}))


def test_other_models_and_batteries(home: Path, zoo_folder: Folder) -> None:
    facts = run_single(home, zoo_folder("gpt2"), "facts")
    other = run_single(home, zoo_folder("llama"), "negation")
    runs = RebuildConfig(runs=(facts, other), output_dir=home / "x")
    with pytest.raises(BadInput, match=r"model.name is .*llama, that of .*--allow-different"):
        rebuild(runs)
    assert rebuild(runs.model_copy(update={"allow_different": True})).summary["n_conditions"] == 2
    (home / "singles/negation").rename(home / "llama")
    subset = run_single(home, zoo_folder("gpt2"), "negation", SUBSET)
    with pytest.raises(BadInput, match=r"battery.type is heads_subset_zero, that of .* heads_zero"):
        rebuild(RebuildConfig(runs=(facts, subset), output_dir=home / "y"))


def test_what_is_no_run(home: Path) -> None:
    with pytest.raises(BadInput, match=r"nowhere: no such folder"):
        rebuild(RebuildConfig(runs=(home / "nowhere",), output_dir=home / "x"))
    with pytest.raises(BadInput, match=r"corpora: holds no finished run of `whence heads`"):
        rebuild(RebuildConfig(runs=(home / "corpora",), output_dir=home / "x"))
