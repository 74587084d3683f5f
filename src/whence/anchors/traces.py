"""Reasoning traces as text: what is run through the model, and its sentences.

A line of `traces.jsonl`:

    {"problem_id": 330, "text": "…the whole prompt and reasoning…", "sentences": ["…", …]}

`text` may be left out: it is then `prompt` (or `problem`) and the sentences, joined by blanks.
`sentences` may be left out: the text is then cut into sentences. A sentence may be an object with
`text`, as `whence tiny make --kind traces` writes it. Other keys do no harm and are not kept.

Reasoning often says again what the prompt says, so sentences are looked for behind the prompt:
from `start` (a character of the text), else behind `prompt` or `problem` where the text begins with
it or holds it before `<think>`, else behind `<think>`, else from the beginning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.anchors.sentences import as_id, ids_for_disk
from whence.errors import BadInput
from whence.runs.jsonfile import read_jsonl, write_jsonl

if TYPE_CHECKING:
    import pandas as pd

THINK = "<think>"
SHORTEST = 10
"""A piece shorter than this many characters is joined to the next (Bogdan et al. 2025)."""


@dataclass(frozen=True)
class Trace:
    """One reasoning trace. text: all that the model reads. sentences: those in it, in order.

    start: the character of `text` where the reasoning begins; no sentence lies before it.
    """

    problem_id: str
    text: str
    sentences: tuple[str, ...]
    start: int = 0


def read_traces(path: Path) -> list[Trace]:
    """Read `traces.jsonl`. Raises BadInput naming the line and what it lacks."""
    rows = read_jsonl(path)
    if not rows:
        raise BadInput(f"{path}: has no lines, so there is no trace to read")
    traces = [_trace(row, f"{path} line {number}") for number, row in enumerate(rows, start=1)]
    seen: dict[str, int] = {}
    for number, trace in enumerate(traces, start=1):
        if trace.problem_id in seen:
            raise BadInput(
                f"{path} line {number}: problem_id {trace.problem_id} stands in line "
                f"{seen[trace.problem_id]} already; one trace a problem was expected"
            )
        seen[trace.problem_id] = number
    return traces


def write_traces(traces: Iterable[Trace], path: Path) -> None:
    """Write traces one a line; ids that are numbers are written as numbers."""
    traces = list(traces)
    ids = ids_for_disk([trace.problem_id for trace in traces])
    rows = (
        {"problem_id": each, **trace_line(trace)} for each, trace in zip(ids, traces, strict=True)
    )
    write_jsonl(path, rows)


def trace_line(trace: Trace) -> dict[str, Any]:
    """All of a trace but its id, as `traces.jsonl` holds it."""
    return {"text": trace.text, "start": trace.start, "sentences": list(trace.sentences)}


def reasoning_start(text: str, prompt: str | None = None) -> int:
    """The character where reasoning begins: behind the prompt where it is there, else <think>.

    A prompt behind <think> is reasoning that quotes it. One of under ten characters (a name, a
    number) counts at the beginning alone: anywhere else it may be a word of a sentence.
    """
    think = text.find(THINK)
    prompt = prompt if prompt and prompt.strip() else None
    if prompt is not None:
        at = text.find(prompt)
        first = at >= 0 and not text[:at].strip()
        if first or (len(prompt) >= SHORTEST and at >= 0 and (think < 0 or at < think)):
            return at + len(prompt)
    return think + len(THINK) if think >= 0 else 0


def traces_from_sentences(frame: pd.DataFrame) -> list[Trace]:
    """Traces made again from a table of sentences alone, joined by blanks.

    The table has neither the prompt nor the white space between sentences, so a model reads these
    without their question. Give the traces themselves wherever there are any.
    """
    return [
        Trace(str(problem), " ".join(own["chunk_text"]), tuple(own["chunk_text"]))
        for problem, own in frame.groupby("problem_id", sort=False)
    ]


def split_into_sentences(text: str) -> list[str]:
    """Cut reasoning into sentences as the Thought Anchors study does.

    What stands between <think> and </think> where those occur; cut after . ! ? : and at line ends,
    but not inside a decimal number or after a list number; pieces under ten characters are joined
    to what follows. Text behind the last such mark belongs to no sentence there; here it is one.
    """
    if THINK in text:
        text = text.split(THINK, maxsplit=1)[1]
    text = text.split("</think>", maxsplit=1)[0].strip()
    pieces = [piece for piece in re.split(r"(?<=[!?:\n])|(?<=\.)(?!\d)(?<!\n\d\.)", text) if piece]
    merged: list[str] = []
    for piece in pieces:
        if merged and len(merged[-1]) < SHORTEST:
            merged[-1] += piece
        else:
            merged.append(piece)
    return [piece.replace("\n", " ").strip() for piece in merged if piece.strip()]


def _trace(row: Any, where: str) -> Trace:
    if not isinstance(row, Mapping):
        raise BadInput(f"{where}: an object was expected, not {type(row).__name__}")
    if row.get("problem_id") is None or not str(row["problem_id"]).strip():
        raise BadInput(f"{where}: no problem_id")
    if row.get("sentences") == []:
        raise BadInput(f"{where}: sentences is empty; leave it out to have the text cut")
    sentences = [_sentence(entry, where) for entry in row.get("sentences") or []]
    text = row.get("text") or row.get("full_cot")
    prompt = row.get("prompt") or row.get("problem") or ""
    if not isinstance(prompt, str):
        raise BadInput(f"{where}: prompt is a {type(prompt).__name__}: a text was expected")
    if text is None and sentences:
        text = " ".join([*([prompt] if prompt else []), *sentences])
    if not isinstance(text, str) or not text.strip():
        raise BadInput(f"{where}: neither text nor sentences; one of the two is needed")
    _check_unicode(text, where)
    start = row.get("start", reasoning_start(text, prompt))
    if not isinstance(start, int) or not 0 <= start <= len(text):
        raise BadInput(f"{where}: start is {start!r}: a character of the text was expected")
    sentences = sentences or split_into_sentences(text[start:])
    if not sentences:
        raise BadInput(f"{where}: no sentence in its text")
    return Trace(as_id(row["problem_id"]), text, tuple(sentences), start)


def _sentence(entry: Any, where: str) -> str:
    text = entry.get("text") if isinstance(entry, Mapping) else entry
    if not isinstance(text, str) or not text.strip():
        raise BadInput(f"{where}: sentences must be texts, or objects with a text, and not empty")
    _check_unicode(text, where)
    return text


def _check_unicode(text: str, where: str) -> None:
    """JSON can spell half a surrogate pair, which is no character and can be written nowhere."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadInput(
            f"{where}: character {error.start} of a text is half of a surrogate pair "
            f"({text[error.start]!r}); mend the file's encoding"
        ) from None
