"""What can be wrong with a corpus, row by row. Each check says which rows and why it matters."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from whence.heads.corpora.rows import Row
from whence.heads.corpora.splits import PARTS, Split
from whence.heads.corpora.tokens import RowTokens

Kind = Literal["problem", "note"]


@dataclass(frozen=True)
class Check:
    """One thing looked for. name: its key. what: in words. rows: positions where it is so.

    kind: a problem falsifies a measurement or an interval; a note is worth knowing.
    """

    name: str
    what: str
    rows: tuple[int, ...]
    kind: Kind = "problem"


def row_checks(rows: Sequence[Row]) -> list[Check]:
    """Checks that need nothing but the rows."""

    def where(is_so: Callable[[Row], bool]) -> tuple[int, ...]:
        return tuple(at for at, row in enumerate(rows) if is_so(row))

    answers = answers_of(rows)
    return [
        Check("duplicate_rows", "row given before", repeats(rows, content)),
        Check("repeated_prompts", "clean prompt given before", repeats(rows, lambda r: r.clean)),
        Check(
            "conflicting_answers",
            "prompt that has another answer elsewhere",
            where(lambda row: conflicting(row, answers)),
        ),
        Check("same_prompts", "clean = corrupt", where(lambda row: row.clean == row.corrupt)),
        Check("target_is_foil", "target = foil", where(same_answers)),
        Check(
            "answer_in_clean",
            "answer stands in the clean prompt",
            where(lambda row: names(row.clean, row.target) and not is_choice(row)),
        ),
        Check(
            "answer_in_corrupt",
            "answer stands in the corrupt prompt",
            where(lambda row: names(row.corrupt, row.foil) and not is_choice(row)),
        ),
        Check("choice", "both prompts name both answers", where(is_choice), kind="note"),
        Check("spacing", "no space, or two, before an answer", where(_badly_spaced)),
    ]


def split_checks(rows: Sequence[Row], split: Split) -> list[Check]:
    """Prompts that two parts of the split share."""
    parts: Mapping[str, tuple[int, ...]] = {name: split.part(name) for name in PARTS}
    clean = {name: {rows[i].clean for i in found} for name, found in parts.items()}
    checks = [
        Check(
            f"in_{one}_and_{other}",
            f"clean prompt of {one} in {other} too",
            tuple(sorted(i for i in parts[other] if rows[i].clean in clean[one])),
        )
        for one, other in combinations(PARTS, 2)
    ]
    crossing = [
        i
        for name, found in parts.items()
        for i in found
        if any(rows[i].corrupt in clean[other] for other in PARTS if other != name)
    ]
    what = "corrupt prompt is clean in another part"
    return [*checks, Check("corrupt_in_other_part", what, tuple(sorted(crossing)), kind="note")]


def token_checks(tokens: Sequence[RowTokens]) -> list[Check]:
    """Checks that need a tokenizer."""

    def where(is_so: Callable[[RowTokens], bool]) -> tuple[int, ...]:
        return tuple(at for at, row in enumerate(tokens) if is_so(row))

    return [
        Check("target_tokens", "target of several tokens", where(lambda t: len(t.target) != 1)),
        Check("foil_tokens", "foil of several tokens", where(lambda t: len(t.foil) != 1)),
        Check("begin_alike", "target and foil begin alike", where(lambda t: t.begin_alike)),
        Check("unknown_token", "answer unknown to the tokenizer", where(lambda t: t.unknown)),
        Check(
            "unequal_length",
            "clean and corrupt differ in tokens",
            where(lambda t: t.corrupt is not None and t.clean != t.corrupt),
            kind="note",
        ),
    ]


def content(row: Row) -> tuple[str | None, ...]:
    """What makes two rows the same row."""
    return row.clean, row.corrupt, row.target, row.foil


def repeats(rows: Sequence[Row], key: Callable[[Row], object]) -> tuple[int, ...]:
    """Positions of rows whose key an earlier row has."""
    seen: set[object] = set()
    found = []
    for at, row in enumerate(rows):
        if key(row) in seen:
            found.append(at)
        seen.add(key(row))
    return tuple(found)


def same_answers(row: Row) -> bool:
    """Whether target and foil are one answer, whatever spaces surround it."""
    return row.target.strip() == row.foil.strip()


def answers_of(rows: Sequence[Row]) -> dict[str, set[str]]:
    """Prompt → every answer that the corpus gives it, as clean or as corrupt prompt."""
    answers: dict[str, set[str]] = {}
    for row in rows:
        answers.setdefault(row.clean, set()).add(row.target)
        if row.corrupt is not None:
            answers.setdefault(row.corrupt, set()).add(row.foil)
    return answers


def conflicting(row: Row, answers: Mapping[str, set[str]]) -> bool:
    """Whether one of the row's prompts has another answer elsewhere in the corpus."""
    return len(answers[row.clean]) > 1 or (
        row.corrupt is not None and len(answers[row.corrupt]) > 1
    )


def names(prompt: str | None, answer: str) -> bool:
    """Whether the answer stands in the prompt as whole words, in upper or lower case."""
    word = answer.strip()
    if not prompt or not word:
        return False
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", prompt, re.IGNORECASE) is not None


def is_choice(row: Row) -> bool:
    """Whether both prompts name both answers, as in "is it open or shut?".

    Then the words are there on purpose, and neither prompt gives its own answer away.
    """
    prompts = [row.clean] if row.corrupt is None else [row.clean, row.corrupt]
    return not same_answers(row) and all(
        names(prompt, row.target) and names(prompt, row.foil) for prompt in prompts
    )


def _badly_spaced(row: Row) -> bool:
    pairs = [(row.clean, row.target)] + ([(row.corrupt, row.foil)] if row.corrupt else [])
    return any(_run_together(prompt[-1], answer[0]) for prompt, answer in pairs)


def _run_together(last: str, first: str) -> bool:
    return (last.isspace() and first.isspace()) or (_ascii_word(last) and _ascii_word(first))


def _ascii_word(character: str) -> bool:
    """A letter or digit of a script that puts spaces between words, as far as ASCII can tell."""
    return character.isascii() and character.isalnum()
