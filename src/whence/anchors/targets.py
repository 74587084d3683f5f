"""What a probe is asked to predict, made from the labels each time it is asked.

    anchor_binary       1 where |importance| is at or above the problem's percentile, and above 0
    importance_abs      |importance|
    importance_signed   importance

A missing label stays missing: its row is in no training set and in no metric. A problem whose
labels are all 0 has no anchors; a threshold of 0 would make every sentence one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from whence.anchors.sentences import need_columns

if TYPE_CHECKING:
    import pandas as pd

Target = Literal["anchor_binary", "importance_abs", "importance_signed"]
TARGETS: tuple[Target, ...] = get_args(Target)

REMEDY = "`whence anchors labels` writes it"


def is_continuous(target: Target) -> bool:
    """Whether a probe regresses on this target rather than classifying."""
    return target != "anchor_binary"


def labelled(frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Which rows have a label, [rows]."""
    need_columns(frame, ("importance_signed",), REMEDY)
    return np.asarray(np.isfinite(frame["importance_signed"].to_numpy(dtype=np.float64)))


def anchors_of(
    values: NDArray[np.float64], problems: list[str] | NDArray[np.object_], percentile: float
) -> NDArray[np.float64]:
    """1 for anchors, 0 for the rest, NaN where `values` are NaN, [rows].

    values: what anchors are large in (|importance|, or a residual of it), [rows]. The percentile is
    NumPy's linear one over the values that a problem has, as in the earlier study.
    """
    import pandas as pd

    codes, names = pd.factorize(np.asarray(problems, dtype=object))
    anchor = np.full(len(values), np.nan)
    for code in range(len(names)):
        rows = np.flatnonzero((codes == code) & np.isfinite(values))
        if rows.size:
            own = values[rows]
            anchor[rows] = (own >= np.percentile(own, percentile)) & (own > 0)
    return anchor


def target_of(frame: pd.DataFrame, target: Target, percentile: float = 90.0) -> NDArray[np.float64]:
    """The target of every row, [rows], NaN where its label is missing.

    Raises BadInput where the table has no labels.
    """
    need_columns(frame, ("importance_signed",), REMEDY)
    signed = np.asarray(frame["importance_signed"], dtype=np.float64)
    if target == "importance_signed":
        return signed
    if target == "importance_abs":
        return np.asarray(np.abs(signed))
    return anchors_of(np.abs(signed), frame["problem_id"].to_numpy(dtype=object), percentile)
