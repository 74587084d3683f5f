"""Numbers of any run, from a table or a JSON file in its folder that the sweep file names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.errors import BadInput
from whence.runs.jsonfile import read_json
from whence.runs.validation import nearest
from whence.sweep.campaigns.measured_rows import NO_SEED, measured_rows, need_columns
from whence.sweep.settings import RankSettings

if TYPE_CHECKING:
    import pandas as pd

ALONE = "run"
"""Series and unit where a run has one number."""


def measured_table(output: Path, rank: RankSettings) -> pd.DataFrame:
    """What `rank.table` or `rank.file` names; see `Campaign.measured`.

    Rows of a table that share series, unit and seed are averaged only where `unit` is named, for
    then they are parts of it. Raises BadInput where neither is named, and naming the file, column
    or key that is absent or no number.
    """
    if rank.value is None or rank.higher_is_better is None:
        raise BadInput(
            "rank: this command does not say by which number its runs are ranked; name table or "
            "file, value, and higher_is_better"
        )
    metric = rank.value if rank.metric == "primary" else rank.metric
    if rank.file is not None:
        value = _number(output / rank.file, rank.value)
        return measured_rows(
            series=[ALONE],
            unit=[ALONE],
            value=[value],
            metric=metric,
            higher_is_better=rank.higher_is_better,
        )
    assert rank.table is not None  # the settings' own check
    path = output / rank.table
    frame = _read(path, rank)
    unit = frame[rank.unit].astype(str) if rank.unit else frame.index.map(str)
    frame = frame.assign(
        _series=frame[rank.by].astype(str) if rank.by else ALONE,
        _unit=unit,
        _seed=_seeds(path, frame, rank.seed),
    )
    keys = ["_series", "_unit", "_seed"]
    means = frame.groupby(keys, sort=False, as_index=False)[rank.value].mean()
    return measured_rows(
        series=means["_series"],
        baseline=means["_series"].isin(rank.baselines),
        unit=means["_unit"],
        seed=means["_seed"],
        value=means[rank.value],
        metric=metric,
        higher_is_better=rank.higher_is_better,
    )


def _read(path: Path, rank: RankSettings) -> pd.DataFrame:
    """The rows that `where` takes, with the columns that are named."""
    import pandas as pd
    import pyarrow.parquet as pq

    assert rank.value is not None
    named = (rank.value, rank.unit, rank.seed, rank.by)
    wanted = list(dict.fromkeys([*(name for name in named if name), *rank.where]))
    if not path.is_file():
        raise BadInput(f"{path}: no such file; rank.table names a table in every run's folder")
    if path.suffix == ".parquet":
        with pq.ParquetFile(path) as file:
            need_columns(path, file.schema_arrow.names, wanted)
            frame = file.read(columns=wanted).to_pandas()
    elif path.suffix == ".csv":
        need_columns(path, list(pd.read_csv(path, nrows=0).columns), wanted)
        frame = pd.read_csv(path, usecols=wanted)
    else:
        from whence.runs.tables import read_table

        table = read_table(path)
        need_columns(path, table.column_names, wanted)
        frame = table.select(wanted).to_pandas()
    for column, value in rank.where.items():
        frame = frame[frame[column] == value]
    if frame.empty:
        told = f" where {json.dumps(rank.where)}" if rank.where else ""
        raise BadInput(f"{path}: has no rows{told}")
    try:
        frame[rank.value] = frame[rank.value].astype(float)
    except (TypeError, ValueError):
        raise BadInput(f"{path}: column {rank.value} is not numbers") from None
    return frame.reset_index(drop=True)


def _seeds(path: Path, frame: pd.DataFrame, column: str | None) -> Any:
    if column is None:
        return NO_SEED
    try:
        return frame[column].astype("Float64").fillna(NO_SEED).astype(int)
    except (TypeError, ValueError):
        raise BadInput(f"{path}: column {column} is not whole numbers, as seeds are") from None


def _number(path: Path, dotted: str) -> float:
    value: Any = read_json(path)
    for done, key in enumerate(keys := dotted.split("."), start=1):
        if not isinstance(value, Mapping) or key not in value:
            there = nearest(key, list(value)) if isinstance(value, Mapping) else ""
            raise BadInput(f"{path}: no {'.'.join(keys[:done])}{there}")
        value = value[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadInput(f"{path}: {dotted} is {value!r}, a number was expected")
    return float(value)
