"""Rows too long lose the beginning of their prompt, and what was cut is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from whence.data.build.cut import CutRows, count, cut_rows
from whence.data.build.filters import filter_rows, text_digests
from whence.data.sources.rows import Fields, Rows, to_rows
from whence.data.sources.source import Source
from whence.errors import BadInput
from whence.models.load import load_tokenizer


def rows_of(**columns: list[Any]) -> Rows:
    table = pa.table(columns)
    return to_rows(Source("train", "f", "f", table, table.num_rows), Fields(drop_empty=True))


def prompts(cut: CutRows) -> list[str]:
    return cut.rows.table["prompt"].to_pylist()  # type: ignore[no-any-return]


def test_words_are_cut_from_the_beginning_of_the_prompt() -> None:
    rows = rows_of(
        prompt=["a b  c\nd", "a b", "a b c", " x", "", "a\u00a0b c"],
        completion=["e f", "e f", "e f g h", "a b c", "e", "d e f"],
    )
    cut = cut_rows(rows, 4, None)
    # A no-break space is no white space, neither to what counts nor to what cuts.
    assert prompts(cut) == ["c\nd", "a b", "a b c", " x", "", "c"]
    assert cut.rows.usable.tolist() == [0, 1, 3, 5]
    assert cut.was_cut.tolist() == [True, False, False, False, False, True]
    assert cut.lengths[cut.rows.usable].tolist() == [4, 4, 4, 4]
    assert cut.stats == {
        "cut_to_max_tokens_per_row": 2,
        "tokens_cut": 3,
        "completion_over_max_tokens_per_row": 1,
    }
    assert rows.table["completion"].equals(cut.rows.table["completion"])


@pytest.mark.parametrize("limit", [6, 9, 40])
def test_tokens_are_cut_to_at_most_the_limit_and_to_no_less_than_they_must(limit: int) -> None:
    tokenizer = load_tokenizer("tiny")
    rng = np.random.default_rng(0)
    words = ["the", "fox", "naïve", "✨", "数学", "🦊🦊", "Größe", "7", "\n\nUSER:", "unbelievably"]
    before = [" ".join(rng.choice(words, rng.integers(1, 60))) for _ in range(60)]
    after = [" ".join(rng.choice(words[:2], rng.integers(1, 6))) for _ in range(60)]
    cut = cut_rows(rows_of(prompt=before, completion=after), limit, tokenizer)

    def length(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False))

    left_out = set(range(60)) - set(cut.rows.usable.tolist())
    assert all(length(after[i]) >= limit - 4 for i in left_out)  # a character is 4 tokens at most
    spared = 0
    for i, text in enumerate(prompts(cut)):
        whole = length(before[i]) + length(after[i])
        assert before[i].endswith(text)
        if i in left_out or not cut.was_cut[i]:
            assert text == before[i]
            assert i in left_out or whole <= limit
            continue
        assert whole > limit
        assert text.strip()
        found = length(text) + length(after[i])
        assert found == cut.lengths[i] <= limit
        spared += whole - found
    assert spared == cut.stats["tokens_cut"] > 0
    kept = cut.lengths[cut.was_cut]
    assert kept.mean() > limit - 4


def test_cutting_comes_before_the_length_filter() -> None:
    rows = rows_of(
        prompt=["a b c d e f g h", "a b", "a b c"],
        completion=["z"] * 3,
        conversation_tokens=[900, 901, 3],
    )
    cut = cut_rows(rows, 4, None)
    kept = filter_rows(
        cut.rows,
        max_tokens=10,
        min_reward=None,
        tokenizer=None,
        digests=text_digests(cut.rows),
        seen=set(),
        cut=cut,
    )
    # The first is 4 words now, whatever its column says; the second was not cut.
    assert kept.kept.tolist() == [0, 2]
    assert kept.stats["over_max_conversation_tokens"] == 1
    assert kept.stats["flattened"] == 3
    assert kept.stats["length_unit"] == "conversation_tokens (words in 1 rows that were cut)"


def test_what_cannot_be_cut_is_refused() -> None:
    with pytest.raises(BadInput, match="--max-tokens-per-row 2 leaves no row"):
        cut_rows(rows_of(prompt=["a"], completion=["b c"]), 2, None)

    class Slow:
        is_fast = False
        name_or_path = "old/model"

    slow: Any = Slow()
    with pytest.raises(BadInput, match="tokenizer of old/model does not say where"):
        cut_rows(rows_of(prompt=["a"], completion=["b"]), 2, slow)


def test_counting_agrees_with_the_tokenizer(random_gemma: Path) -> None:
    tokenizer = load_tokenizer(str(random_gemma))
    texts = ["the fox", "", "é✨"]
    expected = [len(tokenizer.encode(text, add_special_tokens=False)) for text in texts]
    assert count(texts, tokenizer).tolist() == expected
    assert count([], tokenizer).tolist() == []
    assert count(["a  b\nc", "", "a\vb"], None).tolist() == [3, 0, 1]
