"""Which rows may be drawn, and the counts of those that may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from whence.data.build.filters import Filtered, filter_rows, row_lengths, text_digests
from whence.data.sources.rows import Fields, Rows, to_rows
from whence.data.sources.source import Source
from whence.errors import BadInput
from whence.runs.fingerprint import text_digest


def rows_of(**columns: list[Any]) -> Rows:
    table = pa.table(columns)
    return to_rows(Source("train", "f", "f", table, table.num_rows), Fields(drop_empty=True))


def keep(rows: Rows, seen: set[bytes] | None = None, **settings: Any) -> Filtered:
    defaults: dict[str, Any] = {"max_tokens": 100, "min_reward": None, "tokenizer": None}
    return filter_rows(
        rows,
        digests=text_digests(rows),
        seen=set() if seen is None else seen,
        **{**defaults, **settings},
    )


def test_words_are_counted_where_nothing_better_is_known() -> None:
    rows = rows_of(prompt=["one  two\n", "a"], completion=["three", "b c"])
    lengths, unit = row_lengths(rows, None)
    assert (lengths.tolist(), unit) == ([3, 3], "words")


def test_tokens_are_counted_with_a_tokenizer(random_gemma: Path) -> None:
    from whence.models.load import load_tokenizer

    tokenizer = load_tokenizer(str(random_gemma))
    rows = rows_of(prompt=["the fox is red", "é✨"], completion=["yes", "no way"])
    lengths, unit = row_lengths(rows, tokenizer)
    expected = [
        len(tokenizer.encode(p, add_special_tokens=False))
        + len(tokenizer.encode(c, add_special_tokens=False))
        for p, c in [("the fox is red", "yes"), ("é✨", "no way")]
    ]
    assert lengths.tolist() == expected
    assert unit == f"tokens of {tokenizer.name_or_path}"


def test_the_column_counts_first_and_its_gaps_are_filled() -> None:
    rows = rows_of(prompt=["a b", "a b"], completion=["c", "c"], conversation_tokens=[70, None])
    lengths, unit = row_lengths(rows, None)
    assert lengths.tolist() == [70, 3]
    assert unit == "conversation_tokens (words in 1 rows that lack it)"


def test_filters_count_what_they_leave_out() -> None:
    rows = rows_of(
        prompt=["p0", "p1", "p2", "", "p4", "p0", "p6"],
        completion=["c0", "c1", "c2", "c3", "c4", "c0", "c6"],
        conversation_tokens=[10, 101, 100, 10, 10, 10, 10],
        reward_model_score=[0.5, 0.9, 0.9, 0.9, None, 0.9, 0.1],
    )
    kept = keep(rows, min_reward=0.5)
    assert kept.kept.tolist() == [0, 2]
    stats = kept.stats
    assert stats["rows_read"] == 7
    assert stats["empty_prompt_or_completion"] == 1
    assert stats["flattened"] == 6
    assert stats["over_max_conversation_tokens"] == 1
    assert stats["under_min_reward_model_score"] == 2
    assert stats["exact_duplicates"] == 1
    assert stats["kept"] == 2


def test_the_first_of_equal_texts_is_kept_over_two_sources() -> None:
    seen: set[bytes] = set()
    train = rows_of(prompt=["a", "b", "a"], completion=["x", "x", "x"])
    test = rows_of(prompt=["b", "b", "c"], completion=["x", "y", "x"])
    assert keep(train, seen).kept.tolist() == [0, 1]
    assert keep(test, seen).kept.tolist() == [1, 2]


def test_digests_keep_the_seam_between_texts() -> None:
    assert text_digest("ab", "c") != text_digest("a", "bc")
    assert text_digest("ab", "c") == text_digest("ab", "c")


def test_reward_column_absent_or_no_number() -> None:
    with pytest.raises(
        BadInput, match='no column "reward_model_score", which --min-reward-model-score'
    ):
        keep(rows_of(prompt=["a"], completion=["b"]), min_reward=1)
    bad = rows_of(prompt=["a"], completion=["b"], conversation_tokens=["many"])
    with pytest.raises(BadInput, match='column "conversation_tokens" does not hold numbers'):
        keep(bad)
