"""Which answers are one answer."""

from __future__ import annotations

import pytest

from whence.anchors.rollouts.answers import normalise_answer
from whence.anchors.rollouts.rollout import parse_rollouts
from whence.errors import BadInput


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("5", " 5. "),
        ("5", "5.0"),
        ("5", "$5$"),
        ("-2.5", "-2.50"),
        ("1000000", "1,000,000"),
        ("10,\\!000", "10000"),
        (r"\frac{1}{2}", r"\dfrac{1}{2}"),
        (r"\frac{1}{2}", r"\tfrac {1} {2}"),
        (r"\text{Evelyn}", "Evelyn"),
        (r"(3,\frac{\pi}{2})", r"\left( 3, \frac{\pi}{2} \right)"),
        ("90", r"90^\circ"),
        ("40", r"40\%"),
        (r"\boxed{\text{B}}", "B"),
    ],
)
def test_the_same(one: str, other: str) -> None:
    assert normalise_answer(one) == normalise_answer(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("5", "-5"), ("5", "50"), ("1,2", "12"), ("0.5", "5"), ("x", "X"), ("10", "1"), ("100", "1")],
)
def test_not_the_same(one: str, other: str) -> None:
    assert normalise_answer(one) != normalise_answer(other)


def test_nothing_but_dressing_is_no_answer() -> None:
    assert normalise_answer(r" $\text{ }$. ") == ""


def test_a_rollout_of_another_shape() -> None:
    with pytest.raises(BadInput, match="here rollout 1: an object"):
        parse_rollouts([{"answer": "5"}, 3], "here")
    with pytest.raises(BadInput, match="here: a list"):
        parse_rollouts({}, "here")
    with pytest.raises(BadInput, match="is_correct is 'yes'"):
        parse_rollouts([{"answer": "5", "is_correct": "yes"}], "here")
    only = parse_rollouts([{"answer": 5, "is_correct": True}], "here")[0]
    assert only == (None, None, "5", True)
