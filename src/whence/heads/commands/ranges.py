"""Lists of layers or heads as they are typed: `all`, `3`, `0-5`, `0:2`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from whence.errors import BadInput


def listed(words: Sequence[str], flag: str) -> Literal["all"] | tuple[int, ...]:
    """Numbers and ranges (both ends included) as numbers. Raises BadInput naming the flag."""
    parts = [part for word in words for part in str(word).replace(",", " ").split()]
    if parts == ["all"]:
        return "all"
    numbers: dict[int, None] = {}
    for part in parts:
        found = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if found is None:
            raise BadInput(f"{flag} {part!r}: all, a number or a range as 0-5 was expected")
        first, last = int(found[1]), int(found[2] or found[1])
        if last < first:
            raise BadInput(f"{flag} {part}: the range ends before it begins")
        numbers |= dict.fromkeys(range(first, last + 1))
    if not numbers:
        raise BadInput(f"{flag}: at least one was expected, or all")
    return tuple(numbers)
