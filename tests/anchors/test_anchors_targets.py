"""Targets: anchors by percentile of each problem, and labels that are missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from whence.anchors.sentences import read_sentences
from whence.anchors.targets import anchors_of, is_continuous, labelled, target_of
from whence.errors import BadInput


def frame_of(signed: list[float], problems: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"problem_id": problems, "importance_signed": signed})


def test_anchors_are_the_top_of_each_problem() -> None:
    # 11 values: the 90th percentile lies on the tenth, 0.9
    values = [-v / 10 for v in range(11)]
    frame = frame_of([*values, *(100 * v for v in values)], ["a"] * 11 + ["b"] * 11)
    assert target_of(frame, "anchor_binary").tolist() == [*([0.0] * 9), 1.0, 1.0] * 2
    assert target_of(frame, "anchor_binary", 50).sum() == 12
    assert target_of(frame, "importance_abs")[10] == 1.0
    assert target_of(frame, "importance_signed")[10] == -1.0


def test_a_missing_label_is_no_zero() -> None:
    frame = frame_of([0.4, np.nan, 0.1, 0.2], ["a"] * 4)
    anchor = target_of(frame, "anchor_binary", 50)
    assert np.isnan(anchor[1])
    assert anchor[[0, 2, 3]].tolist() == [1.0, 0.0, 1.0]  # the median of three, not of four
    assert labelled(frame).tolist() == [True, False, True, True]


def test_a_problem_without_importance_has_no_anchors() -> None:
    assert anchors_of(np.zeros(5), ["a"] * 5, 90).tolist() == [0.0] * 5
    assert np.isnan(anchors_of(np.full(3, np.nan), ["a"] * 3, 90)).all()


def test_a_table_without_labels_says_who_makes_them() -> None:
    with pytest.raises(BadInput, match="whence anchors labels"):
        target_of(pd.DataFrame({"problem_id": ["a"]}), "anchor_binary")
    assert is_continuous("importance_abs")
    assert not is_continuous("anchor_binary")


def test_the_published_anchors_come_back(shared_data: Path) -> None:
    for name in ("llama_correct", "qwen_correct"):
        path = shared_data / "thought-anchors" / name / "sentence_metadata.parquet"
        frame = read_sentences(path)
        assert target_of(frame, "anchor_binary").tolist() == frame["anchor"].tolist()
