"""What is read out of a reply."""

from __future__ import annotations

import pytest

from whence.data.games.replies import read_clue, read_guess, same_word


@pytest.mark.parametrize(
    ("reply", "clue"),
    [
        ("CLUE: It falls in flakes", "It falls in flakes"),
        ("  clue:It falls", "It falls"),
        ("**CLUE:** It falls", "It falls"),
        ("**CLUE**: It falls", "It falls"),
        ("Sure, here you go!\nCLUE: It falls\nCLUE: second", "It falls"),
        ("CLUE:\nIt falls", "It falls"),
        ("CLUE: \n\n  It falls", "It falls"),
        ("It falls\nand more", "It falls"),
        ("\n\n It falls ", "It falls"),
        ('CLUE: "It falls"', "It falls"),
        ("<think>CLUE: no, not this</think>CLUE: It falls", "It falls"),
        ("so I think CLUE: no</think>\nCLUE: It falls", "It falls"),
        ("<think>CLUE: cut off by the limit", ""),
        ("CLUE:", ""),
        ("CLUE: <some text>", ""),
        ("CLUE: ...", ""),
        ("", ""),
        ("   \n ", ""),
        ("CLUE：全角", "全角"),
    ],
)
def test_clues(reply: str, clue: str) -> None:
    assert read_clue(reply) == clue


@pytest.mark.parametrize(
    ("reply", "guess"),
    [
        ("GUESS: winter", "winter"),
        ("guess: Winter.", "Winter"),
        ("**GUESS: winter**", "winter"),
        ("GUESS: **winter**", "winter"),
        ("GUESS: the winter", "winter"),
        ("GUESS: a", "a"),
        ("GUESS: winter (the season)", "winter"),
        ("GUESS: winter, because it is cold", "winter"),
        ("GUESS: winter - the season", "winter"),
        ("winter", "winter"),
        ('"Winter"', "Winter"),
        ("My answer is\nGUESS: winter\nGUESS: snow", "winter"),
        ("GUESS: mother-in-law", "mother-in-law"),
        ("GUESS: o'clock", "o'clock"),
        ("GUESS: Müller", "Müller"),
        ("GUESS: Mu\u0308ller", "Müller"),
        ("GUESS: 12", "12"),
        ("GUESS: <winter>", "winter"),
        ("GUESS: I do not know", ""),
        ("I think it is winter", ""),
        ("GUESS:", ""),
        ("GUESS: ???", ""),
        ("<think>hm</think>", ""),
        ("", ""),
    ],
)
def test_guesses(reply: str, guess: str) -> None:
    assert read_guess(reply) == guess


def test_a_target_of_two_words_may_be_guessed() -> None:
    assert read_guess("GUESS: an ice cream", words=2) == "ice cream"
    assert read_guess("GUESS: cold ice cream", words=2) == ""


@pytest.mark.parametrize(
    ("guess", "target", "same"),
    [
        ("WINTER", "winter", True),
        ("ｗｉｎｔｅｒ", "winter", True),
        ("winter!", "winter", True),
        ("Straße", "STRASSE", True),
        ("cafe\u0301", "café", True),
        ("ice  cream", "Ice Cream", True),
        ("strong minded", "strong-minded", True),
        ("winters", "winter", False),
        ("cafe", "café", False),
        ("", "", False),
    ],
)
def test_whether_it_is_the_word(guess: str, target: str, same: bool) -> None:
    assert same_word(guess, target) is same
