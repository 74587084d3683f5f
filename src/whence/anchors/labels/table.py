"""From what is known of each sentence to the table of sentences (`whence.anchors.sentences`).

Columns beside those: each importance under its published name and its standard error as
`<name>_se`; `importance_missing`, why a label is missing; `source_chunk_idx`, the sentence's number
in the files, where that is not its place (short pieces got no number of their own).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.anchors.labels.names import ERRORS, IMPORTANCES, Importance
from whence.anchors.labels.recompute import Measured
from whence.anchors.rollouts.problem import Problem
from whence.anchors.traces import Trace

if TYPE_CHECKING:
    import pandas as pd

FIRST = (
    "problem_id", "chunk_idx", "num_chunks", "chunk_text", "function_tag", "importance_signed",
    "importance_score", "importance_se", "importance_missing", "token_start", "token_end",
    "token_count", "relative_position",
)  # fmt: skip
"""Columns that come first, in this order, where they are there at all."""


@dataclass(frozen=True)
class Kept:
    """One problem's rows and the text that they are sentences of. dropped: last ones left out."""

    trace: Trace
    rows: list[dict[str, Any]]
    dropped: int


def rows_of(
    problem: Problem, measured: Sequence[Measured], importance: Importance, drop_last: bool
) -> Kept:
    """The rows of a problem. drop_last: without its last sentence, which has no successor."""
    stop = len(problem.sentences) - 1 if drop_last else len(problem.sentences)
    rows: list[dict[str, Any]] = []
    for place, (sentence, known) in enumerate(zip(problem.sentences, measured, strict=True)):
        if place == stop:
            break
        rows.append(
            {
                "problem_id": problem.problem_id,
                "chunk_idx": place,
                "chunk_text": sentence.text,
                "function_tag": sentence.tag,
                "importance_missing": known.why.get(importance),
                "source_chunk_idx": sentence.number,
                **known.values,
                **{f"why:{name}": why for name, why in known.why.items()},
            }
        )
    sentences = tuple(row["chunk_text"] for row in rows)
    trace = Trace(problem.problem_id, problem.text, sentences, problem.start)
    return Kept(trace, rows, len(problem.sentences) - len(rows))


def frame_of(rows: Sequence[dict[str, Any]], importance: Importance) -> pd.DataFrame:
    """The table of all rows, labelled by `importance`. Reasons of the others are `why:<name>`."""
    import pandas as pd

    frame = pd.DataFrame(rows)
    frame["importance_signed"] = frame[importance].astype(float)
    frame["importance_se"] = frame[ERRORS[importance]].astype(float)
    return finished(frame)


def finished(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with what is derived, columns in order, and without columns that say nothing."""
    count = frame.groupby("problem_id", sort=False)["chunk_idx"].transform("size")
    if "num_chunks" not in frame.columns:
        frame["num_chunks"] = count
    if "relative_position" not in frame.columns:
        span = np.maximum(frame["num_chunks"].to_numpy(dtype=np.float32) - 1, 1)
        frame["relative_position"] = frame["chunk_idx"].to_numpy(dtype=np.float32) / span
    frame["importance_score"] = frame["importance_signed"].abs()
    if "source_chunk_idx" in frame.columns and frame["source_chunk_idx"].equals(frame["chunk_idx"]):
        frame = frame.drop(columns="source_chunk_idx")
    names = {*IMPORTANCES, *ERRORS.values(), "importance_missing"} & set(frame.columns)
    empty = [name for name in sorted(names) if frame[name].isna().all()]
    return ordered(frame.drop(columns=empty))


def ordered(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with the columns that every table has in front."""
    first = [name for name in FIRST if name in frame.columns]
    return frame[[*first, *(name for name in frame.columns if name not in first)]]
