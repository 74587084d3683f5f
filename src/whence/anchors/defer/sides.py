"""The rows that a deferral is planned from: those that tune thresholds, those that judge them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from whence.anchors.predictions import need
from whence.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd

SIDES = ("val", "test")
ALL = "all"
"""The one group where no group column is given."""


@dataclass(frozen=True)
class Rows:
    """scores: of one probe, as stored, [rows]. anchors: the truth. problems, groups: of each row.

    at: the row's place in the table it came from. position: −relative_position, or None.
    """

    scores: NDArray[np.float32]
    anchors: NDArray[np.bool_]
    problems: NDArray[np.object_]
    groups: NDArray[np.object_]
    at: NDArray[np.int64]
    position: NDArray[np.float32] | None

    def __len__(self) -> int:
        return len(self.scores)

    def where(self, keep: NDArray[np.bool_]) -> Rows:
        return Rows(
            scores=self.scores[keep],
            anchors=self.anchors[keep],
            problems=self.problems[keep],
            groups=self.groups[keep],
            at=self.at[keep],
            position=None if self.position is None else self.position[keep],
        )

    def scored_by(self, scores: NDArray[np.float32]) -> Rows:
        """The same rows under another score."""
        return replace(self, scores=scores)


@dataclass(frozen=True)
class Sides:
    """val tunes, test judges. unlabelled: rows left out for want of a label, per side.

    unmatched: groups on one side only, with their rows; they are in neither.
    """

    val: Rows
    test: Rows
    unlabelled: dict[str, int]
    unmatched: dict[str, int]

    @property
    def groups(self) -> list[str]:
        return sorted(set(self.test.groups))

    def rescored(self, score: Callable[[Rows], NDArray[np.float32]]) -> Sides:
        """The same rows under another score on both sides."""
        return replace(
            self,
            val=self.val.scored_by(score(self.val)),
            test=self.test.scored_by(score(self.test)),
        )


def read_sides(
    frame: pd.DataFrame,
    path: Path,
    score_column: str,
    label_column: str = "anchor",
    group_column: str | None = None,
) -> Sides:
    """Validation and test rows of a table of predictions.

    Raises BadInput, naming file, column and row, for what is not there, scores that are not finite,
    labels that are not 0 or 1, and a side without rows, without labels or without common groups.
    """
    if "split" not in frame.columns:
        raise BadInput(
            f"{path}: no column split; thresholds are tuned on its rows with val and judged on "
            "those with test (`whence anchors train` writes both)"
        )
    need(frame, score_column, path, "--score-column")
    need(frame, label_column, path, "--label-column")
    if group_column is not None:
        need(frame, group_column, path, "--group-column")
    rows = _rows(frame, path, score_column, label_column, group_column)
    labelled = np.isfinite(_numbers(frame, label_column, path))
    split = frame["split"].to_numpy(dtype=object)
    sides, unlabelled = {}, {}
    for side in SIDES:
        own = split == side
        if not own.any():
            found = ", ".join(sorted({str(value) for value in split}))
            raise BadInput(
                f"{path}: no row of split {side}, only of {found}; "
                "predictions of `whence anchors train` have val and test"
            )
        if not (own & labelled).any():
            raise BadInput(f"{path}: no {side} row has a label in {label_column}")
        unlabelled[side] = int((own & ~labelled).sum())
        sides[side] = rows.where(own & labelled)
    val, test = sides["val"], sides["test"]
    common = set(val.groups) & set(test.groups)
    if not common:
        raise BadInput(f"{path}: no value of {group_column} is in both val and test")
    unmatched: dict[str, int] = {}
    for rows_of_side in (val, test):
        for group in rows_of_side.groups:
            if group not in common:
                unmatched[group] = unmatched.get(group, 0) + 1
    val, test = (side.where(np.isin(side.groups, list(common))) for side in (val, test))
    return Sides(val, test, unlabelled, dict(sorted(unmatched.items())))


def _rows(
    frame: pd.DataFrame, path: Path, score_column: str, label_column: str, group_column: str | None
) -> Rows:
    scores = _numbers(frame, score_column, path).astype(np.float32)
    asked = frame["split"].isin(SIDES).to_numpy()
    bad = np.flatnonzero(~np.isfinite(scores) & asked)
    if bad.size:
        raise BadInput(
            f"{path} row {bad[0]}: {score_column} is {scores[bad[0]]}: finite scores were expected "
            f"({bad.size} are not)"
        )
    labels = _numbers(frame, label_column, path)
    bad = np.flatnonzero(np.isfinite(labels) & (labels != 0) & (labels != 1))
    if bad.size:
        raise BadInput(
            f"{path} row {bad[0]}: {label_column} is {labels[bad[0]]:g}: 0 or 1 was expected"
        )
    groups = np.full(len(frame), ALL, dtype=object)
    if group_column is not None:
        empty = np.flatnonzero(frame[group_column].isna())
        if empty.size:
            raise BadInput(f"{path} row {empty[0]}: {group_column} is empty")
        groups = np.array([str(value) for value in frame[group_column]], dtype=object)
    position = None
    if "relative_position" in frame.columns:
        place = -_numbers(frame, "relative_position", path).astype(np.float32)
        position = place if np.isfinite(place[asked]).all() else None
    return Rows(
        scores=scores,
        anchors=labels == 1,
        problems=frame["problem_id"].to_numpy(dtype=object),
        groups=groups,
        at=np.arange(len(frame), dtype=np.int64),
        position=position,
    )


def _numbers(frame: pd.DataFrame, column: str, path: Path) -> NDArray[np.float64]:
    try:
        return np.asarray(frame[column].to_numpy(dtype=np.float64, na_value=np.nan))
    except (TypeError, ValueError):
        raise BadInput(
            f"{path}: {column} holds {frame[column].dtype}: numbers were expected"
        ) from None
