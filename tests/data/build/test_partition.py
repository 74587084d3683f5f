"""Splits: disjoint, stratified, and unmoved by the size of the others."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from whence.data.build.partition import Candidates, partition, strata_of
from whence.errors import BadInput

STRATA = ["a"] * 50 + ["b"] * 30 + ["c"] * 20


def candidates(rows: list[int] | range, origin: str = "f") -> Candidates:
    return Candidates(origin, np.array(rows), STRATA)


def test_one_source() -> None:
    sizes = {"train_base": 40, "score_pool": 20, "attr_query": 10, "eval": 10}
    drawn = partition(candidates(range(100)), None, sizes, 1)
    assert {name: len(rows) for name, rows in drawn.items()} == sizes
    assert len(set().union(*drawn.values())) == 80
    assert Counter(STRATA[i] for i in drawn["eval"]) == {"a": 5, "b": 3, "c": 2}
    assert partition(candidates(range(100)), None, sizes, 1) == drawn
    assert partition(candidates(range(100)), None, sizes, 2)["eval"] != drawn["eval"]


def test_two_sources_and_only_kept_rows() -> None:
    sizes = {"train_base": 30, "attr_query": 10, "eval": 10}
    drawn = partition(candidates(range(0, 100, 2)), candidates(range(1, 100, 2)), sizes, 1)
    assert all(i % 2 == 0 for i in drawn["train_base"])
    assert all(i % 2 == 1 for i in drawn["attr_query"] + drawn["eval"])
    assert not set(drawn["attr_query"]) & set(drawn["eval"])


def test_asking_for_more_training_rows_leaves_evaluation_alone() -> None:
    small = partition(
        candidates(range(100)), None, {"train_base": 5, "attr_query": 9, "eval": 9}, 3
    )
    large = partition(
        candidates(range(100)),
        None,
        {"train_base": 60, "score_pool": 20, "attr_query": 9, "eval": 9},
        3,
    )
    assert small["eval"] == large["eval"]
    assert small["attr_query"] == large["attr_query"]


def test_too_few_rows_are_said_with_the_counts() -> None:
    sizes = {"train_base": 60, "attr_query": 5, "eval": 5}
    with pytest.raises(BadInput) as error:
        partition(candidates(range(55), "a.jsonl"), candidates(range(10), "b.jsonl"), sizes, 0)
    assert str(error.value) == (
        "a.jsonl: --train-size 60 asks for 60 rows, but 55 of 100 are left after filtering; "
        "ask for fewer or filter less"
    )
    with pytest.raises(
        BadInput, match=r"b\.jsonl: --eval-size 5 \+ --query-size 5 asks for 10 rows, but 9"
    ):
        partition(candidates(range(80)), candidates(range(9), "b.jsonl"), sizes, 0)
    with pytest.raises(BadInput, match="asks for 70 rows, but 69 of 100"):
        partition(candidates(range(69)), None, sizes, 0)


def test_strata_of_several_columns() -> None:
    table = pa.table({"category": ["a", None], "level": [1, 2]})
    assert strata_of(table, ["category", "level"], "f") == ["a × 1", "(missing) × 2"]
    assert strata_of(table, [], "f") == ["all", "all"]
    with pytest.raises(
        BadInput, match='f: no column "categroy" to stratify by; did you mean "category"'
    ):
        strata_of(table, ["categroy"], "f")
