"""Row ids that are unique and stable, group ids as in the notes."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from whence.data.build.filters import text_digests
from whence.data.build.identity import group_ids, row_ids
from whence.data.sources.rows import Fields, Rows, to_rows
from whence.data.sources.source import Source
from whence.errors import BadInput


def rows_of(split: str = "train", **columns: list[Any]) -> Rows:
    table = pa.table(columns)
    return to_rows(
        Source(split, f"{split}.jsonl", "f", table, table.num_rows), Fields(drop_empty=True)
    )


def ids(*sources: Rows) -> list[list[str | None]]:
    return row_ids([(rows, text_digests(rows)) for rows in sources])


def test_own_ids_are_kept_as_text() -> None:
    assert ids(rows_of(row_id=[7, 8], prompt=["a", "b"], completion=["x", "y"])) == [["7", "8"]]


def test_made_ids_do_not_depend_on_place_or_file() -> None:
    (one,) = ids(rows_of(prompt=["a", "b", ""], completion=["x", "y", "z"]))
    (two,) = ids(rows_of("test", prompt=["b", "a"], completion=["y", "x"]))
    assert one[:2] == two[::-1]
    assert one[2] is None
    assert len(set(one)) == 3


@pytest.mark.parametrize("own", [["a", "b", "a"], [1, 2, 1]])
def test_doubled_ids_in_one_file(own: list[Any]) -> None:
    rows = rows_of(row_id=own, prompt=["a", "b", "c"], completion=["x", "y", "z"])
    with pytest.raises(BadInput, match=r"train\.jsonl, row 3: row_id .* of train\.jsonl, row 1"):
        ids(rows)


def test_doubled_ids_over_two_files() -> None:
    train = rows_of(row_id=["a"], prompt=["a"], completion=["x"])
    test = rows_of("test", row_id=["a"], prompt=["b"], completion=["x"])
    with pytest.raises(BadInput, match=r"test\.jsonl, row 1: row_id .* of train\.jsonl, row 1"):
        ids(train, test)


def test_an_empty_id() -> None:
    with pytest.raises(BadInput, match=r"train\.jsonl, row 2: row_id is empty"):
        ids(rows_of(row_id=["a", None], prompt=["a", "b"], completion=["x", "y"]))


def test_groups_of_the_notes() -> None:
    table = pa.table({"category": ["math", None], "difficulty": ["easy", "hard"]})
    assert group_ids(table, "train").to_pylist() == [
        "math::easy::train::0",
        "unknown::hard::train::1",
    ]
    assert group_ids(table.select(["category"]), "test").to_pylist() == ["test::0", "test::1"]


def test_own_groups_are_kept_unless_some_are_missing() -> None:
    assert group_ids(pa.table({"group_id": [5, 5]}), "train").to_pylist() == ["5", "5"]
    assert group_ids(pa.table({"group_id": [5, None]}), "train").to_pylist() == [
        "train::0",
        "train::1",
    ]
