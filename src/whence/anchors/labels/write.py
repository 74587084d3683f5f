"""The files of `whence anchors labels`: the table, its texts, its splits, and what they hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from whence.anchors.labels.given import from_metadata, from_traces
from whence.anchors.labels.measure import Recomputer
from whence.anchors.labels.published import published
from whence.anchors.labels.summary import (
    ERRORS_BY_ROLLOUTS,
    NO_ERRORS,
    summarise,
    without_reasons,
)
from whence.anchors.labels.table import Kept, frame_of, ordered, rows_of
from whence.anchors.rollouts.opened import Index
from whence.anchors.sentences import as_id, ids_for_disk, problems_of, write_sentences
from whence.anchors.spans.tokens import place
from whence.anchors.splits import make_splits, read_splits
from whence.anchors.traces import Trace, trace_line
from whence.errors import BadInput
from whence.models.load import load_tokenizer
from whence.runs.jsonfile import write_json, write_jsonl
from whence.runs.progress import track

if TYPE_CHECKING:
    from whence.anchors.labels.command import LabelsConfig
    from whence.runs.store import Run


def write(config: LabelsConfig, run: Run) -> None:
    """Everything that `labels` leaves behind. Raises BadInput for inputs of another shape."""
    frame, traces, notes = _labelled(config, run)
    if config.tokenizer is not None:
        frame = _with_tokens(frame, traces, config.tokenizer)
        lost = int(frame["token_start"].isna().sum())
        notes["tokens"] = {"tokenizer": config.tokenizer, "sentences_not_found": lost}
    problems = problems_of(frame)
    splits = _splits(config, problems)
    importance = None if config.traces is not None else config.importance
    about = summarise(frame, importance)
    about["zeros"] |= {"policy": config.zeros, "note": _about_zeros(config, frame)}
    write_sentences(without_reasons(frame), run.folder / "sentence_metadata.parquet")
    rows = zip(ids_for_disk([trace.problem_id for trace in traces]), traces, strict=True)
    text_from = {"text_from": "sentences"} if notes.get("text") else {}
    write_jsonl(
        run.folder / "traces.jsonl",
        ({"problem_id": each, **trace_line(trace), **text_from} for each, trace in rows),
    )
    if splits is not None:
        write_json(run.folder / "splits.json", splits)
    counts = {part: len(ids) for part, ids in splits.items()} if splits else None
    write_json(run.folder / "summary.json", {**about, **notes, "splits": counts})


def _labelled(config: LabelsConfig, run: Run) -> tuple[pd.DataFrame, list[Trace], dict[str, Any]]:
    """The table, its traces, and what else the summary says."""
    zeros_missing = config.zeros == "missing"
    if config.index is not None:
        return _from_index(config, run)
    notes: dict[str, Any] = {"label_key": None, "standard_error_method": NO_ERRORS}
    if config.from_metadata is not None:
        notes |= {"source": "metadata", "standard_error_method": "as in the table that was given"}
        frame, traces, joined = from_metadata(
            config.from_metadata, config.importance, zeros_missing
        )
        if joined:
            notes["text"] = "sentences joined by blanks, without the prompt"
        return frame, traces, notes
    assert config.traces is not None
    key = config.label_key or "importance"
    notes |= {"source": "traces", "label_key": key}
    notes["standard_error_method"] = "as given"
    required = config.label_key is not None
    return *from_traces(config.traces, key, required, zeros_missing), notes


def _from_index(config: LabelsConfig, run: Run) -> tuple[pd.DataFrame, list[Trace], dict[str, Any]]:
    """Of the problems of an index, one by one."""
    assert config.index is not None
    index = Index.open(config.index)
    recompute = Recomputer(index, config, run.scratch / "problems")
    kept: list[Kept] = []
    left_out: list[Kept] = []
    for each in track(index.problem_ids, label=f"labels ({config.source})", unit="problems"):
        problem = index.problem(each)
        if config.source == "published":
            if not problem.labelled:
                raise BadInput(
                    f"{problem.place}: no chunks_labeled.json, so nothing is published of it; use "
                    "--source rollouts, or leave it out of the index with --problem-ids"
                )
            measured = published(problem, config.zeros)
        else:
            measured = recompute(problem)
        own = rows_of(problem, measured, config.importance, config.drop_last_chunk)
        (kept if own.rows else left_out).append(own)
    rows = [row for own in kept for row in own.rows]
    if not rows:
        raise BadInput(
            f"{config.index}: no sentence is left once the last of each trace is dropped; use "
            "--no-drop-last-chunk"
        )
    by_rollouts = config.source == "rollouts"
    notes = {
        "label_key": None,
        "source": config.source,
        "standard_error_method": ERRORS_BY_ROLLOUTS if by_rollouts else NO_ERRORS,
        "dropped_last": sum(own.dropped for own in (*kept, *left_out)),
        "left_out": [own.trace.problem_id for own in left_out],
    }
    if by_rollouts:
        names = ("embedding_model", "similarity_threshold", "kl", "laplace", "bootstrap_draws")
        notes |= {name: getattr(config, name) for name in names}
    return frame_of(rows, config.importance), [own.trace for own in kept], notes


def _about_zeros(config: LabelsConfig, frame: pd.DataFrame) -> str | None:
    """What a reader of the zeros must know, or None where each is a measurement."""
    unsure = (frame["importance_signed"] == 0) & frame["importance_se"].isna()
    known = config.source == "rollouts" or config.traces is not None
    decided = config.index is not None and config.zeros == "auto"
    if known or decided or not unsure.any():
        return None
    return (
        "the published analysis also wrote 0 where it had nothing to compare; which of these were "
        "measured cannot be told here"
    )


def _splits(config: LabelsConfig, problems: Sequence[str]) -> dict[str, list[Any]] | None:
    """Splits of the problems in the table; None where there are too few of them."""
    if config.splits is not None:
        parts = read_splits(config.splits, problems)
    elif config.index is not None:
        found = Index.open(config.index).splits or {}
        there = set(problems)
        parts = {
            part: [each for each in map(as_id, ids) if each in there] for part, ids in found.items()
        }
    else:
        parts = make_splits(problems, config.seed) if len(problems) >= 3 else {}
    return {part: list(ids_for_disk(list(ids))) for part, ids in parts.items()} or None


def _with_tokens(frame: pd.DataFrame, traces: Sequence[Trace], model: str) -> pd.DataFrame:
    """`frame` with the token span of each sentence, missing where it is not found in its text."""
    tokenizer = load_tokenizer(model)
    spans = [
        span
        for trace in track(traces, label="placing sentences", unit="traces")
        for span in place(tokenizer, trace, "never").tokens
    ]
    starts = [None if span is None else span.start for span in spans]
    ends = [None if span is None else span.end for span in spans]
    frame = frame.assign(
        token_start=pd.array(starts, dtype="Int64"), token_end=pd.array(ends, dtype="Int64")
    )
    frame["token_count"] = frame["token_end"] - frame["token_start"]
    return ordered(frame)
