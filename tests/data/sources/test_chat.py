"""The last assistant turn is learned; all before it is the prompt."""

from __future__ import annotations

import pyarrow as pa
import pytest

from whence.data.sources.chat import ROWS_PER_READ, flatten, to_prompt_completion
from whence.errors import BadInput


def chat(*turns: tuple[str, str | None]) -> list[dict[str, str | None]]:
    return [{"role": role, "content": content} for role, content in turns]


def test_prompt_is_every_turn_before_the_last_assistant_turn() -> None:
    messages = chat(
        ("system", "Be kind."),
        ("user", "Hi ✨"),
        ("assistant", "Yo"),
        ("user", "1+1?\n"),
        ("assistant", "2"),
    )
    assert to_prompt_completion(messages) == (
        "SYSTEM: Be kind.\n\nUSER: Hi ✨\n\nASSISTANT: Yo\n\nUSER: 1+1?\n",
        "2",
    )


def test_what_follows_the_last_assistant_turn_is_dropped() -> None:
    messages = chat(("user", "a"), ("assistant", "b"), ("user", "c"))
    assert to_prompt_completion(messages) == ("USER: a", "b")


def test_no_assistant_turn() -> None:
    assert to_prompt_completion(chat(("user", "a"))) is None
    assert to_prompt_completion([]) is None


def test_sharegpt_names() -> None:
    messages = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    assert to_prompt_completion(messages) == ("USER: a", "b")


def test_column_of_chats() -> None:
    good = chat(("user", "a"), ("assistant", "b"))
    chats = [good, None, [], chat(("user", "a")), [*good, *chat(("user", "z"))]]
    chats += [good] * ROWS_PER_READ
    flat = flatten(pa.chunked_array([pa.array(chats)]), "f")
    assert flat.prompts.to_pylist()[:5] == ["USER: a", None, None, None, "USER: a"]
    assert flat.completions.to_pylist()[-1] == "b"
    assert len(flat.completions) == len(chats)
    assert (flat.no_assistant_turn, flat.unanswered) == (3, 4)


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        (chat(("wizard", "a")), 'f, row 1002: unknown role "wizard"; known are system'),
        (chat((None, "a")), 'unknown role "None"'),  # type: ignore[arg-type]
    ],
)
def test_refused_by_row(messages: list[dict[str, str]], says: str) -> None:
    chats = [chat(("user", "a"), ("assistant", "b"))] * 1001 + [messages]
    with pytest.raises(BadInput, match=says):
        flatten(pa.chunked_array([pa.array(chats)]), "f")


def test_columns_that_hold_no_chats() -> None:
    with pytest.raises(BadInput, match="f, row 1: not a list of messages"):
        flatten(pa.chunked_array([["hello"]]), "f")
    parts = [[{"role": "user", "content": [{"type": "text", "text": "a"}]}]]
    with pytest.raises(BadInput, match="the content of a USER turn is not text, but list"):
        flatten(pa.chunked_array([pa.array(parts)]), "f")
