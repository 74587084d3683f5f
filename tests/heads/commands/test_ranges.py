"""Layers and heads as they are typed."""

from __future__ import annotations

import pytest

from whence.errors import BadInput
from whence.heads.commands.ranges import listed


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        (["all"], "all"),
        (["3"], (3,)),
        (["9-13"], (9, 10, 11, 12, 13)),
        (["0-1", "5", "1"], (0, 1, 5)),
        (["0,2", "4"], (0, 2, 4)),
    ],
)
def test_numbers_and_ranges(words: list[str], numbers: object) -> None:
    assert listed(words, "--layers") == numbers


@pytest.mark.parametrize("words", [["3-1"], ["x"], ["-1"], [], ["all", "3"], ["1.5"]])
def test_anything_else_names_the_flag(words: list[str]) -> None:
    with pytest.raises(BadInput, match=r"^--layers"):
        listed(words, "--layers")
