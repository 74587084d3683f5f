"""A table of predictions: sentences of validation and test problems with every probe's score.

`predictions.parquet` of `whence anchors train` and `cv`, and the earlier study's
`predictions_seed_*.parquet`, which load unchanged. Columns: those of the table of sentences, and

    split           "val" or "test"; a cross-validation has "test" only
    seed            training seed; absent or empty where nothing depends on one
    anchor          1 for anchors, 0 for the rest, empty where the label is missing
    score_<probe>   higher for what the target is large in
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from whence.anchors.sentences import as_id
from whence.errors import BadInput
from whence.runs.tables import read_table

if TYPE_CHECKING:
    import pandas as pd

SCORE = "score_"


def read_predictions(path: Path) -> pd.DataFrame:
    """The table in `path`, rows as they are, problem ids as text.

    Raises BadInput naming the file for a table without rows, problems or scores.
    """
    frame = read_table(path).to_pandas()
    if frame.empty:
        raise BadInput(f"{path}: has no rows, so there is no prediction to work on")
    need(frame, "problem_id", path)
    if not score_columns(frame):
        raise BadInput(
            f"{path}: no column {SCORE}<probe>; `whence anchors train` and `cv` write such tables"
        )
    missing = np.flatnonzero(frame["problem_id"].isna())
    if missing.size:
        raise BadInput(f"{path} row {missing[0]}: problem_id is empty")
    frame["problem_id"] = [as_id(value) for value in frame["problem_id"]]
    return frame


def score_columns(frame: pd.DataFrame) -> list[str]:
    """Columns with a probe's scores, in their order."""
    return [name for name in map(str, frame.columns) if name.startswith(SCORE)]


def probe_of(column: str) -> str:
    """`score_linear_probe` → `linear_probe`; another name stays as it is."""
    return column.removeprefix(SCORE)


def need(frame: pd.DataFrame, column: str, path: Path, flag: str = "") -> None:
    """Raise BadInput when there is no such column, with the nearest name; flag: who asked."""
    if column in frame.columns:
        return
    names = [str(name) for name in frame.columns]
    candidates = score_columns(frame) if column.startswith(SCORE) else names
    near = difflib.get_close_matches(column, candidates, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(candidates or names)}"
    asked = f"{flag} {column}: " if flag else ""
    raise BadInput(f"{path}: {asked}no column {column}; {hint}")


def seeds_of(frame: pd.DataFrame) -> list[int]:
    """Distinct seeds in order of appearance; empty where no row depends on one."""
    if "seed" not in frame.columns:
        return []
    return [int(seed) for seed in dict.fromkeys(frame["seed"].dropna())]


def of_seed(frame: pd.DataFrame, seed: int | None, path: Path) -> tuple[pd.DataFrame, int | None]:
    """Rows of one seed, and which: `seed`, or the first there is.

    Rows without a seed belong to all. Raises BadInput for a seed that the table does not have.
    """
    seeds = seeds_of(frame)
    if seed is None and not seeds:
        return frame, None
    chosen = seeds[0] if seed is None else seed
    if chosen not in seeds:
        has = f"its seeds are {', '.join(map(str, seeds))}" if seeds else "its rows have no seed"
        raise BadInput(f"{path}: --seed {chosen}: no such rows; {has}")
    own = frame[(frame["seed"] == chosen) | frame["seed"].isna()]
    return own.reset_index(drop=True), chosen
