"""Manifests: where splits are found, and what is refused, by whom named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from whence.errors import BadInput
from whence.runs.manifest import (
    Split,
    load_manifest,
    read_split,
    read_split_table,
    write_manifest,
    write_split,
)


def rows(n: int = 3) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "row_id": [f"r{i}" for i in range(n)],
            "prompt": [f"USER: {i}? ✨" for i in range(n)],
            "completion": [f"{i}!" for i in range(n)],
            "source_split": "train",
            "group_id": [f"g{i // 2}" for i in range(n)],
            "difficulty": pd.array([1, None, 3][:n] + [4] * (n - 3), dtype="Int64"),
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    write_split(rows(), home / "data/eval.parquet")
    write_manifest(
        home / "manifest.json",
        {"eval": Split("eval", home / "data/eval.parquet", 3)},
        {"dataset": {"name": "d"}},
    )
    return home


def rewrite(folder: Path, frame: pd.DataFrame) -> None:
    write_split(frame, folder / "data/eval.parquet")


def test_round_trip_survives_moving_the_folder(folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "moved"
    shutil.copytree(folder, moved)
    shutil.rmtree(folder)
    manifest = load_manifest(moved)
    assert manifest.splits["eval"].path == moved / "data/eval.parquet"
    assert manifest.raw["splits"]["eval"]["path"] == "data/eval.parquet"
    got = read_split(manifest, "eval")
    assert got["prompt"].tolist() == rows()["prompt"].tolist()
    assert str(read_split_table(manifest, "eval").schema.field("difficulty").type) == "int64"


def test_paths_are_right_after_a_partial_folder_is_renamed(folder: Path, tmp_path: Path) -> None:
    home, partial = folder / "selected", folder / "selected.partial"
    write_split(rows(2), partial / "subsets/top.parquet")
    parent = load_manifest(folder)
    write_manifest(
        partial / "continuation_manifest.json",
        {"top": Split("top", partial / "subsets/top.parquet", 2), "eval": parent.split("eval")},
        {},
        home=home,
    )
    partial.rename(home)
    manifest = load_manifest(home / "continuation_manifest.json")
    assert len(read_split(manifest, "top")) == 2
    assert manifest.splits["eval"].path == parent.splits["eval"].path


def test_writing_into_the_folder_of_the_parent_names_its_files_plainly(folder: Path) -> None:
    partial = folder.with_name("home.partial")
    write_manifest(
        partial / "continuation_manifest.json",
        {"eval": load_manifest(folder).split("eval")},
        {},
        home=folder,
    )
    written = json.loads((partial / "continuation_manifest.json").read_text())
    assert written["splits"]["eval"]["path"] == "data/eval.parquet"


def test_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    write_split(rows(), tmp_path / "a.parquet")
    write_split(rows().iloc[::-1].iloc[::-1], tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


@pytest.mark.parametrize("form", ["jsonl", "saved"])
def test_other_formats_and_missing_source_columns(tmp_path: Path, form: str) -> None:
    bare = rows()[["row_id", "prompt", "completion"]]
    if form == "jsonl":
        path = tmp_path / "eval.jsonl"
        bare.to_json(path, orient="records", lines=True)
    else:
        from datasets import Dataset

        path = tmp_path / "eval"
        Dataset.from_pandas(bare).select([0, 1, 2]).save_to_disk(path)
    (tmp_path / "manifest.json").write_text(
        json.dumps({"splits": {"eval": {"path": path.name, "rows": 3}}})
    )
    got = read_split(load_manifest(tmp_path), "eval")
    assert got["group_id"].tolist() == ["r0", "r1", "r2"]
    assert set(got["source_split"]) == {"eval"}


def test_unknown_split_is_answered_with_the_nearest(folder: Path) -> None:
    with pytest.raises(BadInput, match=r'no split "evla"; did you mean "eval"\?'):
        read_split(load_manifest(folder), "evla")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "not JSON at line 1"),
        ("[]", 'a "splits" object'),
        ('{"splits": {"eval": {"path": 3, "rows": 1}}}', r"splits\.eval needs"),
    ],
)
def test_malformed_manifest(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(BadInput, match=says):
        load_manifest(tmp_path / "manifest.json")


def test_absent_manifest_and_absent_rows(folder: Path) -> None:
    with pytest.raises(BadInput, match=r"nowhere\.json: no such manifest"):
        load_manifest(folder / "nowhere.json")
    (folder / "data/eval.parquet").unlink()
    with pytest.raises(BadInput, match=r"eval\.parquet, which is not there"):
        read_split(load_manifest(folder), "eval")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"row_id": ["a", "b", "a"]}, r'eval\.parquet, row 3: row_id "a" is already that of row 1'),
        ({"row_id": ["a", None, "b"]}, "row 2: row_id is empty"),
        ({"completion": ["x", "y", " \n"]}, "row 3: completion is empty"),
        ({"prompt": ["x", None, "y"]}, "row 2: prompt is empty"),
    ],
)
def test_rows_that_cannot_be_used(folder: Path, change: dict[str, list[str]], says: str) -> None:
    rewrite(folder, rows().assign(**change))
    with pytest.raises(BadInput, match=says):
        read_split(load_manifest(folder), "eval")


def test_missing_column_and_changed_row_count(folder: Path) -> None:
    rewrite(folder, rows().drop(columns="completion"))
    with pytest.raises(BadInput, match='no column "completion"; it has row_id, prompt'):
        read_split(load_manifest(folder), "eval")
    rewrite(folder, rows(2))
    with pytest.raises(BadInput, match=r"2 rows, but .*manifest\.json says 3"):
        read_split(load_manifest(folder), "eval")
