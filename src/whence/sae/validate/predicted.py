"""Predictions of a pool beside what is known of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from whence.errors import BadInput
from whence.runs.tables import read_table
from whence.sae.scored import group_keys

if TYPE_CHECKING:
    import pandas as pd

ROW_SCORES = "row_scores.jsonl"
PREDICTED = ("pred_value", "score")
TARGETS = ("target_score_raw", "target_value")
OUT_OF_FOLD = "pred_out_of_fold"
FITTED = "train"
"""The part of rows that the predictor was fitted on."""


@dataclass(frozen=True)
class Predictions:
    """rows: row_id and all that is known. predicted: float64 [n], higher is predicted more useful.

    out_of_fold: the same by fits that had not seen the row, float64 [n] with NaN where there is
    none, or None. target: the attribution itself, likewise. fitted: bool [n], rows that the
    predictor was fitted on. groups: what rows share that are not independent.
    """

    rows: pd.DataFrame
    predicted: NDArray[np.float64]
    predicted_column: str
    out_of_fold: NDArray[np.float64] | None
    target: NDArray[np.float64] | None
    target_column: str | None
    fitted: NDArray[np.bool_]
    groups: NDArray[np.str_]


def predictions_file(path: Path) -> Path:
    """`row_scores.jsonl` of a folder of `whence sae predict`, or the table itself.

    Raises BadInput for a folder without one.
    """
    if not path.is_dir():
        return path
    if not (path / ROW_SCORES).is_file():
        raise BadInput(f"{path}: no {ROW_SCORES}; expected a folder of `whence sae predict`")
    return path / ROW_SCORES


def read_predictions(
    path: Path, metadata: Path | None = None, group_key_fields: Sequence[str] = ()
) -> Predictions:
    """Read predictions, and join what `metadata` knows besides by row_id.

    Raises BadInput, naming file and row, for a missing column, a doubled row_id, a prediction that
    is not a finite number, and metadata of other rows.
    """
    file = predictions_file(path)
    rows = _rows(file)
    column = next((name for name in PREDICTED if name in rows.columns), None)
    if column is None:
        raise BadInput(
            f"{file}: neither {' nor '.join(PREDICTED)}; it has {', '.join(rows.columns)}"
        )
    predicted = _numbers(rows, column, file)
    for number in np.flatnonzero(~np.isfinite(predicted))[:1]:
        raise BadInput(
            f'{file}, row_id "{rows["row_id"][number]}": {column} is '
            f"{rows[column][number]}, not a finite number"
        )
    if metadata is not None:
        rows = _joined(rows, metadata)
    target_column = next((name for name in TARGETS if name in rows.columns), None)
    target = _some(rows, target_column, file)
    if target is None:
        target_column = None
    fitted = (
        (rows["part"] == FITTED).to_numpy()
        if "part" in rows.columns
        else np.zeros(len(rows), dtype=bool)
    )
    groups = np.asarray(group_keys(rows, group_key_fields), dtype=str)
    out_of_fold = _some(rows, OUT_OF_FOLD if OUT_OF_FOLD in rows.columns else None, file)
    return Predictions(rows, predicted, column, out_of_fold, target, target_column, fitted, groups)


def _rows(file: Path) -> pd.DataFrame:
    rows = read_table(file).to_pandas()
    if "row_id" not in rows.columns or rows.empty:
        raise BadInput(f"{file}: no row_id in it; it has {', '.join(rows.columns) or 'nothing'}")
    rows["row_id"] = rows["row_id"].astype(str)
    for number in np.flatnonzero(rows["row_id"].duplicated())[:1]:
        raise BadInput(f'{file}, row {number + 1}: row_id "{rows["row_id"][number]}" is doubled')
    return rows


def _numbers(rows: pd.DataFrame, column: str, file: Path) -> NDArray[np.float64]:
    try:
        return np.asarray(rows[column].astype("float64").to_numpy())
    except (ValueError, TypeError) as error:
        raise BadInput(f"{file}: column {column} holds something other than numbers") from error


def _some(rows: pd.DataFrame, column: str | None, file: Path) -> NDArray[np.float64] | None:
    """The column's numbers, None where no row has one."""
    numbers = None if column is None else _numbers(rows, column, file)
    return None if numbers is None or not np.isfinite(numbers).any() else numbers


def _joined(rows: pd.DataFrame, metadata: Path) -> pd.DataFrame:
    """What the predictions' file says itself stays as it is."""
    more = _rows(metadata)
    if not set(more["row_id"]) & set(rows["row_id"]):
        raise BadInput(f"{metadata}: none of its rows is predicted (by row_id): another data set?")
    fresh = [name for name in more.columns if name == "row_id" or name not in rows.columns]
    return rows.merge(more[fresh], on="row_id", how="left", validate="one_to_one")
