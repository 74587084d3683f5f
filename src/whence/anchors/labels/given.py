"""Tables and traces that come with their labels: of the earlier study, or of one's own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.anchors.labels.names import (
    DEFAULT,
    ERRORS,
    IMPORTANCES,
    NO_LABEL,
    STORED_AS_ZERO,
    Importance,
)
from whence.anchors.labels.table import finished
from whence.anchors.sentences import read_sentences
from whence.anchors.spans.source import TRACES_NAME, read_source
from whence.anchors.traces import Trace, read_traces
from whence.errors import BadInput
from whence.runs.jsonfile import read_jsonl

if TYPE_CHECKING:
    import pandas as pd

OF_AN_EXTRACTION = (
    "embedding_row", "hidden_dim", "layer_index", "storage_dtype", "compute_dtype", "pooling",
    "anchor",
)  # fmt: skip
"""Columns of the earlier study's table that belong to its activations or to a percentile."""


def traces_beside(metadata: Path) -> Path | None:
    """The texts that a table was written with, where they still lie beside it."""
    beside = metadata.parent / TRACES_NAME
    return beside if beside.is_file() else None


def from_metadata(
    path: Path, importance: Importance, zeros_missing: bool
) -> tuple[pd.DataFrame, list[Trace], bool]:
    """The table in `path`, its traces, and whether those are its sentences joined by blanks.

    Traces are those of `traces.jsonl` beside the table, where there is one; the earlier study kept
    none. Its tables have one importance, the counterfactual accuracy, as `importance_signed`.
    Raises BadInput where the table lacks `importance`.
    """
    frame = read_sentences(path)
    source = read_source(path, None)
    joined = source.text_from == "sentences" or any(
        line.get("text_from") == "sentences" for line in read_jsonl(source.path)
    )
    traces = list(source.traces)
    frame = frame.drop(columns=[name for name in OF_AN_EXTRACTION if name in frame.columns])
    if importance in frame.columns:
        if "importance_signed" in frame.columns and not _equal(frame, importance):
            frame = frame.drop(columns=["importance_se", "importance_missing"], errors="ignore")
        frame["importance_signed"] = frame[importance].astype(float)
        if ERRORS[importance] in frame.columns:
            frame["importance_se"] = frame[ERRORS[importance]].astype(float)
    elif importance != DEFAULT or "importance_signed" not in frame.columns:
        known = [name for name in IMPORTANCES if name in frame.columns]
        if "importance_signed" in frame.columns and not known:
            known = [DEFAULT]
        remedy = f"it has {', '.join(known)}" if known else "label it from rollouts, with --index"
        raise BadInput(f"{path}: no column {importance}; {remedy}")
    return finished(_with_missing(frame, zeros_missing)), traces, joined


def from_traces(
    path: Path, key: str, required: bool, zeros_missing: bool
) -> tuple[pd.DataFrame, list[Trace]]:
    """Traces of `path`, and a table of their sentences, labelled by what each has under `key`.

    `<key>_se` is its standard error, where there is one. true and false are 1 and 0. required:
    raise BadInput where no sentence has the key; it also is raised, naming line and sentence, for a
    label that is not a number.
    """
    import pandas as pd

    traces = read_traces(path)
    lines = read_jsonl(path)
    rows = []
    for number, (trace, line) in enumerate(zip(traces, lines, strict=True), start=1):
        entries = line.get("sentences") or list(trace.sentences)
        for place, (text, entry) in enumerate(zip(trace.sentences, entries, strict=True)):
            where = f"{path} line {number} sentence {place}"
            known = entry if isinstance(entry, Mapping) else {}
            rows.append(
                {
                    "problem_id": trace.problem_id,
                    "chunk_idx": place,
                    "chunk_text": text,
                    "function_tag": str(known.get("function_tag") or "unknown"),
                    "importance_signed": _number(known.get(key), f"{where}: {key}"),
                    "importance_se": _number(known.get(f"{key}_se"), f"{where}: {key}_se"),
                }
            )
    frame = pd.DataFrame(rows)
    if required and frame["importance_signed"].isna().all():
        raise BadInput(
            f"{path}: --label-key {key}: no sentence has it; sentences are objects with text and "
            f"{key}"
        )
    return finished(_with_missing(frame, zeros_missing)), traces


def _with_missing(frame: pd.DataFrame, zeros_missing: bool) -> pd.DataFrame:
    if "importance_missing" not in frame.columns:
        frame["importance_missing"] = None
    labels = frame["importance_signed"].to_numpy(dtype=float, copy=True)
    causes = frame["importance_missing"].astype(object).where(np.isnan(labels), None)
    causes = causes.where(~np.isnan(labels) | causes.notna(), NO_LABEL)
    if zeros_missing:
        causes = causes.where(labels != 0, STORED_AS_ZERO)
        labels[labels == 0] = math.nan
    frame["importance_signed"], frame["importance_missing"] = labels, causes
    if "importance_se" not in frame.columns:
        frame["importance_se"] = math.nan
    return frame


def _equal(frame: pd.DataFrame, importance: str) -> bool:
    ours, theirs = frame["importance_signed"], frame[importance].astype(float)
    return bool(((ours == theirs) | (ours.isna() & theirs.isna())).all())


def _number(value: Any, where: str) -> float:
    if value is None:
        return math.nan
    if not isinstance(value, int | float) or math.isinf(value):
        raise BadInput(f"{where} is {value!r}; a finite number, or nothing, was expected")
    return float(value)
