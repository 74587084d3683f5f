"""Which problems train a probe, tune what is tuned, and judge it. No problem is cut in two."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from whence.anchors.sentences import as_id
from whence.errors import BadInput
from whence.runs.jsonfile import read_json

PARTS = ("train", "val", "test")
Splits = Mapping[str, Sequence[str]]


def read_splits(path: Path, problems: Sequence[str]) -> dict[str, list[str]]:
    """`{"train": [ids], "val": […], "test": […]}` from JSON; `val` may be left out.

    problems: those of the table. Raises BadInput for a part that is missing or empty, for an id in
    two parts, and for ids that the table does not have. Problems in no part are left out.
    """
    raw = read_json(path)
    if not isinstance(raw, Mapping) or not {"train", "test"} <= set(raw):
        raise BadInput(f'{path}: expected {{"train": [ids], "val": [ids], "test": [ids]}}')
    unknown = sorted(set(raw) - set(PARTS))
    if unknown:
        raise BadInput(f"{path}: unknown part {unknown[0]!r}; the parts are {', '.join(PARTS)}")
    splits = {part: _ids(raw.get(part, []), f"{path}: {part}") for part in PARTS}
    where: dict[str, str] = {}
    for part, ids in splits.items():
        if not ids and part != "val":
            raise BadInput(f"{path}: {part} is empty")
        for each in ids:
            if each in where:
                raise BadInput(f"{path}: problem {each} is in {where[each]} and in {part}")
            where[each] = part
    absent = [each for each in where if each not in set(problems)]
    if absent:
        raise BadInput(
            f"{path}: {len(absent)} problems are not in the table of sentences "
            f"(first: {absent[0]}); extract or label them, or take them out"
        )
    return splits


def make_splits(
    problems: Sequence[str], seed: int, val_fraction: float = 0.15, test_fraction: float = 0.15
) -> dict[str, list[str]]:
    """Problems dealt at random to train, val and test; at least one each.

    The earlier study's own draw, so that its seeds give its splits. Raises BadInput for fewer than
    three problems.
    """
    if len(problems) < 3:
        raise BadInput(f"{len(problems)} problems: train, val and test need three at least")
    numeric = all(each.isdecimal() for each in problems)
    shuffled = sorted(problems, key=int if numeric else None)
    random.Random(seed).shuffle(shuffled)
    val = max(1, int(len(shuffled) * val_fraction))
    train = max(1, int(len(shuffled) * (1 - val_fraction - test_fraction) + 1e-9))
    train = min(train, len(shuffled) - val - 1)
    parts = (shuffled[:train], shuffled[train : train + val], shuffled[train + val :])
    return {
        name: sorted(ids, key=int if numeric else None)
        for name, ids in zip(PARTS, parts, strict=True)
    }


def _ids(value: object, where: str) -> list[str]:
    if not isinstance(value, list):
        raise BadInput(f"{where}: a list of problem ids was expected")
    return [as_id(each) for each in value]
