"""English word forms, by letters alone: stem, inflected or derived form, compound.

Snowball stems join a word with its inflections (winters, fencing) and some derivations
(institution, institutional), but part neither *snowy* from *snow* nor a compound at its seam.
Without a dictionary a longer word that begins like a forbidden one may be a form of it or another
word altogether (*partner*, *change* for a forbidden *part*, *chan*). The rules here are therefore
strict where letters are many and need a known ending or a known second word where they are few.
"""

from __future__ import annotations

from functools import cache
from typing import Any

SHORTEST = 4
"""A word of fewer letters is known by itself and its stem alone (fly, flying; not flywheel)."""
FREE = 5
"""From so many letters on, whatever goes on after a word counts as a form of it."""

# fmt: off
ENDINGS = frozenset(
    "s es d ed r er ers rs st est ing ings y ish ly ness less ful fully able like ship hood dom "
    "ward wards wise en let".split()
)
"""What makes a form of a four-letter word when put behind it."""
BEFORE = frozenset(
    "un non mid sub super over under out anti pre post semi multi inter micro mega mini ultra "
    "counter".split()
)
"""What makes a form of a word when put before it."""
SECONDS = frozenset(
    "air back bag ball band bank bar bath bed bell belt bird board boat body bone book boot bound "
    "bow bowl box boy brand break bridge brush buck bud bug butter cake camp cap card case child "
    "coat cow craft cup cut day dog doll door down drift drop dust eye eyes face fall field fight "
    "fire fish flake flower fly foot front fruit girl glass guard gun hand head heart hill hold "
    "holder hole home hook horn horse house keeper kind king lady land law lead leg life light "
    "line lock log looking maker man mark mate men mill moon mother mouth name night nut pack pad "
    "paper park path person piece pin pipe pit place plane plant plow pole pool post pot proof "
    "rain ring rise road rock room root sand scape screen self set ship shoe shop shore shot side "
    "skin smith song soon stand star station step stick still stock stone stop store storm stream "
    "street suit sun table tail tank thing tight time top town track trap tree verse walk wall "
    "water way wear week weed wheel wind wing woman women wood word work worker worm worn worth "
    "yard year".split()
)
"""Words that compounds are made with: snow + man, cow + boy, house + boat."""
# fmt: on


@cache
def stem(word: str) -> str:
    """Snowball's English stem of a lower-case word; other languages' words mostly stay."""
    return str(_stemmer().stemWord(word))


def is_form(word: str, base: str) -> bool:
    """Whether `word` goes on from `base` or its stem as a form of it; both folded, no hyphens."""
    if len(base) < SHORTEST or word == base:
        return False
    if any(word.startswith(root) for root in (base, stem(base)) if len(root) >= FREE):
        return True
    if word.startswith(base) and word[len(base) :] in ENDINGS:
        return not (base.endswith("e") and word[len(base) : len(base) + 1] in ("e", "i"))
    return any(
        word.startswith(root) and word[len(root) :] in endings for root, endings in _altered(base)
    )


def is_compound(word: str, base: str) -> bool:
    """Whether `word` is `base` with another known word before or behind it, or a prefix before."""
    if len(base) < SHORTEST or len(word) <= len(base):
        return False
    if word.startswith(base) and _known(word[len(base) :]):
        return True
    for form in (base, base + "s"):
        front = word.removesuffix(form)
        if front != word and (front in SECONDS or front in BEFORE):
            return True
    return False


def _altered(base: str) -> list[tuple[str, frozenset[str]]]:
    """Roots that change before an ending: carer, uglier, swimmer."""
    found = []
    if base.endswith("e"):
        found.append((base[:-1], frozenset({"er", "ers", "ed", "ing", "able", "y", "ish"})))
    if base.endswith("y"):
        found.append((base[:-1] + "i", frozenset({"er", "est", "ness", "ly", "es", "ed", "ful"})))
    if base[-1] not in "aeiouwxy" and base[-2] in "aeiou" and base[-3] not in "aeiou":
        found.append((base + base[-1], frozenset({"er", "ers", "ed", "est", "ing", "y", "able"})))
    return found


def _known(second: str) -> bool:
    """Whether this, or what it is an inflection of, is a word that compounds are made with."""
    return (
        second in SECONDS
        or stem(second) in SECONDS
        or any(second.startswith(word) and is_form(second, word) for word in SECONDS)
    )


@cache
def _stemmer() -> Any:
    import snowballstemmer

    return snowballstemmer.stemmer("english")
