"""Rank-biased overlap against cases worked by hand and against its definition."""

from __future__ import annotations

import random

import pytest

from whence.errors import BadInput
from whence.heads.ov.overlap import rank_biased_overlap


@pytest.mark.parametrize(
    ("a", "b", "value"),
    [
        # X = 0, 2, 2: (0 + 2/2 · 1/4 + 2/3 · 1/8) · 1 + 2/3 · 1/8
        ("xyz", "yxw", 5 / 12),
        # s = 1, l = 2, X = 0, 1: 1/2 · 1/4, then (1 − 0)/2 · 1/4
        ("x", "yx", 1 / 4),
        # the shorter list agrees wholly, and is taken to go on so
        ("x", "xy", 1),
        ("xyz", "xyz", 1),
        ("xy", "zw", 0),
        ("", "", 1),
        ("", "x", 0),
        ("xxy", "xy", 1),
    ],
)
def test_worked_by_hand(a: str, b: str, value: float) -> None:
    assert rank_biased_overlap(a, b, 0.5) == pytest.approx(value, abs=1e-12)
    assert rank_biased_overlap(b, a, 0.5) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("p", [0.5, 0.9, 0.98])
def test_it_is_the_average_overlap_of_lists_that_go_on_alike(p: float) -> None:
    """(1 − p) Σ p^(d−1) A_d, the agreement A_d after both ends that of the last rank."""
    draw = random.Random(0)
    for _ in range(20):
        a, b = (draw.sample(range(15), 10) for _ in range(2))
        agreement = [len(set(a[:d]) & set(b[:d])) / d for d in range(1, 11)]
        agreement += [agreement[-1]] * 3000
        expected = (1 - p) * sum(p**d * share for d, share in enumerate(agreement))
        assert rank_biased_overlap(a, b, p) == pytest.approx(expected, abs=1e-9)


def test_the_first_ten_ranks_have_86_percent_of_the_weight() -> None:
    same, other = list(range(10)), list(range(10, 500))
    found = rank_biased_overlap(same + other, same + [-x for x in other], 0.9)
    # agreement 1 up to rank 10 and 10/d beyond
    assert found == pytest.approx(
        sum(0.1 * 0.9 ** (d - 1) * min(1, 10 / d) for d in range(1, 3000)), abs=1e-6
    )


@pytest.mark.parametrize("p", [0.0, 1.0, 1.5])
def test_other_persistences_are_refused(p: float) -> None:
    with pytest.raises(BadInput, match="p must lie between 0 and 1"):
        rank_biased_overlap("a", "b", p)
