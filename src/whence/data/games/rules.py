"""Which clues break the rules of taboo, and by which word.

**Forbidden** are the target word and the related words, their inflections and derivations, and
compounds with them. A related word that is a function word (*not*, *be* in the real file) is left
out: no description does without it, and clembench's own check drops such words too. The target is
forbidden whatever it is.

**Words of a clue.** Text is compared after NFKC, case folding and removal of accents and invisible
characters; curly apostrophes and all hyphens count as plain ones; a contraction's end ('s, 'll) is
dropped. A hyphenated word counts whole, without its hyphens, and by its parts.

**A clue breaks the rules** by a word that is, for some forbidden word,

====================  ==============================================================================
`same word`           equal to it: WINTER, winter's, "ｗｉｎｔｅｒ", mid-winter (by its part)
`same stem`           of the same Snowball English stem, or equal in stem to the stem that the
                      instances file gives: seasons, flying, swimming
`a form of it`        it with more behind it: of five letters or more with anything (wintery,
                      winterless), of four with a known ending (snowy, colder, uglier, careless)
`a compound of it`    of four letters or more, it beside a known word or prefix: snowman, overpower
`written apart`       several words of the clue that together are it or have its stem (trouble
                      shoot, set-up); a related word of several parts (strong-minded) is found
                      like this and only like this, since "strong" alone is another word
`spelled out`         single letters that spell it: W. I. N. T. E. R.
====================  ==============================================================================

**What is not found**: irregular forms (flew for fly), other spellings (coloured for colored),
synonyms, other languages, parts of the target (mark for landmark), words that it comes from where
Snowball parts them (strange for stranger), and compounds of words of three letters (flywheel,
butterfly). **What is found wrongly**: other words that begin with five forbidden letters (plaintiff
for plain), or with four and a common ending (party for part). Such a clue costs a repair, and the
transcript says why.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from whence.data.games.wordforms import SHORTEST, is_compound, is_form, stem
from whence.data.instances import Instance

# fmt: off
FUNCTION_WORDS = frozenset(
    "a an the and or but nor so yet if then than as at by for from in into of off on onto out over "
    "to up with without not no be am is are was were been being do does did done have has had will "
    "would shall should can could may might must i you he she it we they me him her us them my "
    "your his its our their this that these those who whom whose which what when where why how "
    "there here all any both each few more most other some such only own same too very".split()
)
# fmt: on
HYPHENS = re.compile("[‐‑‒–−﹣－]")
APOSTROPHES = re.compile("[’‘ʼ´`＇]")
WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")
CONTRACTED = re.compile(r"'(?:s|d|m|ll|re|ve)$")
SPELLED = 3
"""Single letters in a row from which on they may spell a word."""


@dataclass(frozen=True)
class Violation:
    """word: of the clue, folded. forbidden: as the instances file has it. how: see the module."""

    word: str
    forbidden: str
    how: str


@dataclass(frozen=True)
class Forbidden:
    """One forbidden word. joined: folded, without hyphens and spaces. parts: between those.
    stems: its own and the file's, folded and joined.
    """

    word: str
    joined: str
    parts: Sequence[str]
    stems: frozenset[str]


def forbidden_words(instance: Instance) -> list[Forbidden]:
    """What a clue for this instance must not hold, the target first."""
    target = _forbidden(instance.target_word, instance.target_stem)
    given = instance.related_stems
    related = [
        _forbidden(word, given[i] if len(given) == len(instance.related_words) else "")
        for i, word in enumerate(instance.related_words)
    ]
    kept = [one for one in related if one.joined and one.joined not in FUNCTION_WORDS]
    return [target, *kept] if target.joined else kept


def violations(clue: str, forbidden: Sequence[Forbidden]) -> list[Violation]:
    """Every word of the clue that breaks the rules, once for each forbidden word it is near."""
    words = clue_words(clue)
    found: dict[tuple[str, str], Violation] = {}
    for one in forbidden:
        for word, how in _breaches(words, one):
            found.setdefault((word, one.word), Violation(word, one.word, how))
    return list(found.values())


def clue_words(text: str) -> list[Sequence[str]]:
    """The words of a text, folded, each as its parts between hyphens and apostrophes."""
    words = (CONTRACTED.sub("", word) for word in WORD.findall(fold(text)))
    return [tuple(part for part in re.split("['-]", word) if part) for word in words]


def fold(text: str) -> str:
    """Letters as they compare: NFKC, no case, accents or invisible characters, plain hyphens."""
    text = unicodedata.normalize("NFKC", text)
    text = APOSTROPHES.sub("'", HYPHENS.sub("-", text)).casefold()
    apart = unicodedata.normalize("NFD", text)
    kept = (char for char in apart if unicodedata.category(char) not in ("Mn", "Cf"))
    return unicodedata.normalize("NFKC", "".join(kept))


def _breaches(words: Sequence[Sequence[str]], one: Forbidden) -> Iterator[tuple[str, str]]:
    """Words of the clue that break the rule of one forbidden word, with how."""
    for parts in words:
        whole = "".join(parts)
        for candidate in dict.fromkeys((*parts, whole)):
            how = _how(candidate, one)
            if how:
                yield "-".join(parts), how
                break
    flat = [part for parts in words for part in parts]
    # An own word of the clue was judged above: only what crosses its bounds is asked for here.
    if len(one.joined) >= SHORTEST:
        own = {"".join(parts) for parts in words}
        for size in range(2, max(2, len(one.parts)) + 1):
            for start in range(len(flat) - size + 1):
                window = flat[start : start + size]
                joined = "".join(window)
                if joined in own:
                    continue
                if any(len(part) < 2 for part in window) and tuple(window) != one.parts:
                    continue  # "a m" is not am, but "x ray" is x-ray
                if joined == one.joined or stem(joined) in one.stems:
                    yield " ".join(window), "written apart"
    for run in _spelled(words):
        if len(one.joined) >= SPELLED and one.joined in run:
            yield run, "spelled out"


def _how(candidate: str, one: Forbidden) -> str | None:
    if candidate == one.joined:
        return "same word"
    if stem(candidate) in one.stems or candidate in one.stems:
        return "same stem"
    if len(one.parts) == 1:
        if is_form(candidate, one.joined):
            return "a form of it"
        if is_compound(candidate, one.joined):
            return "a compound of it"
    return None


def _spelled(words: Sequence[Sequence[str]]) -> Iterator[str]:
    """Runs of words of a single letter, joined."""
    run: list[str] = []
    for word in [*words, ("",)]:
        if len(word) == 1 and len(word[0]) == 1:
            run.append(word[0])
            continue
        if len(run) >= SPELLED:
            yield "".join(run)
        run = []


def _forbidden(word: str, given_stem: str) -> Forbidden:
    parts = tuple(part for piece in clue_words(word) for part in piece)
    joined = "".join(parts)
    given = "".join(part for piece in clue_words(given_stem) for part in piece)
    stems = {stem(joined), given} - {""}
    return Forbidden(word, joined, parts, frozenset(stems))
