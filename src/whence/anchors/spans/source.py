"""Which texts are read: the traces themselves, or what a table of sentences still has of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from whence.anchors.sentences import problems_of, read_sentences
from whence.anchors.traces import Trace, read_traces, trace_line, traces_from_sentences
from whence.errors import BadInput
from whence.runs.fingerprint import fingerprint

TRACES_NAME = "traces.jsonl"


@dataclass(frozen=True)
class Source:
    """Traces, and where their text is from.

    text_from: "traces" holds prompt and reasoning as they were. "sentences" is sentences joined by
    blanks, without the prompt. path: the file of the text.
    """

    traces: tuple[Trace, ...]
    text_from: Literal["traces", "sentences"]
    path: Path

    def identity(self) -> dict[str, Any]:
        """What a record keeps: texts and sentences. Labels are no part of it."""
        return {
            "traces": len(self.traces),
            "sentences": sum(len(trace.sentences) for trace in self.traces),
            "sha256": fingerprint([[t.problem_id, text_hash(t)] for t in self.traces]),
        }

    def caution(self) -> str | None:
        """What a reader of the result must know of the texts, or None."""
        if self.text_from == "traces":
            return None
        return (
            "texts are sentences joined by blanks, without their prompts; give --traces for the "
            "texts that were generated"
        )


def text_hash(trace: Trace) -> str:
    """SHA-256 of a trace's text, where its reasoning begins, and its sentences."""
    return fingerprint(trace_line(trace))


def read_source(metadata: Path | None, traces: Path | None) -> Source:
    """Texts of `traces`, else of traces.jsonl beside `metadata`, else of its sentences.

    With both, sentences are those of `metadata` (which may leave some out), in the problems that it
    has. Raises BadInput where neither is given, and for problems without a trace.
    """
    if metadata is None and traces is None:
        raise BadInput("give --metadata (a table of sentences), --traces (JSONL), or both")
    if metadata is None:
        assert traces is not None
        return Source(tuple(read_traces(traces)), "traces", traces)
    frame = read_sentences(metadata)
    beside = metadata.parent / TRACES_NAME
    if traces is None and beside.is_file():
        traces = beside
    if traces is None:
        return Source(tuple(traces_from_sentences(frame)), "sentences", metadata)
    texts = {trace.problem_id: trace for trace in read_traces(traces)}
    absent = [problem for problem in problems_of(frame) if problem not in texts]
    if absent:
        raise BadInput(
            f"{traces}: no trace of {len(absent)} problems of {metadata} (first: {absent[0]}); "
            "give the traces that the table was made from"
        )
    sentences = {
        str(problem): tuple(own["chunk_text"])
        for problem, own in frame.groupby("problem_id", sort=False)
    }
    chosen = (replace(texts[each], sentences=sentences[each]) for each in problems_of(frame))
    return Source(tuple(chosen), "traces", traces)
