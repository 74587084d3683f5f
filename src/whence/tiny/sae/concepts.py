"""What is true of each token, by the world that the text was written from.

A concept is a set of tokens. Groups, with the number of concepts in each:

    value stated (56)      the word of a value, in a fact, a claim or a clue
    value asked (34)       the same word where it is asked, supposed or made a condition
    value named (56)       the word anywhere
    attribute stated (6)   a value of this attribute, stated
    name: … (12, 48, 120)  one thing's name: of an evaluated newcomer, another newcomer, a known one
    who is named (3)       any evaluated newcomer, any newcomer, any known thing
    known thing is (56)    a known thing's name, where this value is true of it: never said there
    kind to be named (8)   the token before a riddle's or a guess's name, by the name's kind
    guess (3)              the name guessed in a game; in an earlier turn; wrongly
    digit (10), sum (2)    a digit; a digit of a result, a digit of what is added
    trace sentence (4)     every token of a trace's problem; of its decisive, idle, empty sentences
    answer (4)             the word that answers a question or a rule
    text (9)               every token of a document of one kind, or of a game
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whence.tiny.traces import WANDERINGS
from whence.tiny.world import ATTRIBUTES, Thing, World

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from whence.tiny.sae.passages import Passage

ONE_THING = ("name: evaluated newcomer", "name: other newcomer", "name: known thing")

_OPENINGS = {
    "Riddle:": "riddle",
    "Is it so": "question",
    "Suppose that": "supposition",
    "The gate is": "rule",
    "We know that": "claims",
    "Problem:": "trace",
    "USER:": "game",
}
_UNSTATED = re.compile(
    r"(?<=Is it so that ).*?(?=\?)|(?<=Suppose that ).*?(?=\.)|(?<=open if ).*?(?=,)"
)
_WORD = re.compile(r"[A-Za-z]+|\d")
_GUESS = re.compile(r"GUESS(:) (\w+)")
_RIDDLE = re.compile(r"What is it\? (The) (\w+)")
_ADDED = re.compile(r"(\d+) \+ (\d+) = (\d+)")
_ANSWER = re.compile(r"(?:Answer:|The gate is) (yes|no|open|shut)\.")
_AMOUNT = re.compile(r"The (\w+) has ")


@dataclass(frozen=True, order=True)
class Concept:
    group: str
    name: str


def label(passages: Sequence[Passage], world: World) -> dict[Concept, NDArray[np.int64]]:
    """For every concept found, the tokens it is true of: ascending positions among all tokens of
    the passages, in their order, BOS not counted.
    """
    import numpy as np

    words = _Words.of(world)
    found: dict[Concept, list[int]] = {}
    before = 0
    for passage in passages:
        starts, ends = zip(*passage.spans, strict=True)
        for group, name, start, end in marks(passage, words):
            # the tokens that share a character with [start, end)
            tokens = range(bisect_right(ends, start), bisect_left(starts, end))
            found.setdefault(Concept(group, name), []).extend(before + at for at in tokens)
        before += len(passage.spans)
    return {concept: np.unique(found[concept]) for concept in sorted(found)}


@dataclass(frozen=True)
class _Words:
    """The world by its words. value_of: word → (attribute, value); the noun of `a hook`."""

    world: World
    value_of: Mapping[str, tuple[str, str]]
    things: Mapping[str, Thing]
    group_of: Mapping[str, str]

    @classmethod
    def of(cls, world: World) -> _Words:
        groups = (world.evaluated, world.newcomers[len(world.evaluated) :], world.known)
        return cls(
            world,
            {v.split()[-1]: (a, v) for a, values in ATTRIBUTES.items() for v in values},
            {thing.name: thing for thing in world.things},
            {t.name: group for group, ts in zip(ONE_THING, groups, strict=True) for t in ts},
        )


Mark = tuple[str, str, int, int]
"""Group and name of a concept, and the characters [start, end) it is true of."""


def marks(passage: Passage, words: _Words) -> Iterator[Mark]:
    """Every mark of one passage."""
    text = passage.text
    kind = _kind_of_text(text)
    yield "text", kind, 0, len(text)
    unstated = [match.span() for match in _UNSTATED.finditer(text)]
    for match in _WORD.finditer(text):
        word, (start, end) = match[0], match.span()
        if word.isdigit():
            yield "digit", word, start, end
        elif word in words.value_of:
            attribute, value = words.value_of[word]
            yield "value named", value, start, end
            if any(a <= start < b for a, b in unstated):
                yield "value asked", value, start, end
            else:
                yield "value stated", value, start, end
                yield "attribute stated", attribute, start, end
        elif word in words.things:
            yield from _named(words.things[word], words, start, end)
    for match in (*_GUESS.finditer(text), *_RIDDLE.finditer(text)):
        yield "kind to be named", words.things[match[2]]["kind"], *match.span(1)
    for match in _ADDED.finditer(text):
        yield "sum", "result", *match.span(3)
        yield "sum", "added", *match.span(1)
        yield "sum", "added", *match.span(2)
    for match in _ANSWER.finditer(text):
        yield "answer", match[1], *match.span(1)
    if kind == "game":
        yield from _guesses(passage)
    if kind == "trace":
        yield from _sentences(text)


def _kind_of_text(text: str) -> str:
    for opening, kind in _OPENINGS.items():
        if text.startswith(opening):
            return kind
    return "sums" if text[0].isdigit() else "facts"


def _named(thing: Thing, words: _Words, start: int, end: int) -> Iterator[Mark]:
    group = words.group_of[thing.name]
    yield group, thing.name, start, end
    if group == ONE_THING[2]:
        yield "who is named", "known thing", start, end
        for value in thing.values:
            yield "known thing is", value, start, end
        return
    yield "who is named", "newcomer", start, end
    if group == ONE_THING[0]:
        yield "who is named", "evaluated newcomer", start, end


def _guesses(passage: Passage) -> Iterator[Mark]:
    *earlier, last = (match.span(2) for match in _GUESS.finditer(passage.text))
    for span in earlier:  # whoever has guessed right is not asked again
        yield "guess", "earlier", *span
        yield "guess", "wrong", *span
        yield "guess", "any", *span
    yield "guess", "any", *last
    if passage.wrong:
        yield "guess", "wrong", *last


def _sentences(text: str) -> Iterator[Mark]:
    """The third thing of a problem is the one that nobody asks about."""
    problem, reasoning = re.split(r"\nReasoning: |\nAnswer:", text)[:2]
    yield "trace sentence", "problem", 0, len(problem)
    idle = _AMOUNT.findall(problem)[2]
    start = len(problem) + len("\nReasoning: ")
    for match in re.finditer(r"[^.]+\.", reasoning):
        sentence = match[0].strip()
        amount = _AMOUNT.match(sentence)
        if sentence in WANDERINGS:
            name = "empty"
        else:
            name = "idle" if amount and amount[1] == idle else "decisive"
        first = match.end() - len(sentence)
        yield "trace sentence", name, start + first, start + match.end()
