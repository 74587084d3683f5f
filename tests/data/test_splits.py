"""Drawing rows: exact sizes, proportional strata, and streams that do not disturb each other."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from whence.data.splits import largest_remainder, seeded, stratified_sample


def test_hamilton_example() -> None:
    # Quotas 4.7, 1.6, 1.5, 1.4, 0.8 for 10 seats of 100 votes: the textbook example of the method.
    votes = {"A": 47, "B": 16, "C": 15, "D": 14, "E": 8}
    assert largest_remainder(votes, 10) == {"A": 5, "B": 2, "C": 1, "D": 1, "E": 1}


def test_shares_are_exact_and_within_one_seat_of_the_quota() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        counts = {f"s{i}": int(n) for i, n in enumerate(rng.integers(0, 40, size=7))}
        total = sum(counts.values())
        size = int(rng.integers(0, total + 1))
        seats = largest_remainder(counts, size)
        assert sum(seats.values()) == size
        for name, count in counts.items():
            assert abs(seats[name] - size * count / max(total, 1)) < 1
            assert seats[name] <= count


def test_more_than_there_is() -> None:
    with pytest.raises(ValueError, match="cannot draw 4 of 3"):
        largest_remainder({"a": 3}, 4)


def test_stratified_sample_keeps_proportions_whatever_the_order() -> None:
    strata = ["a"] * 60 + ["b"] * 30 + ["c"] * 10
    candidates = list(range(100))
    drawn = stratified_sample(candidates, strata, 20, seeded(1, "eval"))
    assert Counter(strata[i] for i in drawn) == {"a": 12, "b": 6, "c": 2}
    assert drawn == sorted(set(drawn))
    shuffled = np.random.default_rng(5).permutation(100).tolist()
    assert stratified_sample(shuffled, strata, 20, seeded(1, "eval")) == drawn
    assert stratified_sample(candidates, strata, 20, seeded(2, "eval")) != drawn
    assert stratified_sample(candidates, strata, 20, seeded(1, "query")) != drawn


def test_every_candidate_is_as_likely() -> None:
    strata = ["a"] * 8 + ["b"] * 4
    times = Counter(
        i for seed in range(600) for i in stratified_sample(range(12), strata, 3, seeded(seed, "x"))
    )
    # Each is drawn with probability 1/4: 150 times, standard deviation 10.6.
    assert all(100 < times[i] < 200 for i in range(12))
