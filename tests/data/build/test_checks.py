"""The checks on every built data set catch what they are for."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from whence.data.build.checks import check_splits, distribution
from whence.errors import BadInput

SIZES = {"train_base": 3, "score_pool": 3, "attr_query": 2, "eval": 2}


def split(name: str, n: int, **changes: list[Any]) -> pa.Table:
    return pa.table(
        {
            "row_id": [f"{name}{i}" for i in range(n)],
            "prompt": [f"{name} {i}?" for i in range(n)],
            "completion": ["yes or no"] * n,
            "source_split": [name] * n,
            "group_id": [f"{name}{i}" for i in range(n)],
            "category": ["math", "code", "math"][:n],
            **changes,
        }
    )


def splits(**changes: dict[str, list[Any]]) -> dict[str, pa.Table]:
    train = split("train", 3, **changes.get("train", {}))
    return {
        "train_base": train,
        "score_pool": train,
        "attr_query": split("query", 2, **changes.get("query", {})),
        "eval": split("eval", 2, **changes.get("eval", {})),
    }


def test_good_splits() -> None:
    found = check_splits(
        splits(eval={"prompt": ["train 0?", "new"], "completion": ["x", "y"]}), SIZES
    )
    assert set(found["shared_row_ids"].values()) == {0}
    assert found["rows"] == SIZES
    assert found["completion_words"]["attr_query"] == 6
    assert found["metadata_columns"] == ["category"]
    assert found["shared_prompts"]["train_base&eval"] == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"eval": {"row_id": ["train0", "e"]}}, r"share row ids: .*'train_base&eval': 1"),
        ({"eval": {"row_id": ["query0", "e"]}}, r"share row ids: .*'attr_query&eval': 1"),
        ({"query": {"row_id": ["train0", "e"]}}, r"'train_base&attr_query': 1"),
        ({"eval": {"prompt": ["train 0?", "e"]}}, "share prompt and completion"),
        ({"eval": {"completion": [" ", "e"]}}, r"empty text: .*'completion': 1"),
        ({"query": {"prompt": ["", "e"]}}, r"empty text: .*'prompt': 1"),
        ({"query": {"row_id": ["a", "a"]}}, "a row_id stands twice"),
        ({"query": {"quality": ["a", "b"]}}, "different metadata columns"),
    ],
)
def test_each_check_fails_on_what_it_is_for(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        check_splits(splits(**changes), SIZES)


def test_wrong_sizes() -> None:
    with pytest.raises(BadInput, match="sizes are"):
        check_splits(splits(), {**SIZES, "eval": 3})


def test_distribution_of_columns_with_few_values() -> None:
    many = splits(train={"note": ["a", "b", "c"], "score": [0.1, 0.1, 0.2], "gap": [None, 1, 1]})
    for name in ("attr_query", "eval"):
        for column in ("note", "score", "gap"):
            many[name] = many[name].append_column(column, pa.array([None, None]))
    counted = distribution(many, always=["category"])
    assert counted["train_base"] == {
        "category": {"code": 1, "math": 2},
        "note": {"a": 1, "b": 1, "c": 1},
        "gap": {"(missing)": 1, "1": 2},
    }
    wide = {
        name: table.set_column(5, "category", [[f"v{i}" for i in range(60)]])
        for name, table in {
            "train_base": pa.table(
                {
                    c: ["x"] * 60
                    for c in (
                        "row_id",
                        "prompt",
                        "completion",
                        "source_split",
                        "group_id",
                        "category",
                    )
                }
            )
        }.items()
    }
    assert distribution(wide, always=[])["train_base"] == {}
    assert len(distribution(wide, always=["category"])["train_base"]["category"]) == 60
