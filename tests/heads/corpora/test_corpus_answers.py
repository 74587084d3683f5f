"""Entropy and evenness of answers, against SciPy and closed forms."""

from __future__ import annotations

import math

import pytest
from scipy.stats import entropy

from whence.heads.corpora.answers import balance_of
from whence.heads.corpora.rows import Row


def rows_of(counts: dict[str, int]) -> list[Row]:
    answers = [answer for answer, count in counts.items() for _ in range(count)]
    return [Row(at, f"p{at}", None, answer, " f") for at, answer in enumerate(answers)]


@pytest.mark.parametrize("counts", [{"a": 3, "b": 1}, {"a": 1, "b": 5, "c": 7}, {"a": 2, "b": 2}])
def test_entropy(counts: dict[str, int]) -> None:
    balance = balance_of(rows_of(counts))
    assert balance.entropy == pytest.approx(entropy(list(counts.values()), base=2))
    assert balance.evenness == pytest.approx(balance.entropy / math.log2(len(counts)))
    assert balance.most_common_share == max(counts.values()) / sum(counts.values())
    assert balance.counts == counts
    assert next(iter(balance.counts)) == max(counts, key=lambda answer: counts[answer])


def test_one_answer_is_not_even() -> None:
    balance = balance_of(rows_of({" true": 20}))
    assert (balance.entropy, balance.evenness, balance.even) == (0.0, 0.0, False)
    assert "in 100.0% of rows" in balance.sentence()


def test_what_counts_as_even() -> None:
    assert balance_of(rows_of({"a": 50, "b": 50})).evenness == 1.0
    assert balance_of(rows_of({"a": 68, "b": 32})).even
    assert not balance_of(rows_of({"a": 69, "b": 31})).even
    assert balance_of(rows_of({chr(97 + n): 7 for n in range(20)})).evenness == pytest.approx(1)
