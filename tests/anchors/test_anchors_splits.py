"""Splits of problems: the published draw, and what no split may be."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from whence.anchors.sentences import as_id, problems_of, read_sentences
from whence.anchors.splits import make_splits, read_splits
from whence.errors import BadInput


def written(folder: Path, splits: Any) -> Path:
    path = folder / "splits.json"
    path.write_text(json.dumps(splits))
    return path


def test_the_published_split_is_seed_0(shared_data: Path) -> None:
    folder = shared_data / "thought-anchors"
    problems = problems_of(read_sentences(folder / "qwen_correct" / "sentence_metadata.parquet"))
    published = json.loads((folder / "splits.json").read_text())
    assert make_splits(problems, seed=0) == {
        part: [as_id(each) for each in ids] for part, ids in published.items()
    }
    assert read_splits(folder / "splits.json", problems) == make_splits(problems, seed=0)


def test_every_problem_is_in_one_part() -> None:
    for count in (3, 4, 7, 40):
        problems = [f"trace-{i}" for i in range(count)]
        splits = make_splits(problems, seed=3)
        assert sorted(chain(*splits.values())) == sorted(problems)
        assert all(splits.values())
    assert make_splits(["1", "2", "3", "4"], 0) != make_splits(["1", "2", "3", "4"], 1)
    with pytest.raises(BadInput, match="three at least"):
        make_splits(["1", "2"], 0)


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        ({"train": [1]}, "expected"),
        ([1, 2], "expected"),
        ({"train": [1], "test": []}, "test is empty"),
        ({"train": [1], "test": 2}, "test: a list"),
        ({"train": [1, 2], "test": ["2"]}, "problem 2 is in train and in test"),
        ({"train": [1], "test": [2], "dev": [3]}, "unknown part 'dev'"),
        ({"train": [1], "test": [9]}, "not in the table of sentences (first: 9)"),
    ],
)
def test_what_is_no_split_is_refused(splits: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as refused:
        read_splits(written(tmp_path, splits), ["1", "2", "3"])
    assert said in str(refused.value)


def test_val_may_be_left_out_and_problems_too(tmp_path: Path) -> None:
    path = written(tmp_path, {"train": ["problem_1"], "test": [2]})
    assert read_splits(path, ["1", "2", "3"]) == {"train": ["1"], "val": [], "test": ["2"]}
