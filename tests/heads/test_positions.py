"""Positions: one spelling for every form, and the tokens that they mean."""

from __future__ import annotations

from typing import Any

import pytest

from whence.errors import BadInput
from whence.heads.battery import Positions
from whence.runs.config import Config, resolved


@pytest.mark.parametrize(
    ("written", "spelled", "of_five"),
    [
        ("all", "all", [0, 1, 2, 3, 4]),
        ("last_token", "last_token", [4]),
        ("last", "last_token", [4]),
        ("first", "first", [0]),
        ("final_3", "final_3", [2, 3, 4]),
        ({"final_k": 2}, "final_2", [3, 4]),
        ("final_9", "final_9", [0, 1, 2, 3, 4]),
        ([0, 2, -1], "0,2,-1", [0, 2, 4]),
        ((4, -1, 0), "4,-1,0", [0, 4]),
        ("0, 2,-1", "0,2,-1", [0, 2, 4]),
        (-2, "-2", [3]),
        (Positions("final_3"), "final_3", [2, 3, 4]),
    ],
)
def test_forms(written: Any, spelled: str, of_five: list[int]) -> None:
    positions = Positions(written)
    assert positions == spelled
    assert Positions(str(positions)) == positions
    assert positions.indices(5) == of_five


def test_the_ends_of_a_prompt() -> None:
    assert Positions([-5, 4]).indices(5) == [0, 4]
    for outside in (5, -6):
        with pytest.raises(
            BadInput, match=rf"position {outside} lies outside a prompt of 5 tokens"
        ):
            Positions([0, outside]).indices(5)


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("lst_token", "final_K or a list of positions was expected, got 'lst_token'"),
        ("final_0", "counts from 1"),
        ([], "empty"),
        ([0, "1"], "whole numbers"),
        ([True], "whole numbers"),
        ({"final": 3}, "was expected"),
        (1.5, "was expected"),
    ],
)
def test_refused(written: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Positions(written)


def test_a_setting_records_its_spelling_and_is_read_again() -> None:
    class Some(Config):
        positions: Positions = Positions("all")

    config = Some.model_validate({"positions": [0, -1]})
    assert resolved(config) == {"positions": "0,-1"}
    assert Some.model_validate(resolved(config)) == config
    assert config.model_dump_json() == '{"positions":"0,-1"}'
