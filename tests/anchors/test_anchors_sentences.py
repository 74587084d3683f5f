"""The table of sentences: what is read, derived and refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from whence.anchors.sentences import (
    as_id,
    ids_for_disk,
    in_order,
    problems_of,
    read_sentences,
    write_sentences,
)
from whence.errors import BadInput


def table(**columns: object) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "problem_id": [7, 7, 7, 2, 2],
            "chunk_idx": [0, 1, 2, 0, 1],
            "chunk_text": ["a", "b", "c", "d", "e"],
            "importance_signed": [0.5, -0.25, np.nan, 0.0, 0.1],
        }
    )
    return frame.assign(**columns)


def written(frame: pd.DataFrame, folder: Path) -> Path:
    path = folder / "sentences.parquet"
    frame.to_parquet(path)
    return path


def test_columns_that_can_be_derived_are(tmp_path: Path) -> None:
    frame = read_sentences(written(table(), tmp_path))
    assert frame["problem_id"].tolist() == ["2", "2", "7", "7", "7"]
    assert frame["num_chunks"].tolist() == [2, 2, 3, 3, 3]
    assert frame["relative_position"].tolist() == [0.0, 1.0, 0.0, 0.5, 1.0]
    assert frame["function_tag"].unique().tolist() == ["unknown"]
    assert frame["importance_score"].tolist()[2:4] == [0.5, 0.25]
    assert np.isnan(frame["importance_score"].iloc[4])
    assert problems_of(frame) == ["2", "7"]


def test_the_order_of_rows_changes_nothing(tmp_path: Path) -> None:
    frame = read_sentences(written(table(), tmp_path))
    shuffled = read_sentences(written(table().iloc[[3, 2, 0, 4, 1]], tmp_path))
    pd.testing.assert_frame_equal(shuffled, frame)
    assert in_order(["10", "9", "trace-2", "a", "1"]) == ["1", "9", "10", "a", "trace-2"]


def test_writing_and_reading_is_the_same(tmp_path: Path) -> None:
    frame = read_sentences(written(table(), tmp_path))
    write_sentences(frame, tmp_path / "again.parquet")
    assert pd.read_parquet(tmp_path / "again.parquet")["problem_id"].tolist() == [2, 2, 7, 7, 7]
    pd.testing.assert_frame_equal(read_sentences(tmp_path / "again.parquet"), frame)


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (table().drop(columns="chunk_text"), "no column chunk_text"),
        (table().iloc[:0], "has no rows"),
        (table(chunk_idx=[0, 1, 1, 0, 1]), "problem 7: sentence 1 occurs twice"),
        (table(chunk_idx=[0, 2, 3, 0, 1]), "problem 7: sentence 2 has no predecessor"),
        (table(chunk_idx=[0.0, 0.5, 2, 0, 1]), "row 1: chunk_idx is 0.5"),
        (table(chunk_text=["a", None, "c", "d", "e"]), "row 1: chunk_text is empty"),
        (
            table(importance_signed=[0, np.inf, 0, 0, 0]),
            "problem 7, sentence 1: importance_signed is inf",
        ),
        (table(chunk_text=[1, 2, 3, 4, 5]), "text was expected"),
        (table(importance_signed=["0.5x", "", "0", "0", "0"]), "importance_signed holds str"),
    ],
)
def test_what_is_no_table_of_sentences_is_refused(
    frame: pd.DataFrame, said: str, tmp_path: Path
) -> None:
    path = written(frame, tmp_path)
    with pytest.raises(BadInput) as refused:
        read_sentences(path)
    assert said in str(refused.value)
    assert str(path) in str(refused.value)


def test_ids_are_one_problem_however_they_are_written() -> None:
    assert {as_id(value) for value in (330, 330.0, "330", "problem_330", np.int64(330))} == {"330"}
    assert as_id("trace-00001") == "trace-00001"
    assert ids_for_disk(["1", "20"]) == [1, 20]
    assert ids_for_disk(["1", "x"]) == ["1", "x"]
    assert ids_for_disk(["01"]) == ["01"]  # a number would lose its zero
    assert ids_for_disk([str(2**63 - 1)]) == [2**63 - 1]
    assert ids_for_disk([str(2**63), "1"]) == [str(2**63), "1"]  # Parquet has no such number


def test_the_real_tables_are_read(shared_data: Path) -> None:
    for name, rows in (("llama_correct", 3983), ("qwen_correct", 2932)):
        path = shared_data / "thought-anchors" / name / "sentence_metadata.parquet"
        frame = read_sentences(path)
        stored = pd.read_parquet(path)
        assert len(frame) == rows
        for column in ("chunk_text", "importance_score", "relative_position", "token_count"):
            assert frame[column].tolist() == stored[column].tolist()
