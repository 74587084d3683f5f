"""Where sentences lie in the text that they were cut from: characters, in order.

White space may differ: any run of it in the text stands for any run in a sentence, and what a
sentence begins or ends with does not count. Each sentence is first taken to be the first match
behind the one before it, so that one that occurs twice is found twice, each time where its turn is.
Then, from the last to the first, each is moved to the last match before the one behind it: a first
sentence that repeats the question is the one in the reasoning, also where nobody said where that
begins. Where sentences follow each other without gaps, as they do when a text was cut into them,
nothing else can be meant.

Text and sentences are compared with every run of white space as one blank, and the search goes on
from where it was, so that the whole takes time linear in both. A sentence that is nowhere would
cost a search of all the rest; after a few of those, the runs of `GRAM` characters that the text has
are written down once, and a sentence with a run that does not follow is given up at sight.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

GRAM = 12
_SEARCHES_BEFORE_GRAMS = 8
_BLANKS = re.compile(r"\s+")
_WORD = re.compile(r"\S+")


class Span(NamedTuple):
    """From `start` up to, not including, `end`."""

    start: int
    end: int


def locate(text: str, sentences: Sequence[str], start: int = 0) -> list[Span | None]:
    """The characters of `text` that each sentence is; None where it does not follow in order.

    start: the first character that may belong to one. A sentence that is not found leaves the
    search where it was. An empty one is never found.
    """
    if start:
        behind = locate(text[start:], sentences)
        return [span and Span(span.start + start, span.end + start) for span in behind]
    words = _Words(text)
    wanted = [one_blank(sentence) for sentence in sentences]
    found = _as_near_as_can_be(words.joined, wanted, _first_matches(words.joined, wanted))
    return [
        None if at < 0 else Span(words.place(at), words.place(at + len(sentence) - 1) + 1)
        for at, sentence in zip(found, wanted, strict=True)
    ]


def _first_matches(text: str, wanted: Sequence[str]) -> list[int]:
    """Where each begins, as early as the ones before it allow; −1 where it does not."""
    found: list[int] = []
    cursor, missed = 0, 0
    last: dict[str, int] | None = None
    for sentence in wanted:
        hopeless = not sentence or (last is not None and _is_behind(sentence, last, cursor))
        at = -1 if hopeless else text.find(sentence, cursor)
        found.append(at)
        if at >= 0:
            cursor = at + len(sentence)
            continue
        missed += not hopeless
        if missed == _SEARCHES_BEFORE_GRAMS and last is None:
            last = {text[i : i + GRAM]: i for i in range(len(text) - GRAM + 1)}
    return found


def _as_near_as_can_be(text: str, wanted: Sequence[str], first: Sequence[int]) -> list[int]:
    """Where each begins, as late as the ones behind it allow; the last stays where it is."""
    found = list(first)
    behind = -1  # where the next one that was found begins
    for index in range(len(found) - 1, -1, -1):
        if found[index] < 0:
            continue
        if behind >= 0:
            # A search from its end: together these searches pass over the text once.
            found[index] = text.rfind(wanted[index], first[index], behind)
        behind = found[index]
    return found


def one_blank(text: str) -> str:
    """`text` with every run of white space as one blank, and none at its ends."""
    return _BLANKS.sub(" ", text).strip()


def _is_behind(wanted: str, last: dict[str, int], cursor: int) -> bool:
    """Whether some run of `wanted` is nowhere in what follows, so that all of it is not."""
    return any(last.get(wanted[i : i + GRAM], -1) < cursor for i in range(len(wanted) - GRAM + 1))


class _Words:
    """A text with single blanks, and where each of its characters was."""

    def __init__(self, text: str) -> None:
        words = text.split()
        self.joined = " ".join(words)
        self._starts = [match.start() for match in _WORD.finditer(text)]
        self._joined_starts = list(accumulate((len(word) + 1 for word in words), initial=0))[:-1]

    def place(self, at: int) -> int:
        """The character of the text that character `at` of the joined words (no blank) is."""
        word = bisect_right(self._joined_starts, at) - 1
        return self._starts[word] + at - self._joined_starts[word]
