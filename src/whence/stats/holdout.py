"""Rows held out: by chance, by class, or by whole groups, so that a group is on one side only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from whence.errors import BadInput

SplitMode = Literal["grouped", "random", "stratified"]


def hold_out(
    groups: Sequence[str],
    mode: SplitMode,
    *,
    fraction: float = 0.2,
    labels: ArrayLike | None = None,
    seed: int = 0,
) -> NDArray[np.bool_]:
    """True where a row is held out, bool [n].

    groups: a label per row. grouped: `fraction` of the groups, whole; random: of the rows;
    stratified: of the rows of each of `labels`. Where labels are given (two classes or more), both
    sides must have each of them. Raises BadInput, saying what would help, where there are too few
    rows, groups or rows of a class.
    """
    from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit, StratifiedShuffleSplit

    n = len(groups)
    classes = None if labels is None else np.asarray(labels)
    if n < 2:
        raise BadInput(f"{n} rows cannot be split into rows to fit on and rows to hold out")
    held = np.zeros(n, dtype=bool)
    if mode == "grouped":
        count = len(set(groups))
        if count < 2:
            raise BadInput(
                "all rows are of one group, so no group can be held out: choose other "
                "--group-key-fields, or another --split-mode and know that alike rows may be on "
                "both sides"
            )
        splitter = GroupShuffleSplit(1, test_size=_share(count, fraction), random_state=seed)
        _, test = next(splitter.split(held, groups=np.asarray(groups, dtype=str)))
    elif mode == "random" or classes is None:
        test = next(ShuffleSplit(1, test_size=_share(n, fraction), random_state=seed).split(held))[
            1
        ]
    else:
        counts = np.unique(classes, return_counts=True)[1]
        if counts.min() < 2:
            raise BadInput(
                "a class has one row, and both sides of the split need one: choose another --top-k"
            )
        size = max(_share(n, fraction), len(counts))
        splitter = StratifiedShuffleSplit(1, test_size=size, random_state=seed)
        _, test = next(splitter.split(held, classes))
    held[test] = True
    if classes is not None:
        for side, name in ((held, "held-out"), (~held, "fitted")):
            if len(np.unique(classes[side])) < len(np.unique(classes)):
                raise BadInput(
                    f"the {name} rows are all of one class ({int(side.sum())} rows): choose "
                    "another --top-k, --test-fraction, --split-mode or --seed"
                )
    return held


def grouped_folds(
    groups: Sequence[str],
    folds: int,
    *,
    labels: ArrayLike | None = None,
    seed: int = 0,
) -> NDArray[np.int64]:
    """The fold of each row, int64 [n], whole groups to a fold, classes spread if labels are given.

    Fewer groups than `folds`: as many folds as groups. Raises BadInput for fewer than two groups.
    """
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    names = np.asarray(groups, dtype=str)
    count = min(folds, len(np.unique(names)))
    if count < 2:
        raise BadInput("all rows are of one group, so no fold can be held out")
    if labels is None:
        splitter = GroupKFold(count, shuffle=True, random_state=seed)
        parts = splitter.split(names, groups=names)
    else:
        stratified = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
        parts = stratified.split(names, np.asarray(labels), groups=names)
    fold = np.empty(len(names), dtype=np.int64)
    for number, (_, rows) in enumerate(parts):
        fold[rows] = number
    return fold


def _share(count: int, fraction: float) -> int:
    """At least one and all but one of `count`."""
    return min(max(1, round(count * fraction)), count - 1)
