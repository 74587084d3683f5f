"""Data sets by name: folders of several layouts, and a hub layout as it is streamed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from whence.data.sources.dataset import local_folder, read_dataset
from whence.data.sources.hub import stream
from whence.data.sources.local import read_files
from whence.data.sources.source import Source
from whence.errors import BadInput
from whence.runs.tables import write_parquet


def table(n: int, tag: str) -> pa.Table:
    return pa.table({"prompt": [f"{tag}{i}" for i in range(n)], "completion": ["c"] * n})


def read(name: Path | str, config: str = "main", **limits: int | None) -> tuple[list[Source], Any]:
    return read_dataset(
        str(name),
        config,
        default_config="main",
        revision=None,
        limits={"train": None, "test": None, **limits},
    )


def described(sources: list[Source]) -> list[tuple[str, str, int, int | None]]:
    return [(s.split, s.table["prompt"][0].as_py(), s.table.num_rows, s.available) for s in sources]


def layout(folder: Path, kind: str, held_out: str) -> Path:
    from datasets import Dataset, DatasetDict

    splits = {"train": table(5, "tr"), held_out: table(3, "te")}
    if kind == "saved":
        DatasetDict({k: Dataset(v) for k, v in splits.items()}).save_to_disk(folder)
        return folder
    for name, rows in splits.items():
        if kind == "parquet":
            write_parquet(rows, folder / f"{name}.parquet")
        elif kind == "jsonl":
            folder.mkdir(exist_ok=True)
            rows.to_pandas().to_json(folder / f"{name}.jsonl", orient="records", lines=True)
        else:
            write_parquet(rows, folder / "data" / f"{name}-00000-of-00001.parquet")
    return folder


@pytest.mark.parametrize("kind", ["saved", "parquet", "jsonl", "hub"])
@pytest.mark.parametrize("held_out", ["test", "validation"])
def test_layouts(tmp_path: Path, kind: str, held_out: str) -> None:
    sources, origin = read(layout(tmp_path / "d", kind, held_out))
    assert described(sources) == [("train", "tr0", 5, 5), (held_out, "te0", 3, 3)]
    assert origin["name"] == "d"
    assert str(tmp_path) not in str(origin)


def test_a_saved_data_set_of_one_split(tmp_path: Path) -> None:
    from datasets import Dataset

    Dataset(table(4, "x")).save_to_disk(tmp_path / "d")
    assert described(read(tmp_path / "d")[0]) == [("train", "x0", 4, 4)]


def test_configurations_of_a_folder_are_its_subfolders(tmp_path: Path) -> None:
    layout(tmp_path / "d", "parquet", "test")
    write_parquet(table(2, "inner"), tmp_path / "d/other/train.parquet")
    sources, origin = read(tmp_path / "d", "other")
    assert described(sources) == [("train", "inner0", 2, 2)]
    assert origin["config"] == "other"
    assert len(read(tmp_path / "d")[0]) == 2
    with pytest.raises(BadInput, match=r"--dataset-config third: .* has no folder of that name"):
        read(tmp_path / "d", "third")


def test_configurations_of_a_hub_layout(tmp_path: Path) -> None:
    folder = layout(tmp_path / "d", "hub", "test")
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: smol\n  data_files: data/train-*\n"
        "- config_name: large\n  data_files: data/test-*\n---\n"
    )
    assert described(read(folder, "large")[0]) == [("train", "te0", 3, 3)]
    with pytest.raises(BadInput, match=r'--dataset-config smoll: .* did you mean "smol"'):
        read(folder, "smoll")


def test_only_what_is_needed_is_streamed(tmp_path: Path) -> None:
    folder = layout(tmp_path / "d", "hub", "test")
    sources, _ = read(folder, train=2, test=10)
    assert described(sources) == [("train", "tr0", 2, None), ("test", "te0", 3, 3)]
    assert sources[0].table["prompt"].to_pylist() == ["tr0", "tr1"]


def test_without_held_out_split_the_one_there_is_is_read_for_both(tmp_path: Path) -> None:
    write_parquet(table(9, "x"), tmp_path / "d/data/train-00000-of-00001.parquet")
    sources = stream(str(tmp_path / "d"), None, revision=None, limits={"train": 4, "test": 2})
    assert described(sources) == [("train", "x0", 6, None)]


def test_hub_out_of_reach_says_what_to_do() -> None:
    with pytest.raises(
        BadInput, match="data set nobody/nothing: the hub cannot be reached"
    ) as error:
        read("nobody/nothing")
    assert "--dataset-name" in str(error.value)


@pytest.mark.parametrize("name", ["./nowhere", "/no/where", "a/b/c", "~/no-such-folder", ""])
def test_names_that_are_neither_folder_nor_hub_id(name: str) -> None:
    with pytest.raises(BadInput, match="no such folder"):
        local_folder(name)


def test_files(tmp_path: Path) -> None:
    write_parquet(table(2, "a"), tmp_path / "a.parquet")
    write_parquet(table(0, "b"), tmp_path / "b.parquet")
    with pytest.raises(BadInput, match=r"b\.parquet: has no rows"):
        read_files(tmp_path / "a.parquet", tmp_path / "b.parquet")
    with pytest.raises(BadInput, match="is the --train-file too"):
        read_files(tmp_path / "a.parquet", tmp_path / "a.parquet")
    with pytest.raises(BadInput, match="is a file; give it as --train-file"):
        local_folder(str(tmp_path / "a.parquet"))
    write_parquet(table(2, "a"), tmp_path / "d/train.parquet")
    (tmp_path / "d/train.jsonl").write_text("{}")
    with pytest.raises(BadInput, match=r"both train\.parquet and train\.jsonl are its train split"):
        read(tmp_path / "d")
