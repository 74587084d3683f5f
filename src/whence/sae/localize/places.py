"""Where each token of a row stands: its piece of the text, and the turn that it belongs to.

Pieces come from the tokenizer's offsets, so that together they are the text: what lies between two
tokens (blanks that a tokenizer drops) goes with the second. A character of several tokens (an emoji
in byte-level BPE) is shown with the first of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whence.errors import BadInput
from whence.models.alignment import IGNORED

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from whence.models.alignment import AlignedRow

COMPLETION, SPECIAL, PROMPT = "completion", "special", "prompt"
"""Roles that no turn of a prompt has: the completion, tokens without text, a prompt of no turns."""

_OPENING = re.compile(r"(?:\A|(?<=\n\n))(SYSTEM|DEVELOPER|USER|ASSISTANT|TOOL): ")


@dataclass(frozen=True)
class Place:
    """One token. piece: its text, empty for special tokens and for the rest of a character.

    turn: number of the turn from 0, counted over the whole row; −1 for special tokens. role: the
    turn's, in lower case (`user`, `assistant`), or `completion`, `prompt`, `special`.
    """

    piece: str
    turn: int
    role: str


@dataclass(frozen=True)
class Turn:
    """Characters start … stop − 1 of the prompt, opening (`USER: `) included."""

    role: str
    start: int
    stop: int


def turns_of(prompt: str) -> list[Turn]:
    """The turns of a prompt of `whence data build`: `ROLE: content`, joined by blank lines.

    A prompt that does not begin with a role is one turn of role `prompt`.
    """
    found = list(_OPENING.finditer(prompt))
    if not found or found[0].start() > 0:
        return [Turn(PROMPT, 0, len(prompt))]
    stops = [*(each.start() for each in found[1:]), len(prompt)]
    return [
        Turn(each[1].lower(), each.start(), stop) for each, stop in zip(found, stops, strict=True)
    ]


def aligned_places(
    prompt: str, completion: str, row: AlignedRow, tokenizer: PreTrainedTokenizerBase
) -> list[Place]:
    """The place of every token of an aligned row, [tokens of the row].

    Raises BadInput where the tokenizer has no offsets (a slow one).
    """
    ids, offsets, special = _encoded(prompt, tokenizer, special=True)
    before = sum(1 for _ in _leading(special))
    body = range(before, len(ids) - sum(1 for _ in _leading(special[::-1])))
    kept = sum(label == IGNORED for label in row.labels) - before
    shown = body[len(body) - kept :] if kept > 0 else range(0)
    turns = turns_of(prompt)
    places = [Place("", -1, SPECIAL)] * before
    places += _pieces(prompt, [offsets[at] for at in shown], turns)
    _, offsets, _ = _encoded(completion, tokenizer, special=False)
    rest = len(row.input_ids) - len(places)
    whole = [Turn(COMPLETION, 0, len(completion))]
    places += [
        Place(each.piece, len(turns), each.role)
        for each in _pieces(completion, offsets[:rest], whole)
    ]
    return places + [Place("", -1, SPECIAL)] * (len(row.input_ids) - len(places))


def joined_places(
    text: str, prompt: str, tokens: int, tokenizer: PreTrainedTokenizerBase
) -> list[Place]:
    """The same where prompt and completion were read as one text. tokens: how many were kept."""
    _, offsets, special = _encoded(text, tokenizer, special=True)
    turns = [*turns_of(prompt)]
    turns.append(Turn(COMPLETION, len(prompt), len(text)))
    flat = iter(_pieces(text, [o for o, s in zip(offsets, special, strict=True) if not s], turns))
    places = [Place("", -1, SPECIAL) if s else next(flat) for s in special]
    return places[:tokens]


def _pieces(text: str, offsets: Sequence[tuple[int, int]], turns: Sequence[Turn]) -> list[Place]:
    places = []
    at = offsets[0][0] if offsets else 0
    for start, stop in offsets:
        # Of a turn is what its last character is of: a token may begin with the blank before.
        last = max(start, stop - 1)
        number = next((n for n, turn in enumerate(turns) if last < turn.stop), len(turns) - 1)
        places.append(Place(text[at : max(at, stop)], number, turns[number].role))
        at = max(at, stop)
    return places


def _encoded(
    text: str, tokenizer: PreTrainedTokenizerBase, *, special: bool
) -> tuple[list[int], list[tuple[int, int]], list[int]]:
    if not tokenizer.is_fast:
        raise BadInput(
            f"the tokenizer of {tokenizer.name_or_path} cannot say where its tokens are in the "
            "text; a fast one can (tokenizer.json)"
        )
    found = tokenizer(
        text,
        add_special_tokens=special,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        verbose=False,
    )
    mask = found["special_tokens_mask"] if special else [0] * len(found["input_ids"])
    return found["input_ids"], [tuple(each) for each in found["offset_mapping"]], mask


def _leading(flags: Sequence[int]) -> Sequence[int]:
    count = 0
    while count < len(flags) and flags[count]:
        count += 1
    return flags[:count]
