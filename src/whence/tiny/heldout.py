"""What the base model never reads, so that its exam measures knowledge and not recall.

A fact's *phrasing* is held out (one of five forms for every thing and attribute), a riddle's
*combination of clues*, a sum's *pair of numbers*: the knowledge can be had from the rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

LARGEST_ADDEND = 60


def _draw(*parts: object) -> int:
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def heldout_form(name: str, attribute: str) -> int:
    """Which of the five statement forms is never used for this thing and attribute."""
    return _draw("form", name, attribute) % 5


def riddle_is_heldout(name: str, attributes: Sequence[str]) -> bool:
    """Whether this set of clues about this thing is kept for the exam (15 % are)."""
    return _draw("riddle", name, *sorted(attributes)) % 100 < 15


def sum_is_heldout(a: int, b: int) -> bool:
    """Whether this pair, in either order, is kept for the exam (10 % are)."""
    return _draw("sum", min(a, b), max(a, b)) % 100 < 10
