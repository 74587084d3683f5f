"""Held-out rows: groups whole, classes on both sides, the same seed the same rows."""

from __future__ import annotations

import numpy as np
import pytest

from whence.errors import BadInput
from whence.stats.holdout import grouped_folds, hold_out

GROUPS = [f"g{row // 4}" for row in range(80)]
LABELS = [row % 10 == 0 for row in range(80)]


def test_groups_are_never_split() -> None:
    held = hold_out(GROUPS, "grouped", fraction=0.25, seed=3)
    assert held.sum() == 20
    inside = {group for group, out in zip(GROUPS, held, strict=True) if out}
    outside = {group for group, out in zip(GROUPS, held, strict=True) if not out}
    assert not inside & outside
    assert np.array_equal(held, hold_out(GROUPS, "grouped", fraction=0.25, seed=3))
    assert not np.array_equal(held, hold_out(GROUPS, "grouped", fraction=0.25, seed=4))


def test_classes_keep_their_share() -> None:
    held = hold_out(GROUPS, "stratified", labels=LABELS, fraction=0.25)
    assert np.asarray(LABELS)[held].sum() == 2
    assert hold_out(GROUPS, "random", fraction=0.1).sum() == 8


def test_folds_hold_every_row_once_and_groups_whole() -> None:
    fold = grouped_folds(GROUPS, 5, labels=LABELS)
    assert sorted(set(fold)) == [0, 1, 2, 3, 4]
    for group in set(GROUPS):
        assert len({fold[row] for row in range(80) if GROUPS[row] == group}) == 1
    assert set(grouped_folds(["a", "b", "b"], 5)) == {0, 1}


def test_what_cannot_be_split_says_what_would_help() -> None:
    with pytest.raises(BadInput, match="--group-key-fields"):
        hold_out(["a"] * 9, "grouped")
    with pytest.raises(BadInput, match="one class"):
        hold_out(["a", "b", "c"], "grouped", labels=[1, 0, 0], fraction=0.3)
    with pytest.raises(BadInput, match="one row"):
        hold_out(["a", "b", "c"], "stratified", labels=[1, 0, 0])
    with pytest.raises(BadInput, match="1 rows"):
        hold_out(["a"], "random")
    with pytest.raises(BadInput, match="no fold"):
        grouped_folds(["a", "a"], 2)
