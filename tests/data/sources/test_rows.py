"""Prompts and completions out of a source's own columns."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from whence.data.sources.rows import Fields, to_rows
from whence.data.sources.source import Source
from whence.errors import BadInput


def source(**columns: list[Any]) -> Source:
    table = pa.table(columns)
    return Source("train", "f.jsonl", "f.jsonl", table, table.num_rows)


def test_named_fields_and_metadata_untouched() -> None:
    rows = to_rows(
        source(question=["a", "b"], answer=[1, 2], n=pa.array([1, None]), prompt=["x", "y"]),
        Fields(prompt="question", completion="answer"),
    )
    assert rows.format == "prompt_completion"
    assert rows.table.to_pylist() == [
        {"prompt": "a", "completion": "1", "n": 1, "source_prompt": "x"},
        {"prompt": "b", "completion": "2", "n": None, "source_prompt": "y"},
    ]
    assert rows.usable.tolist() == [0, 1]


def test_one_named_field_leaves_the_other_its_usual_name() -> None:
    rows = to_rows(source(q=["a"], completion=["b"]), Fields(prompt="q"))
    assert rows.table.to_pylist() == [{"prompt": "a", "completion": "b"}]


def test_chats_without_a_usable_turn_are_left_out_and_counted() -> None:
    def turn(role: str, content: str) -> dict[str, str]:
        return {"role": role, "content": content}

    good = [turn("user", "a"), turn("assistant", "b")]
    blank = [turn("user", "a"), turn("assistant", " ")]
    no_prompt = [turn("assistant", "b")]
    unanswered = [turn("user", "a")]
    rows = to_rows(source(messages=[good] * 10 + [unanswered, blank, no_prompt, good]), Fields())
    assert rows.format == "messages"
    assert rows.usable.tolist() == [*range(10), 13]
    assert (rows.no_assistant_turn, rows.empty) == (1, 2)
    assert rows.table.column_names == ["prompt", "completion"]


def test_too_many_unanswered_chats() -> None:
    chats = [[{"role": "user", "content": "a"}]] * 2 + [
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    ] * 8
    with pytest.raises(
        BadInput, match="2 of 10 chats end without an assistant turn, more than the 10%"
    ):
        to_rows(source(messages=chats), Fields())
    assert len(to_rows(source(messages=chats), Fields(max_unanswered_share=0.2)).usable) == 8


def test_empty_text_in_plain_data_is_refused_unless_dropped() -> None:
    bad = source(prompt=["a", "b", "c"], completion=["x", None, " "])
    with pytest.raises(
        BadInput, match=r'f\.jsonl, row 2: the completion \(column "completion"\)'
    ) as e:
        to_rows(bad, Fields())
    assert "leave out the 2 such rows" in str(e.value)
    rows = to_rows(bad, Fields(drop_empty=True))
    assert (rows.usable.tolist(), rows.empty) == ([0], 2)
    with pytest.raises(BadInput, match="row 1: the prompt"):
        to_rows(source(prompt=["", "b"], completion=["x", "y"]), Fields())
    with pytest.raises(BadInput, match="none of its 1 rows can be used"):
        to_rows(source(prompt=[""], completion=["x"]), Fields(drop_empty=True))


def test_missing_columns() -> None:
    with pytest.raises(
        BadInput, match=r'no column "promt" .*did you mean "prompt".*--prompt-field'
    ):
        to_rows(source(prompt=["a"], completion=["b"]), Fields(prompt="promt"))
    with pytest.raises(BadInput, match=r'no column "completion".*--completion-field'):
        to_rows(source(prompt=["a"]), Fields())
    # Not the prompts and completions that stand beside chats: chats were asked for.
    both = source(prompt=["a"], completion=["b"], messages=[[]])
    with pytest.raises(
        BadInput, match=r'no column "message" with chats; did you mean "messages".*--messages-field'
    ):
        to_rows(both, Fields(messages="message"))


def test_text_columns_that_hold_no_text() -> None:
    with pytest.raises(BadInput, match=r'column "prompt" holds list<.*text was expected'):
        to_rows(source(prompt=[["a"]], completion=["b"]), Fields())
