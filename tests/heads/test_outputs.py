"""What is written, that it reads back, and that nothing without rows is there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import measured
import pyarrow.parquet as pq
import pytest

from whence.errors import BadInput
from whence.heads.effects import Intervention
from whence.heads.outputs import Tables, read_condition, write_condition, write_report


def write(folder: Path, truth: measured.Truth, **changes: Any) -> Tables:
    settings = {"run_id": "r1", "condition": None, "battery": {"type": "heads_zero"}}
    return write_condition(
        folder, measured.Result(truth.table()), **(settings | {"model": measured.MODEL} | changes)
    )


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


SWEEP = measured.sweep(3, 4, {(1, 2): 0.7})


def test_a_sweep_writes_heads_examples_summary_and_heatmap(tmp_path: Path):
    tables = write(tmp_path, SWEEP, metrics=["kl_div"])
    assert files(tmp_path) == {
        "metrics/head_impact.parquet",
        "metrics/per_example.parquet",
        "metrics/summary.json",
        "artifacts/impact_heatmap.png",
        "artifacts/impact_heatmap.html",
    }
    heads = pq.read_table(tmp_path / "metrics" / "head_impact.parquet").to_pandas()
    assert set(heads["metric"]) == {"kl_div", "delta_logit_diff"}
    row = heads[(heads["metric"] == "delta_logit_diff") & (heads["layer"] == 1)].iloc[2]
    assert row["delta"] == pytest.approx(0.7, abs=0.1)
    summary = json.loads((tmp_path / "metrics" / "summary.json").read_text())
    assert summary["clean"]["logit_diff"] == 1.5
    assert summary["n_prompts"] == 40
    assert summary["strongest"][0]["name"] == "1:2"
    assert summary == tables.summary
    assert tables.joint.heads is tables.head_impact
    assert tables.layer_impact is tables.pair_impact is tables.subset_impact is None


def test_a_corpus_is_named_so_that_it_is_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    tables = write(tmp_path / "out", SWEEP, corpus={"id": "facts", "path": "facts.jsonl"})
    assert tables.summary["corpus"] == {"id": "facts", "path": str(tmp_path / "facts.jsonl")}


def test_only_tables_with_rows_are_left(tmp_path: Path):
    write(tmp_path, SWEEP)
    patch = measured.Truth({measured.layer(0): 0.5}, source=1.0)
    tables = write(tmp_path, patch, battery={"type": "activation_patch"})
    assert not (tmp_path / "metrics" / "head_impact.parquet").exists()
    assert (tmp_path / "metrics" / "layer_impact.parquet").exists()
    assert tables.layer_impact is not None


def test_pairs_and_sets(tmp_path: Path):
    made = {measured.head(0, 1): 0.0, measured.head(0, 2): 0.0, measured.pair((0, 1), (0, 2)): 1.0}
    tables = write(tmp_path / "pairs", measured.Truth(made))
    assert {"metrics/pair_impact.parquet", "metrics/head_impact.parquet"} <= files(
        tmp_path / "pairs"
    )
    assert tables.pair_impact.num_rows == 6
    made = {Intervention("subset", "duo", "0:1 0:2", 0, None, 0.0): 1.0}
    assert write(tmp_path / "sets", measured.Truth(made)).subset_impact.num_rows == 6
    assert "artifacts/impact_heatmap.png" not in files(tmp_path / "sets")


def test_what_was_written_reads_back_the_same(tmp_path: Path):
    truth = measured.sweep(3, 4, {(0, 1): 0.4}, seeds=(0, 1, 2), subsample=25)
    written = write(tmp_path, truth, condition="facts", metrics=["p_drop"])
    read = read_condition(tmp_path)
    assert read.summary == written.summary
    assert (read.run_id, read.condition) == ("r1", "facts")
    assert read.head_impact.equals(written.head_impact)
    assert read.joint.heads.equals(written.joint.heads)
    assert set(read.head_impact["seed"].to_pylist()) == {0, 1, 2}
    assert set(read.joint.heads["seed"].to_pylist()) == {None}
    disk = pq.read_table(tmp_path / "metrics" / "head_impact.parquet")
    assert disk.equals(read.head_impact)


def test_the_same_rows_give_the_same_bytes(tmp_path: Path):
    for name in ("a", "b"):
        write(tmp_path / name, SWEEP)
    for name in files(tmp_path / "a"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_what_is_wrong_is_said_in_a_line(tmp_path: Path):
    with pytest.raises(BadInput, match="seq_p_drop reads the whole target"):
        write(tmp_path, SWEEP, metrics=["seq_p_drop"])
    empty = measured.Result(SWEEP.table().slice(0, 0))
    with pytest.raises(BadInput, match="r1: nothing was measured"):
        write_condition(
            tmp_path, empty, run_id="r1", condition=None, battery={}, model=measured.MODEL
        )
    with pytest.raises(BadInput, match=r"no metrics/summary\.json"):
        read_condition(tmp_path / "elsewhere")
    (tmp_path / "metrics").mkdir(exist_ok=True)
    (tmp_path / "metrics" / "summary.json").write_text("[]")
    with pytest.raises(BadInput, match="not a summary of `whence heads`"):
        read_condition(tmp_path)


def test_a_report_stands_at_the_root(tmp_path: Path):
    tables = write(tmp_path, SWEEP)
    page = write_report(tmp_path, {"": tables})
    assert page == tmp_path / "report.html"
    text = page.read_text()
    assert re.search(
        r"Head 1:2 matters most: removing it raises the logit difference by 0\.[67]", text
    )
    assert text == write_report(tmp_path, {"": read_condition(tmp_path)}).read_text()
