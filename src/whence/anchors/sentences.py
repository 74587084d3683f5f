"""The table of sentences: one row a sentence of a reasoning trace, in order, with its label.

`sentence_metadata.parquet` keeps the column names of the earlier thought-anchor study, so its files
load unchanged. Every room of `anchors` reads this table; nobody else decides what a column means.

    problem_id         which trace; text in memory, a number on disk where all ids are numbers
    chunk_idx          place of the sentence in its trace, from 0, without gaps
    num_chunks         labelled sentences of the trace
    chunk_text         the sentence
    function_tag       what it does (`plan_generation`, …), "unknown" where nobody said
    importance_signed  the label, NaN where missing; sign as `whence.anchors.labels` says
    importance_se      its standard error, NaN where unknown
    token_start, token_end, token_count   its span in the tokenized trace, where one was made
    relative_position  chunk_idx / (num_chunks − 1), from 0 to 1

Derived where they are absent: num_chunks, relative_position, function_tag, importance_score
(|importance_signed|). `anchor` depends on a percentile and belongs to `whence.anchors.targets`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from whence.errors import BadInput
from whence.runs.atomic import whole_file
from whence.runs.tables import read_table, write_parquet

if TYPE_CHECKING:
    import pandas as pd

REQUIRED = ("problem_id", "chunk_idx", "chunk_text")
POSITION = ("chunk_idx", "num_chunks", "relative_position", "token_count")
"""What the position baseline of the earlier study reads, in its order."""


def read_sentences(path: Path) -> pd.DataFrame:
    """The table in `path`, problems in order of their ids, sentences in theirs, rows from 0.

    So that the order of rows in the file changes no number.

    Raises BadInput naming the file, the column and the row: for a missing column, an empty table, a
    sentence that occurs twice or is left out, and a label that is infinite.
    """

    frame = read_table(path).to_pandas()
    missing = [name for name in REQUIRED if name not in frame.columns]
    if missing:
        raise BadInput(
            f"{path}: no column {', '.join(missing)}; a table of sentences has "
            f"{', '.join(REQUIRED)} and usually importance_signed (`whence anchors labels` makes "
            "one)"
        )
    if frame.empty:
        raise BadInput(f"{path}: has no rows, so there is no sentence to work on")
    for name in REQUIRED:
        if frame[name].isna().any():
            row = int(np.flatnonzero(frame[name].isna())[0])
            raise BadInput(f"{path} row {row}: {name} is empty")
    frame["problem_id"] = [as_id(value) for value in frame["problem_id"]]
    frame["chunk_idx"] = _whole_numbers(frame["chunk_idx"], path, "chunk_idx")
    if not all(isinstance(text, str) for text in frame["chunk_text"]):
        raise BadInput(f"{path}: chunk_text holds {frame['chunk_text'].dtype}: text was expected")
    place = {each: at for at, each in enumerate(in_order(frame["problem_id"].unique()))}
    order = frame["problem_id"].map(place).to_numpy()
    frame = frame.iloc[np.lexsort((frame["chunk_idx"], order))].reset_index(drop=True)
    _check_places(frame, path)
    return _with_derived(frame, path)


def write_sentences(frame: pd.DataFrame, path: Path) -> None:
    """Write the table, whole or not at all; problem ids that are all numbers are numbers again."""
    import pyarrow as pa

    written = frame.assign(problem_id=ids_for_disk(frame["problem_id"].tolist()))
    with whole_file(path) as temporary:
        write_parquet(pa.Table.from_pandas(written, preserve_index=False), temporary)


def as_id(value: object) -> str:
    """A problem id as text: 330, 330.0, "330" and "problem_330" are one problem."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip()
    bare = text.removeprefix("problem_")
    return bare if bare.isdecimal() else text


def ids_for_disk(ids: list[str]) -> list[int] | list[str]:
    """Numbers where each id is one (of 64 bits), as the earlier study wrote them; else text."""
    if ids and all(each.isdecimal() and str(int(each)) == each for each in ids):
        numbers = [int(each) for each in ids]
        if max(numbers) < 2**63:
            return numbers
    return ids


def in_order(ids: Iterable[str]) -> list[str]:
    """Ids that are numbers by size, others behind them as text."""

    def place(each: str) -> tuple[bool, int, str]:
        return not each.isdecimal(), int(each) if each.isdecimal() else 0, each

    return sorted(ids, key=place)


def problems_of(frame: pd.DataFrame) -> list[str]:
    """Distinct problem ids in order of appearance."""
    return list(dict.fromkeys(frame["problem_id"]))


def need_columns(frame: pd.DataFrame, columns: tuple[str, ...], remedy: str) -> None:
    """Raise BadInput naming what the table lacks, and `remedy`, which says how to get it."""
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise BadInput(f"the table of sentences has no column {', '.join(missing)}; {remedy}")


def _numbers(column: pd.Series, path: Path, name: str) -> np.ndarray:
    """float64, NaN where empty; BadInput where the column holds text."""
    import pandas as pd

    if not pd.api.types.is_numeric_dtype(column) and not column.isna().all():
        example = column[column.notna()].iloc[0]
        raise BadInput(
            f"{path}: column {name} holds {column.dtype} ({example!r}): numbers were expected"
        )
    return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))


def _whole_numbers(column: pd.Series, path: Path, name: str) -> np.ndarray:
    try:
        values = column.to_numpy(dtype=np.float64)
    except (TypeError, ValueError):
        raise BadInput(
            f"{path}: {name} holds {column.dtype}: whole numbers were expected"
        ) from None
    bad = np.flatnonzero((values != np.floor(values)) | (values < 0))
    if bad.size:
        raise BadInput(f"{path} row {bad[0]}: {name} is {values[bad[0]]}: expected 0, 1, 2, …")
    return np.asarray(values, dtype=np.int64)


def _check_places(frame: pd.DataFrame, path: Path) -> None:
    expected = frame.groupby("problem_id", sort=False).cumcount()
    wrong = np.flatnonzero(frame["chunk_idx"].to_numpy() != expected.to_numpy())
    if wrong.size:
        row = frame.iloc[int(wrong[0])]
        twice = int(row["chunk_idx"]) < int(expected.iloc[int(wrong[0])])
        what = "occurs twice" if twice else "has no predecessor"
        raise BadInput(
            f"{path}: problem {row['problem_id']}: sentence {row['chunk_idx']} {what}; "
            "chunk_idx counts the sentences of a trace from 0 without gaps"
        )


def _with_derived(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    count = frame.groupby("problem_id", sort=False)["chunk_idx"].transform("size")
    if "num_chunks" not in frame.columns:
        frame["num_chunks"] = count.to_numpy()
    if "relative_position" not in frame.columns:
        span = np.maximum(frame["num_chunks"].to_numpy(dtype=np.float32) - 1, 1)
        frame["relative_position"] = frame["chunk_idx"].to_numpy(dtype=np.float32) / span
    if "function_tag" not in frame.columns:
        frame["function_tag"] = "unknown"
    if "importance_signed" not in frame.columns and "counterfactual_raw" in frame.columns:
        frame["importance_signed"] = frame["counterfactual_raw"]
    for name in ("importance_signed", "importance_se"):
        if name in frame.columns:
            values = _numbers(frame[name], path, name)
            bad = np.flatnonzero(np.isinf(values))
            if bad.size:
                row = frame.iloc[int(bad[0])]
                raise BadInput(
                    f"{path}: problem {row['problem_id']}, sentence {row['chunk_idx']}: {name} is "
                    f"{values[bad[0]]}"
                )
            frame[name] = values
    if "importance_signed" in frame.columns:
        frame["importance_score"] = frame["importance_signed"].abs()
    return frame
