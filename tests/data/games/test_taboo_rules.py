"""The stem rule on hard cases: what breaks it, what does not, and by which word."""

from __future__ import annotations

from pathlib import Path

import pytest

from whence.data.games.rules import FUNCTION_WORDS, clue_words, forbidden_words, violations
from whence.data.instances import Instance, read_instances


def broken(clue: str, target: str, *related: str, stems: tuple[str, ...] = ()) -> list[str]:
    """Each violation as `forbidden: how`."""
    instance = Instance("e", "0", target, related, related_stems=stems)
    return [f"{v.forbidden}: {v.how}" for v in violations(clue, forbidden_words(instance))]


@pytest.mark.parametrize(
    ("clue", "target", "how"),
    [
        # the word itself, in every dress
        ("A winter day", "winter", "same word"),
        ("WINTER!", "winter", "same word"),
        ("it is Winter's child", "winter", "same word"),
        ("it is winter’s child", "winter", "same word"),
        ("winter'll come", "winter", "same word"),
        ("ｗｉｎｔｅｒ", "winter", "same word"),
        ("win\u00adter and win\u200bter", "winter", "same word"),
        ("wínter", "winter", "same word"),
        ("a cafe in Paris", "café", "same word"),
        ("STRASSE", "Straße", "same word"),
        ("a mid-winter feast", "winter", "same word"),
        ("a mid‑winter feast", "winter", "same word"),
        ("(winter)", "winter", "same word"),
        ("summer/winter", "winter", "same word"),
        ("_winter_", "winter", "same word"),
        ("the 12 of them", "12", "same word"),
        # plural, -ing and other endings of the same stem
        ("cold winters", "winter", "same stem"),
        ("it flies", "fly", "same stem"),
        ("flying high", "fly", "same stem"),
        ("caring people", "care", "same stem"),
        ("careful people", "care", "same stem"),
        ("independently", "independent", "same stem"),
        ("an institution", "institutional", "same stem"),
        ("translating", "translate", "same stem"),
        # forms that a stemmer parts
        ("a snowy day", "snow", "a form of it"),
        ("colder than that", "cold", "a form of it"),
        ("uglier", "ugly", "a form of it"),
        ("a carer", "care", "a form of it"),
        ("a swimmer", "swim", "a form of it"),
        ("wintery", "winter", "a form of it"),
        ("a plaintiff", "plain", "a form of it"),  # wrongly, as five letters are told to
        ("happiest of all", "happy", "a form of it"),
        # compounds
        ("a snowman", "snow", "a compound of it"),
        ("snowballs", "snow", "a compound of it"),
        ("snowboarding", "snow", "a compound of it"),
        ("wintertime", "winter", "a form of it"),
        ("midwinter", "winter", "a compound of it"),
        ("a houseboat", "boat", "a compound of it"),
        ("birdsongs", "song", "a compound of it"),
        ("snow-man", "snow", "same word"),
        # written apart, joined, spelled out
        ("trouble shoot it", "troubleshoot", "written apart"),
        ("trouble-shooting", "troubleshoot", "same stem"),
        ("you set up things", "setup", "written apart"),
        ("strong minded", "strong-minded", "written apart"),
        ("strongminded", "strong-minded", "same word"),
        ("a T shirt", "t-shirt", "written apart"),
        ("down to earth", "down-to-earth", "written apart"),
        ("ice creams", "ice cream", "written apart"),
        ("W. I. N. T. E. R.", "winter", "spelled out"),
        ("w-i-n-t-e-r", "winter", "same word"),
    ],
)  # fmt: skip
def test_these_break_the_rules(clue: str, target: str, how: str) -> None:
    assert set(broken(clue, target)) == {f"{target}: {how}"}


@pytest.mark.parametrize(
    ("clue", "target"),
    [
        ("a career", "care"),
        ("a scare", "care"),
        ("to change a channel by chance", "chan"),
        ("behalf", "half"),
        ("a partner took a particular apartment", "part"),
        ("measure the pressure", "sure"),
        ("a butterfly on a flywheel", "fly"),
        ("international intern", "int"),
        ("explain and complain", "plain"),
        ("a fraction of traction", "action"),
        ("strong legs, minded children, on earth", "strong-minded"),
        ("down on earth", "down-to-earth"),
        ("a cream on ice", "ice cream"),
        ("a thing that you put on", "winter"),
        ("I a m", "iam x"),
        ("", "winter"),
        ("❄️ ⛄", "winter"),
        ("the sun of a bugle", "bug"),
    ],
)
def test_these_do_not(clue: str, target: str) -> None:
    assert broken(clue, target) == []


def test_related_words_are_forbidden_like_the_target_except_function_words() -> None:
    assert broken("snows in this season", "winter", "cold", "snow", "season") == [
        "snow: same stem",
        "season: same word",
    ]
    # clembench's file forbids "not" and "be", without which nothing can be said
    assert broken("it will not be there", "consist", "be", "not") == []
    assert broken("it is over", "over", "not") == ["over: same word"], "the target always counts"


def test_the_files_own_stems_count() -> None:
    # the file stems "swiming" to "swim", which Snowball does not
    assert broken("to swim", "pool", "swiming", stems=("swim",)) == ["swiming: same stem"]
    assert broken("to swim", "pool", "swiming") == []


def test_a_violation_names_the_word_as_it_stands_in_the_clue() -> None:
    (found,) = violations(
        "It's a Mid-Winter's feast", forbidden_words(Instance("e", "0", "winter", ()))
    )
    assert (found.word, found.forbidden, found.how) == ("mid-winter", "winter", "same word")


def test_words_of_a_clue() -> None:
    assert clue_words("Don't!  The dog's tail—half-eaten") == [
        ("don", "t"), ("the",), ("dog",), ("tail",), ("half", "eaten"),
    ]  # fmt: skip


def test_the_real_words_break_their_own_rules_and_no_function_word_does(shared_data: Path) -> None:
    found = read_instances(shared_data / "taboo" / "instances.json")
    for instance in found.by_task.values():
        forbidden = forbidden_words(instance)
        for word in (instance.target_word, *instance.related_words):
            if word.lower() in FUNCTION_WORDS and word != instance.target_word:
                continue
            assert violations(f"It is {word}, you know me.", forbidden), (instance, word)
        # "know" and "be" aside, plain talk is allowed everywhere
        plain = violations("you do this when it is very hot there, with all of them", forbidden)
        assert plain == [], instance
