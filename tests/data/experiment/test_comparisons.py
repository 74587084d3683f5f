"""Which arm is held against which, without training anything."""

from __future__ import annotations

import pytest

from whence.data.arms import parse_arms
from whence.data.experiment.comparisons import comparisons_of
from whence.errors import BadInput


def pairs(*arms: str, asked: tuple[str, ...] = (), oracle: bool = False) -> list[tuple[str, str]]:
    return comparisons_of(parse_arms(arms), asked, oracle=oracle)


def test_the_matched_control_comes_first_then_the_oracle_then_the_base() -> None:
    assert pairs("top=top:3", "chance=matched_random:of=top", oracle=True) == [
        ("top", "chance"),
        ("oracle", "chance"),
        ("top", "base"),
        ("chance", "base"),
        ("oracle", "base"),
    ]


def test_a_random_arm_controls_ranked_arms_of_its_own_size_only() -> None:
    """The notes' ablation of scale against rank window (section 7)."""
    found = pairs("a=top:300", "b=top:500", "tail=window:301-500", "rand=random:200:after=500")
    assert found == [("tail", "rand")] + [(name, "base") for name in ("a", "b", "tail", "rand")]


def test_what_is_asked_comes_first_and_nothing_is_compared_twice() -> None:
    found = pairs("a=top:3", "b=top:5", asked=("b/a", "b / base"))
    assert found == [("b", "a"), ("b", "base"), ("a", "base")]


def test_arms_of_several_rankings_share_the_one_control_of_their_size() -> None:
    found = pairs(
        "predictor=top:9", "chance=matched_random:of=predictor", "bm25=top:9:by=bm25",
        "window:2-10:by=loss", "more=top:12:by=bm25", asked=("predictor/bm25",),
    )  # fmt: skip
    assert found[:4] == [
        ("predictor", "bm25"),
        ("predictor", "chance"),
        ("bm25", "chance"),
        ("window_2_10_by_loss", "chance"),
    ]
    assert {arm for arm, control in found[4:]} == {
        "predictor", "chance", "bm25", "window_2_10_by_loss", "more",
    }  # fmt: skip
    assert {control for _, control in found[4:]} == {"base"}


def test_each_its_own_control_and_none_that_is_one_of_several() -> None:
    found = pairs(
        "a=top:9", "b=top:9:by=loss", "c=top:9:by=length", "for_a=matched_random:of=a",
        "for_b=matched_random:of=b",
    )  # fmt: skip
    assert [pair for pair in found if pair[1] != "base"] == [("a", "for_a"), ("b", "for_b")]


def test_without_other_rankings_nothing_is_shared() -> None:
    found = pairs("a=top:9", "b=bottom:9", "for_a=matched_random:of=a")
    assert [pair for pair in found if pair[1] != "base"] == [("a", "for_a")]


@pytest.mark.parametrize("asked", ["a", "a/", "a/a", "a/none", "oracle/a", "a/b/c"])
def test_a_comparison_that_cannot_be_is_quoted(asked: str) -> None:
    with pytest.raises(BadInput, match=f"compare {asked}: expected ARM/CONTROL"):
        pairs("a=top:3", "b=top:5", asked=(asked,))
