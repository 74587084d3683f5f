"""Split files: which rows of a corpus are for training, validation and test.

`{"seed", "data_hash", "train", "val", "test"}`, the last three lists of row numbers from 0.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whence.errors import BadInput
from whence.heads.corpora.content import HASH_OF, accepted_hashes
from whence.heads.corpora.groups import Group, group_rows
from whence.heads.corpora.rows import Row
from whence.runs.jsonfile import read_json

PARTS = ("train", "val", "test")
SHARES = {"train": 0.70, "val": 0.15, "test": 0.15}


@dataclass(frozen=True)
class Split:
    """Row numbers of each part. seed: of the draw. data_hash: of the corpus it was drawn from."""

    seed: int | None
    data_hash: str | None
    train: tuple[int, ...]
    val: tuple[int, ...]
    test: tuple[int, ...]

    def part(self, name: str) -> tuple[int, ...]:
        """The rows of "train", "val" or "test". Raises BadInput at any other name."""
        if name not in PARTS:
            raise BadInput(f'split "{name}" is unknown: use {", ".join(PARTS)}')
        rows: tuple[int, ...] = getattr(self, name)
        return rows


def read_split(path: Path, rows: int, corpus: Path) -> Split:
    """Read the split file of a corpus of `rows` rows.

    The recorded hash may be of the normalised text, or of the file's bytes with LF or CRLF (those
    of the earlier lab are either).

    Raises BadInput naming file and key: parts missing, row numbers out of range, repeated or in two
    parts, and a hash of another content.
    """
    path = Path(path)
    found = read_json(path)
    if not isinstance(found, dict):
        kind = type(found).__name__
        raise BadInput(f"{path}: holds a {kind}, an object with {', '.join(PARTS)} was expected")
    seed, data_hash = found.get("seed"), found.get("data_hash")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise BadInput(f'{path}: "seed" is {seed!r}, a whole number was expected')
    if data_hash is not None and not isinstance(data_hash, str):
        raise BadInput(f'{path}: "data_hash" is {data_hash!r}, a SHA-256 in hex was expected')
    # first of all: for another corpus, every other complaint would mislead
    if data_hash is not None and data_hash.lower() not in accepted_hashes(corpus):
        raise BadInput(
            f'{path}: "data_hash" ({data_hash[:12]}…) is not that of {corpus}, so its row numbers '
            "mean other rows; take back the corpus that it was made for, draw a new split with "
            "`whence heads corpora balance` or `filter`, or delete the split file"
        )
    seen: dict[int, str] = {}
    parts = {name: _part(path, name, found, rows, seen) for name in PARTS}
    return Split(seed, data_hash, **parts)


def _part(
    path: Path, name: str, found: Mapping[str, Any], rows: int, seen: dict[int, str]
) -> tuple[int, ...]:
    if name not in found:
        raise BadInput(f'{path}: no key "{name}"; {", ".join(PARTS)} were expected')
    numbers = found[name]
    if not isinstance(numbers, list):
        raise BadInput(f'{path}: "{name}" is no list; row numbers from 0 were expected')
    for position, number in enumerate(numbers):
        where = f'{path}: "{name}"[{position}]'
        if isinstance(number, bool) or not isinstance(number, int):
            raise BadInput(f"{where} is {number!r}, a row number from 0 was expected")
        if not 0 <= number < rows:
            raise BadInput(f"{where} is row {number}; the corpus has rows 0 to {rows - 1}")
        if number in seen:
            raise BadInput(f"{where} is row {number}, which is in {seen[number]} already")
        seen[number] = name
    return tuple(numbers)


def draw_split(rows: Sequence[Row], seed: int) -> tuple[dict[str, list[int]], str]:
    """Divide rows 70/15/15 by distinct clean prompt; no clean prompt is in two parts.

    Returns part → positions in `rows`, ascending, and what was kept together (see `group_rows`).
    Groups are shuffled among those with the same answers, laid out answer by answer, and each goes
    to the part that lacks most, so every part has nearly the same mixture of answers.
    """
    groups, kept_together = group_rows(rows)
    rng = random.Random(f"whence.heads.corpora.split:{seed}")
    parts: dict[str, list[int]] = {name: [] for name in PARTS}
    have = dict.fromkeys(PARTS, 0)
    placed = 0
    for group in _laid_out(groups, rng):
        placed += group.prompts
        lacks = {name: SHARES[name] * placed - have[name] for name in PARTS}
        # rounded, so that a tie is a tie: 3 × 0.15 is not 0.45 in binary
        part = max(PARTS, key=lambda name: round(lacks[name], 9))
        parts[part] += group.rows
        have[part] += group.prompts
    return {name: sorted(numbers) for name, numbers in parts.items()}, kept_together


def _laid_out(groups: Sequence[Group], rng: random.Random) -> list[Group]:
    answers: dict[tuple[str, ...], list[Group]] = {}
    for group in groups:
        answers.setdefault(group.answers, []).append(group)
    strata = [answers[key] for key in sorted(answers)]
    rng.shuffle(strata)
    for stratum in strata:
        rng.shuffle(stratum)
    return [group for stratum in strata for group in stratum]


def split_file(rows: Sequence[Row], seed: int, data_hash: str) -> dict[str, Any]:
    """What the split file of `rows` holds. data_hash: of the normalised corpus text."""
    parts, kept_together = draw_split(rows, seed)
    return {
        "seed": seed,
        "data_hash": data_hash,
        "hash_of": HASH_OF,
        "shares": SHARES,
        "kept_together": kept_together,
        "prompts": {name: len({rows[i].clean for i in parts[name]}) for name in PARTS},
        **parts,
    }
