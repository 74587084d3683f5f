"""BM25 against its formula, worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from whence.errors import BadInput
from whence.text.bm25 import bm25_scores

TEXTS = ["a red fox", "Blue fish swims", "it is a red red bird", ""]
K1, B = 1.5, 0.75


def by_hand(words: list[str]) -> np.ndarray:
    """Lucene's BM25: idf = ln(1 + (N − n + ½)/(n + ½)), tf/(tf + k1(1 − b + b·len/mean))."""
    split = [text.lower().split() for text in TEXTS]
    mean = sum(map(len, split)) / len(split)
    scores = np.zeros(len(TEXTS))
    for word in words:
        n = sum(word in each for each in split)
        idf = math.log(1 + (len(TEXTS) - n + 0.5) / (n + 0.5))
        for at, each in enumerate(split):
            tf = each.count(word)
            scores[at] += idf * tf / (tf + K1 * (1 - B + B * len(each) / mean))
    return scores


def test_equals_the_formula_with_every_query_weighing_alike() -> None:
    queries = ["red", "fish red"]
    each = [by_hand(query.split()) for query in queries]
    expected = sum(scores / scores.max() for scores in each) / 2
    np.testing.assert_allclose(bm25_scores(TEXTS, queries), expected, rtol=1e-5)


def test_words_that_no_text_has_count_for_nothing() -> None:
    assert bm25_scores(TEXTS, ["zebra"]).tolist() == [0.0] * 4
    assert bm25_scores(["", ""], ["red"]).tolist() == [0.0] * 2


def test_nothing_to_rank_is_bad_input() -> None:
    for texts, queries in ([], ["red"]), (TEXTS, []):
        with pytest.raises(BadInput, match="BM25 needs"):
            bm25_scores(texts, queries)
