"""Texts as sets of word sequences."""

from __future__ import annotations

import numpy as np

from whence.data.build.shingles import Shingler, common_shingles, evenly, is_in, without


def naive(text: str, width: int = 5) -> set[tuple[str, ...]]:
    words = text.lower().split()
    width = min(width, len(words))
    return {tuple(words[i : i + width]) for i in range(len(words) - width + 1)}


def test_sets_are_those_of_word_sequences() -> None:
    rng = np.random.default_rng(1)
    shingler = Shingler()
    for _ in range(50):
        a, b = (" ".join(rng.choice(list("abcde"), rng.integers(1, 40))) for _ in range(2))
        found_a, found_b = shingler.shingles(a), shingler.shingles(b)
        assert (len(found_a), len(found_b)) == (len(naive(a)), len(naive(b)))
        assert len(np.intersect1d(found_a, found_b)) == len(naive(a) & naive(b))
        assert (np.diff(found_a.astype(object)) > 0).all()


def test_case_and_punctuation_do_not_count_and_order_does() -> None:
    shingler = Shingler()
    assert np.array_equal(
        shingler.shingles("Is it, THEN, the red fox?"), shingler.shingles("is it then the red fox")
    )
    assert not np.array_equal(shingler.shingles("a b c"), shingler.shingles("c b a"))
    assert np.array_equal(shingler.shingles("a b c", "d e"), shingler.shingles("a b c d e"))
    # What was read before is no part of it.
    assert np.array_equal(shingler.shingles("x y z"), Shingler().shingles("x y z"))


def test_texts_without_words_and_without_spaces() -> None:
    shingler = Shingler()
    assert len(shingler.shingles("", " ")) == 0
    assert len(shingler.shingles("✨✨")) == 1
    assert len(shingler.shingles("数学はとても楽しい")) == 5
    assert len(shingler.shingles("one")) == 1
    assert len(shingler.shingles("\ud800 broken")) == 1


def test_common_shingles_are_taken_out() -> None:
    sets = [np.array(s, np.uint64) for s in ([1, 2, 3], [1, 2], [1, 9])]
    common = common_shingles(sets, over=2)
    assert common.tolist() == [1]
    assert common_shingles([], over=2).tolist() == []
    assert [without(one, common).tolist() for one in sets] == [[2, 3], [2], [9]]
    assert is_in(np.array([0, 2, 10], np.uint64), np.array([2, 9], np.uint64)).tolist() == [
        False,
        True,
        False,
    ]
    assert is_in(np.array([3], np.uint64), common[:0]).tolist() == [False]


def test_an_even_sample() -> None:
    assert list(evenly(3, 10)) == [0, 1, 2]
    assert list(evenly(10, 4)) == [0, 2, 5, 7]
