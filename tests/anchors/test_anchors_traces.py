"""Traces as text: every way to write one, and cutting text into sentences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from whence.anchors.traces import (
    Trace,
    read_traces,
    reasoning_start,
    split_into_sentences,
    traces_from_sentences,
    write_traces,
)
from whence.errors import BadInput
from whence.tiny.make import MakeConfig, make


def lines(folder: Path, *rows: Any) -> Path:
    path = folder / "traces.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_every_way_to_write_a_trace(tmp_path: Path) -> None:
    path = lines(
        tmp_path,
        {"problem_id": 1, "text": "Q? First. Then.", "sentences": ["First.", "Then."]},
        {"problem_id": 2, "prompt": "Q?", "sentences": ["First.", {"text": "Then."}]},
        {"problem_id": 3, "text": "So the first is here. And the second is there."},
        {"problem_id": "problem_4", "full_cot": "Only one sentence here.", "more": 1},
    )
    assert read_traces(path) == [
        Trace("1", "Q? First. Then.", ("First.", "Then.")),
        Trace("2", "Q? First. Then.", ("First.", "Then."), start=2),
        Trace(
            "3",
            "So the first is here. And the second is there.",
            ("So the first is here.", "And the second is there."),
        ),
        Trace("4", "Only one sentence here.", ("Only one sentence here.",)),
    ]
    write_traces(read_traces(path), tmp_path / "again.jsonl")
    assert read_traces(tmp_path / "again.jsonl") == read_traces(path)
    assert json.loads((tmp_path / "again.jsonl").read_text().splitlines()[0])["problem_id"] == 1


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"text": "a"}, "no problem_id"),
        ({"problem_id": 1}, "neither text nor sentences"),
        ({"problem_id": 1, "text": "  "}, "neither text nor sentences"),
        ({"problem_id": 1, "sentences": [3]}, "sentences must be texts"),
        ({"problem_id": 1, "sentences": ["a", " "]}, "and not empty"),
        ({"problem_id": 1, "text": "a", "sentences": []}, "sentences is empty"),
        ({"problem_id": None, "text": "a"}, "no problem_id"),
        ({"problem_id": 1, "text": "Hi \ud800."}, "half of a surrogate pair"),
        ({"problem_id": 1, "text": "a", "start": 7}, "start is 7"),
        ({"problem_id": 1, "text": "a", "prompt": 7}, "prompt is a int"),
        ([1], "an object was expected"),
    ],
)
def test_what_is_no_trace_is_named_by_its_line(row: Any, said: str, tmp_path: Path) -> None:
    path = lines(tmp_path, {"problem_id": 0, "text": "Fine, this one is."}, row)
    with pytest.raises(BadInput, match="line 2") as refused:
        read_traces(path)
    assert said in str(refused.value)


def test_empty_files_and_problems_that_stand_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no trace"):
        read_traces(lines(tmp_path))
    same = {"problem_id": 5, "text": "Here it is."}
    with pytest.raises(BadInput, match="line 2: problem_id 5 stands in line 1"):
        read_traces(lines(tmp_path, same, same))


def test_traces_of_the_tiny_world_are_traces(tmp_path: Path) -> None:
    make(MakeConfig(kind="traces", out=tmp_path / "t", count=6))
    traces = read_traces(tmp_path / "t" / "traces.jsonl")
    assert len(traces) == 6
    for trace in traces:
        assert trace.text.startswith("Problem: ")
        # the problem says some of it first: the reasoning is what stands behind it
        assert trace.text[trace.start :].startswith("\nReasoning: ")
        assert all(sentence in trace.text[trace.start :] for sentence in trace.sentences)


def test_reasoning_begins_behind_the_prompt() -> None:
    text = "Add 2 and 3. <think>Add 2 and 3. So 5.</think>"
    assert text[reasoning_start(text, "Add 2 and 3.") :].startswith(" <think>")
    assert text[reasoning_start(text) :].startswith("Add 2 and 3. So 5.")
    assert reasoning_start("No mark at all.", "another prompt") == 0


def test_a_table_alone_gives_texts_without_their_question() -> None:
    frame = pd.DataFrame({"problem_id": ["7", "7", "2"], "chunk_text": ["A b.", "C d.", "E."]})
    assert traces_from_sentences(frame) == [
        Trace("7", "A b. C d.", ("A b.", "C d.")),
        Trace("2", "E.", ("E.",)),
    ]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        (
            "Q <think>Okay, I have 3.14 apples. Wait! What?\n1. First step is here.</think> A",
            ["Okay, I have 3.14 apples.", "Wait! What?", "1. First step is here."],
        ),
        ("Two are here: x is 5.\n2. It is even.", ["Two are here:", "x is 5. 2. It is even."]),
        ("No mark at the end of this", ["No mark at the end of this"]),
        ("One line here\nanother line", ["One line here", "another line"]),
        ("", []),
    ],
)  # fmt: skip
def test_text_is_cut_as_the_thought_anchors_study_does(text: str, sentences: list[str]) -> None:
    assert split_into_sentences(text) == sentences


def test_a_prompt_in_the_reasoning_is_no_beginning() -> None:
    assert reasoning_start("So we get 330 in all.", "330") == 0
    assert reasoning_start("330 <think>Yes.", "330") == len("330")
    assert reasoning_start("Ask: 330 <think>Yes.", "330") == len("Ask: 330 <think>")
    asked = "How many are there?"
    quoted = f"<think>Let me read. {asked} I count two."
    assert reasoning_start(quoted, asked) == len("<think>")
    assert reasoning_start(f"User: {asked} {quoted}", asked) == len(f"User: {asked}")
