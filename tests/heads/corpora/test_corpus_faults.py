"""Each fault is found where it was put, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from whence.heads.corpora import Split
from whence.heads.corpora.faults import is_choice, names, row_checks, split_checks, token_checks
from whence.heads.corpora.rows import Row
from whence.heads.corpora.tokens import RowTokens

SOUND = [
    Row(0, "The sky is", "The grass is", " blue", " green"),
    Row(1, "Coal is", "Snow is", " black", " white"),
    Row(2, "One and one is", "One and two is", " 2", " 3"),
]


def found(rows: list[Row]) -> dict[str, tuple[int, ...]]:
    return {check.name: check.rows for check in row_checks(rows) if check.rows}


def test_a_sound_corpus() -> None:
    assert found(SOUND) == {}
    assert len(row_checks(SOUND)) == 9


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"clean": "The sky is blue, so it is"}, {"answer_in_clean": (3,)}),
        ({"corrupt": "Green the grass is"}, {"answer_in_corrupt": (3,)}),
        ({"clean": "It was green; a boat is"}, {}),
        ({"clean": "Blueness is"}, {}),
        (
            {"clean": "Blue or green? The sea is", "corrupt": "Blue or green? The tree is"},
            {"choice": (3,)},
        ),
        (
            {"clean": "Blue or green? The sea is", "corrupt": "Trees are"},
            {"answer_in_clean": (3,)},
        ),
        ({"corrupt": "The sea is"}, {"same_prompts": (3,), "conflicting_answers": (3,)}),
        ({"foil": " blue "}, {"target_is_foil": (3,)}),
        ({"clean": "The sea is "}, {"spacing": (3,)}),
        ({"target": "blue"}, {"spacing": (3,)}),
        ({"clean": "The sea is:", "target": "blue"}, {}),
        ({"clean": "海は", "target": "青"}, {}),
    ],
)
def test_one_fault(changed: dict[str, str], expected: dict[str, tuple[int, ...]]) -> None:
    row = replace(Row(3, "The sea is", "The tree is", " blue", " green"), **changed)
    assert found([*SOUND, row]) == expected


def test_rows_and_prompts_given_again() -> None:
    again = [*SOUND, replace(SOUND[1], index=3), replace(SOUND[0], index=4, corrupt="A leaf is")]
    assert found(again) == {"duplicate_rows": (3,), "repeated_prompts": (3, 4)}


def test_a_prompt_with_two_answers_in_either_role() -> None:
    # Snow is white as a corrupt prompt, and cold as a clean one
    rows = [*SOUND, Row(3, "Snow is", "Fire is", " cold", " hot")]
    assert found(rows) == {"conflicting_answers": (1, 3)}


@pytest.mark.parametrize(
    ("prompt", "answer", "so"),
    [
        ("It is TRUE that", " true", True),
        ("It is untrue that", " true", False),
        ("2 + 2 =", " 2", True),
        ("22 + 1 =", " 2", False),
        ("Say (yes", " (yes", True),
        ("Say yes", " ", False),
        ("New York is", " New York", True),
    ],
)
def test_names(prompt: str, answer: str, so: bool) -> None:
    assert names(prompt, answer) is so


def test_a_choice_needs_both_answers_in_both_prompts() -> None:
    row = Row(0, "open or shut? a is", "open or shut? b is", " open", " shut")
    assert is_choice(row)
    assert not is_choice(replace(row, corrupt="open? b is"))
    assert is_choice(replace(row, corrupt=None))
    assert not is_choice(replace(row, foil=" open"))


def test_prompts_in_two_parts() -> None:
    rows = [
        Row(0, "a", "k", " x", " y"),
        Row(1, "b", "l", " x", " y"),
        Row(2, "a", "m", " x", " y"),
        Row(3, "c", "b", " x", " y"),
        Row(4, "c", "n", " x", " y"),
    ]
    checks = {c.name: c for c in split_checks(rows, Split(0, None, (0, 1), (3,), (2, 4)))}
    assert checks["in_train_and_test"].rows == (2,)
    assert checks["in_train_and_val"].rows == ()
    assert checks["in_val_and_test"].rows == (4,)
    assert checks["corrupt_in_other_part"].rows == (3,)
    assert checks["corrupt_in_other_part"].kind == "note"


def test_tokens() -> None:
    sound = RowTokens(5, 5, (7,), (8,), unknown=False)
    rows = [
        sound,
        replace(sound, target=(7, 9)),
        replace(sound, foil=(8, 9)),
        replace(sound, target=(8, 9)),
        replace(sound, corrupt=6),
        replace(sound, corrupt=None),
        replace(sound, unknown=True),
    ]
    assert {check.name: check.rows for check in token_checks(rows)} == {
        "target_tokens": (1, 3),
        "foil_tokens": (2,),
        "begin_alike": (3,),
        "unknown_token": (6,),
        "unequal_length": (4,),
    }
