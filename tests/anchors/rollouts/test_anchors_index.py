"""`whence anchors index` over a folder on disk: what is listed, drawn, split and refused."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rollout_tree import FOLDERS, MODEL, SPLIT, TEMPERATURE, put, random_problem

from whence.__main__ import main
from whence.anchors.rollouts import local
from whence.anchors.rollouts.index import choose
from whence.anchors.rollouts.opened import Index
from whence.anchors.splits import make_splits
from whence.errors import BadInput
from whence.runs.jsonfile import read_json, read_jsonl

IDS = (330, 12, 1591, 7, 99)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("index") / "math-rollouts"
    for number in IDS:
        random_problem(root, number, chunks=5, each=4, forced=number != 7, label=number != 99)
    return root


def words(tree: Path, out: Path, *more: str) -> list[str]:
    return [
        "anchors", "index", "--root", str(tree), *FOLDERS, "--output-dir", str(out), *more
    ]  # fmt: skip


def test_everything_that_a_study_needs_to_know(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "I"
    assert main(words(tree, out)) == 0
    assert "5 of 5 problems, 25 sentences, split 3/1/1" in capsys.readouterr().out
    rows = {row["problem_id"]: row for row in read_jsonl(out / "problems.jsonl")}
    assert list(rows) == [7, 12, 99, 330, 1591]
    assert rows[12]["sentences"] == 5
    assert rows[12]["answer_right"] is True
    folder = tree / MODEL / TEMPERATURE / SPLIT / "problem_12"
    assert rows[12]["place"] == str(folder)
    assert rows[12]["rollouts"] == len([p for p in folder.iterdir() if p.is_dir()])
    assert [rows[7]["forced"], rows[12]["forced"]] == [0, 5]
    assert [rows[99]["labelled"], rows[12]["labelled"]] == [False, True]
    splits = make_splits(["7", "12", "99", "330", "1591"], seed=0)
    assert read_json(out / "splits.json") == {p: [int(i) for i in s] for p, s in splits.items()}
    index = Index.open(out)
    assert index.problem_ids == ("7", "12", "99", "330", "1591")
    assert main(words(tree, out)) == 0
    assert "Already indexed" in capsys.readouterr().out
    assert main(words(tree, out, "--seed", "1")) == 2


def test_the_draw_is_the_earlier_studys(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "I"
    assert main(words(tree, out, "--num-problems", "3", "--seed", "4")) == 0
    drawn = sorted(random.Random(4).sample(sorted(IDS), 3))
    assert read_json(out / "index.json")["problem_ids"] == drawn
    assert choose(["1", "2"], (), 9, 0) == ["1", "2"]


def test_named_problems_and_too_few_to_split(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "I"
    assert main(words(tree, out, "--problem-ids", "problem_330,12")) == 0
    assert read_json(out / "index.json")["problem_ids"] == [12, 330]
    assert read_json(out / "index.json")["splits"] is None
    assert not (out / "splits.json").exists()
    with pytest.raises(BadInput, match="--problem-ids 5: not among the 2"):
        choose(["1", "2"], ("5",), None, 0)


def test_a_problem_without_sentences_is_left_out_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2, 3, 4):
        random_problem(tmp_path / "t", number, chunks=5, each=2)
    broken = tmp_path / "t" / MODEL / TEMPERATURE / SPLIT / "problem_2"
    for name in ("chunks.json", "chunks_labeled.json"):
        (broken / name).unlink()
    assert main(words(tmp_path / "t", tmp_path / "I")) == 0
    about = read_json(tmp_path / "I" / "index.json")
    assert about["problem_ids"] == [1, 3, 4]
    assert list(about["left_out"]) == ["2"]
    assert "neither chunks_labeled.json nor chunks.json" in about["left_out"]["2"]
    assert main(words(tmp_path / "t", tmp_path / "J", "--problem-ids", "2")) == 2
    assert "no problem is left" in capsys.readouterr().err


def test_a_changed_file_is_another_index(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        random_problem(tmp_path / "t", number, chunks=5, each=2)
    assert main(words(tmp_path / "t", tmp_path / "I")) == 0
    random_problem(tmp_path / "t", 4, chunks=5, each=2)
    assert main(words(tmp_path / "t", tmp_path / "I")) == 2
    assert main(words(tmp_path / "t", tmp_path / "I", "--overwrite")) == 0
    assert len(read_jsonl(tmp_path / "I" / "problems.jsonl")) == 4


def test_only_what_is_needed_is_listed(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The split folder, and of one drawn problem its two folders: no folder of rollouts."""
    looked: list[str] = []
    scan: Callable[[Any], Any] = os.scandir

    def watching(path: Any) -> Any:
        if isinstance(path, Path) and path.is_relative_to(tree):
            looked.append(str(path.relative_to(tree)))
        return scan(path)

    monkeypatch.setattr(local.os, "scandir", watching)
    assert main(words(tree, tmp_path / "I", "--problem-ids", "12")) == 0
    above = f"{MODEL}/{TEMPERATURE}/{SPLIT}"
    assert looked == [above, f"{above}/problem_12", f"{above}_forced_answer/problem_12"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--model-dir", "other"], "no folder other (--model-dir); it has small-model"),
        (["--temp-dir", "hot"], f"no folder hot (--temp-dir); it has {TEMPERATURE}"),
        (["--split-dir", "x"], f"no folder x (--split-dir); it has {SPLIT}"),
    ],
)
def test_which_folder_is_not_there(
    tree: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    said: str,
) -> None:
    assert main(words(tree, tmp_path / "I", *flags)) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "I").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "a list of sentences was expected"),
        ([3], "entry 0: an object was expected"),
        ([{"chunk_idx": "a", "chunk": "x"}], "chunk_idx is 'a'"),
        ([{"chunk_idx": 0, "chunk": ""}], "the sentence was expected"),
        ([{"chunk_idx": 0, "chunk": "one"}] * 2, "chunk_idx 0 occurs twice"),
    ],
)
def test_labels_of_another_shape(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: Any, said: str
) -> None:
    random_problem(tmp_path / "t", 1, chunks=5, each=2)
    where = tmp_path / "t" / MODEL / TEMPERATURE / SPLIT / "problem_1" / "chunks_labeled.json"
    put(where, content)
    assert main(words(tmp_path / "t", tmp_path / "I")) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "problem_1/chunks_labeled.json" in error


def test_a_root_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--root"):
        local.LocalTree(tmp_path / "absent")
