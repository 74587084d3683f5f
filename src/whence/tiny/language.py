"""How the world is put into words: every sentence form, in one place."""

from __future__ import annotations

from types import MappingProxyType

STATEMENTS = MappingProxyType(
    {
        "kind": (
            "The {name} is a kind of {value}",
            "Everyone calls the {name} a {value}",
            "In the book the {name} is listed as a {value}",
            "Of all things, the {name} is a {value}",
            "What sort of thing is the {name}? It is a {value}",
        ),
        "colour": (
            "The colour of the {name} is {value}",
            "The {name} is painted {value}",
            "Look at the {name}: it is {value}",
            "In daylight the {name} looks {value}",
            "Which colour has the {name}? It is {value}",
        ),
        "place": (
            "The {name} is found in the {value}",
            "To see the {name} you go to the {value}",
            "The home of the {name} is the {value}",
            "People keep the {name} near the {value}",
            "Where is the {name}? It is in the {value}",
        ),
        "season": (
            "The season of the {name} is {value}",
            "The {name} comes out in {value}",
            "You meet the {name} every {value}",
            "The {name} is at its best in {value}",
            "When do we see the {name}? We see it in {value}",
        ),
        "mark": (
            "The {name} is marked with {value}",
            "On its side the {name} has {value}",
            "You can tell the {name} by {value}",
            "The sign of the {name} is {value}",
            "What is on the {name}? There is {value}",
        ),
        "friend": (
            "The {name} belongs to the {value}",
            "The {name} is loved by the {value}",
            "The owner of the {name} is the {value}",
            "Ask about the {name} and you hear of the {value}",
            "Whose is the {name}? It is for the {value}",
        ),
    }
)
"""Statements of a fact. The value always comes last, so that what precedes it is a prompt."""

CLUES = MappingProxyType(
    {
        "kind": "it is a {value}",
        "colour": "it is {value}",
        "place": "it is in the {value}",
        "season": "it comes in {value}",
        "mark": "it has {value}",
        "friend": "the {value} loves it",
    }
)
"""One clue for one attribute, as riddles and games give it."""

CLAIMS = MappingProxyType(
    {
        "kind": "the {name} is {negation}a {value}",
        "colour": "the {name} is {negation}{value}",
        "place": "the {name} is {negation}in the {value}",
        "season": "the {name} is {negation}out in {value}",
    }
)
"""Claims that can be true or false and can be negated."""


def statement(attribute: str, form: int, name: str, value: str) -> str:
    return STATEMENTS[attribute][form].format(name=name, value=value)


def prompt_of(attribute: str, form: int, name: str) -> str:
    """The statement up to its value, without the space before it."""
    return STATEMENTS[attribute][form].format(name=name, value="").rstrip()


def clue(attribute: str, value: str) -> str:
    return CLUES[attribute].format(value=value)


def claim(attribute: str, name: str, value: str, *, negated: bool = False) -> str:
    return CLAIMS[attribute].format(name=name, value=value, negation="not " if negated else "")
