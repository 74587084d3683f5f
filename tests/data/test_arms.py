"""The short texts that say which rows to draw."""

from __future__ import annotations

import pytest

from whence.data.arms import Arm, parse_arm, parse_arms, target_of
from whence.errors import BadInput


@pytest.mark.parametrize(
    ("text", "arm"),
    [
        ("top:300", Arm("top_300", "top", "top:300", size=300)),
        ("mytop=top:300", Arm("mytop", "top", "top:300", size=300)),
        ("bottom:5", Arm("bottom_5", "bottom", "bottom:5", size=5)),
        ("window:301-500", Arm("window_301_500", "window", "window:301-500", first=301, last=500)),
        ("random:200", Arm("random_200", "random", "random:200", size=200)),
        (
            "random:200:after=500",
            Arm("random_200_after_500", "random", "random:200:after=500", size=200, after=500),
        ),
        ("matched_random", Arm("matched_random", "matched_random", "matched_random")),
        (
            "rnd=matched_random:of=my-top.1",
            Arm("rnd", "matched_random", "matched_random:of=my-top.1", of="my-top.1"),
        ),
        (
            "matched_random:of=top:overlap=yes",
            Arm(
                "matched_random_of_top_overlap_yes",
                "matched_random",
                "matched_random:of=top:overlap=yes",
                of="top",
                overlap=True,
            ),
        ),
        (
            "m=matched_random:overlap=no",
            Arm("m", "matched_random", "matched_random:overlap=no"),
        ),
        ("full", Arm("full", "full", "full")),
        ("top:3:by=bm25", Arm("top_3_by_bm25", "top", "top:3:by=bm25", size=3, by="bm25")),
        ("p=bottom:3:by=my-p.2", Arm("p", "bottom", "bottom:3:by=my-p.2", size=3, by="my-p.2")),
        (
            "window:2-5:by=column:reward_model_score",
            Arm(
                "window_2_5_by_column_reward_model_score",
                "window",
                "window:2-5:by=column:reward_model_score",
                first=2,
                last=5,
                by="column:reward_model_score",
            ),
        ),
        (
            "r=random:2:by=loss:after=7",
            Arm("r", "random", "random:2:by=loss:after=7", size=2, after=7, by="loss"),
        ),
        (
            "r=random:2:after=7:by=loss",
            Arm("r", "random", "random:2:after=7:by=loss", size=2, after=7, by="loss"),
        ),
    ],
)
def test_forms(text: str, arm: Arm) -> None:
    assert parse_arm(text) == arm


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tpo:300", 'no arm "tpo"; did you mean "top"?'),
        ("top", "not of the form"),
        ("top:x", "not of the form"),
        ("top:-3", "not of the form"),
        ("top:0", "count from 1"),
        ("top:300:after=2", "not of the form"),
        ("window:0-5", "count from 1"),
        ("window:500-301", "ends before it begins"),
        ("random:200:after=x", "not of the form"),
        ("a/b=top:3", "expected"),
        ("top:3:by=", "not of the form"),
        ("top:3:by=a b", "not of the form"),
        ("top:3:by=column:", "not of the form"),
        ("top:3:by=x:by=y", "not of the form"),
        ("top:3:by=x:of=y", "not of the form"),
        ("top:by=x:3", "not of the form"),
        ("top:3:like=x", "not of the form"),
        ("full:by=x", "not of the form"),
        ("matched_random:by=x", "not of the form"),
        ("matched_random:of=top:by=x", "not of the form"),
        ("random:3:after=1:after=2", "not of the form"),
        ("matched_random:of=top:overlap=maybe", "not of the form"),
        ("matched_random:overlap=yes:overlap=yes", "not of the form"),
        ("random:3:overlap=yes", "not of the form"),
        ("top:3:overlap=yes", "not of the form"),
        ("", "expected"),
    ],
)
def test_refused(text: str, says: str) -> None:
    with pytest.raises(BadInput, match=says.replace("?", r"\?")) as error:
        parse_arm(text)
    assert str(error.value).startswith(f"--arm {text}:")


def test_two_arms_of_one_name() -> None:
    with pytest.raises(BadInput, match='two arms are called "top_3"'):
        parse_arms(["top:3", "top:3"])
    assert [arm.name for arm in parse_arms(["a=top:3", "top:3"])] == ["a", "top_3"]


def test_which_arm_a_control_is_matched_to() -> None:
    kinds = {arm.name: arm.kind for arm in parse_arms(["best=top:3", "random:2", "window:2-3"])}
    assert target_of(parse_arm("matched_random:of=top"), kinds) == "best"
    assert target_of(parse_arm("matched_random:of=window_2_3"), kinds) == "window_2_3"
    assert target_of(parse_arm("matched_random"), {"best": "top", "r": "random"}) == "best"
    with pytest.raises(BadInput, match="2 fit: best, window_2_3"):
        target_of(parse_arm("matched_random"), kinds)
    with pytest.raises(BadInput, match="none fits"):
        target_of(parse_arm("matched_random:of=bottom"), kinds)


def test_what_has_consecutive_ranks() -> None:
    arms = parse_arms(
        ["top:3", "bottom:3", "window:1-2", "random:2", "matched_random:of=top", "full"]
    )
    assert [arm.ranked for arm in arms] == [True, True, True, False, False, False]
