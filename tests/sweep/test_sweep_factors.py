"""Combinations of a stage: what is crossed, what goes together, what is left out."""

from __future__ import annotations

import itertools
import math
from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError

from whence.errors import BadInput
from whence.runs.validation import explained
from whence.sweep.factors import combinations, put
from whence.sweep.settings import StageSettings, Sweep


def no_words(key: str, word: str) -> list[Any]:
    raise AssertionError((key, word))


def stage(**settings: Any) -> StageSettings:
    return StageSettings.model_validate({"name": "one", **settings})


def settings_of(stage: StageSettings, **given: Any) -> list[dict[str, Any]]:
    return [{**c.factors, **c.seed} for c in combinations(stage, no_words, **given)]


def test_grid_zip_and_seeds_are_crossed_by_hand() -> None:
    made = settings_of(
        stage(
            grid={"a.x": [1, 2], "b": ["u", "v"]},
            zip=[{"m": ["p", "q"], "n": [10, 20]}],
            seeds={"keys": ["s", "t.s"], "values": [7, 8]},
        )
    )
    by_hand = [
        {"m": m, "n": n, "a.x": x, "b": b, "s": s, "t.s": s}
        for (m, n), x, b, s in itertools.product([("p", 10), ("q", 20)], [1, 2], ["u", "v"], [7, 8])
    ]
    assert made == by_hand


def test_exclude_takes_away_what_matches_every_key() -> None:
    made = settings_of(
        stage(
            grid={"a": [1, 2, 3], "b": [1, 2]},
            exclude=[{"a": 1, "b": 2}, {"a": [2, 3], "b": 1}],
        )
    )
    assert made == [{"a": 1, "b": 1}, {"a": 2, "b": 2}, {"a": 3, "b": 2}]


def test_starts_are_crossed_with_new_factors() -> None:
    starts = [{"a": 1}, {"a": 5}]
    assert settings_of(stage(grid={"b": [0, 1]}), starts=starts) == [
        {"a": 1, "b": 0},
        {"a": 1, "b": 1},
        {"a": 5, "b": 0},
        {"a": 5, "b": 1},
    ]


def test_a_word_is_what_the_command_says() -> None:
    made = combinations(
        stage(grid={"layer": "all"}), lambda key, word: [f"{key}-{word}-{i}" for i in range(2)]
    )
    assert [each.factors for each in made] == [{"layer": "layer-all-0"}, {"layer": "layer-all-1"}]


def test_without_factors_there_is_one_configuration() -> None:
    assert settings_of(stage()) == [{}]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"grid": {"a": []}}, "a has no values"),
        ({"grid": {"a": [1, 1]}}, "a has 1 twice"),
        ({"grid": {"a": [1]}, "zip": [{"a": [2]}]}, "a is varied twice"),
        ({"grid": {"a": [1]}, "seeds": {"keys": ["a"], "values": [0]}}, "a is varied twice"),
        ({"grid": {"a": [{}], "a.b": [1]}}, "a.b is varied, and a that holds it"),
        ({"grid": {"a.b": [1]}, "zip": [{"a": [{}]}]}, "a.b is varied, and a that holds it"),
        ({"grid": {"a.b": [1]}, "seeds": {"keys": ["a"], "values": [0]}}, "a that holds it"),
        ({"grid": {"output_dir": ["x", "y"]}}, "output_dir cannot be varied"),
        ({"grid": {"a": [math.nan, 1.0]}}, "a: nan is no value of a setting"),
        ({"grid": {"a": [date(2020, 1, 1)]}}, "a: .* JSON has no such thing"),
        ({"zip": [{"a": [1, 2], "b": [1]}]}, "a has 2, b has 1"),
        ({"grid": {"alpha": [1, 2]}, "exclude": [{"alpa": 1}]}, "did you mean alpha"),
        ({"grid": {"a": [1, 2]}, "exclude": [{"a": 3}]}, "exclude a=3 leaves nothing out"),
        ({"grid": {"a": [1, 2]}, "exclude": [{"a": [1, 2]}]}, "leaves every configuration out"),
        ({"grid": {"a": [1, 2]}, "exclude": [{}]}, "would leave everything out"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput, match=told) as refusal:
        settings_of(stage(**settings))
    assert str(refusal.value).startswith("stage one: ")


def test_a_seed_goes_into_a_section_that_is_varied() -> None:
    seeds = {"keys": ["a.seed"], "values": [3]}
    made = settings_of(stage(grid={"a": [{"b": 1}, {"b": 2}]}, seeds=seeds))
    assert made == [{"a": {"b": b}, "a.seed": 3} for b in (1, 2)]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"stages": []}, "stages: is empty: give one at least"),
        (
            {"stages": [{"name": "a", "griid": {}}]},
            "stages.0.griid: no such key; did you mean grid?",
        ),
        (
            {"stages": [{"name": "a", "grid": {"x": 1}}]},
            "stages.0.grid.x: a list of values was expected, or a word as all, got 1",
        ),
        ({"base": 3, "stages": [{"name": "a"}]}, "base: a file or settings were expected, got 3"),
    ],
)
def test_a_fault_of_the_file_is_one_sentence(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        Sweep.model_validate({"command": "anchors cv", **given})
    assert explained(refusal.value, Sweep) == told


def test_a_dotted_setting_goes_into_its_section() -> None:
    settings: dict[str, Any] = {"a": {"b": 1}, "c": 2}
    put(settings, "a.d.e", 5)
    put(settings, "a.b", 3)
    assert settings == {"a": {"b": 3, "d": {"e": 5}}, "c": 2}
    with pytest.raises(BadInput, match="c is a value, not a section"):
        put(settings, "c.d", 1)
