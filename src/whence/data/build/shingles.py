"""Texts as sets of word sequences, for finding texts that are nearly the same.

A shingle is five words in a row, letter case and punctuation gone; a text of fewer words is one
shingle. It is kept as a 64-bit number that depends on the words alone, so that equal texts have
equal sets wherever they are read.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

WORDS = 5
# Scripts that put no space between words are read character by character.
_UNSPACED = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f"
WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


class Shingler:
    """Texts → ascending arrays of distinct uint64. Remembers words, so one serves a whole run."""

    def __init__(self, words: int = WORDS) -> None:
        self.words = words
        self._numbers = _Numbers()

    def shingles(self, *texts: str) -> np.ndarray:
        """The shingles of texts read as one; empty where there is no word and no character."""
        import numpy as np

        whole = " ".join(texts).lower()
        found = WORD.findall(whole) or ([whole.strip()] if whole.strip() else [])
        if not found:
            return np.empty(0, np.uint64)
        numbers = np.array([self._numbers[word] for word in found], np.uint64)
        width = min(self.words, len(numbers))
        places = len(numbers) - width + 1
        hashed = np.zeros(places, np.uint64)
        for at in range(width):
            hashed = hashed * _ODD + numbers[at : at + places]
        distinct: np.ndarray = np.unique(_mixed(hashed))
        return distinct


class _Numbers(dict[str, int]):
    def __missing__(self, word: str) -> int:
        digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self[word] = number = int.from_bytes(digest, "little")
        return number


def common_shingles(sets: Iterable[np.ndarray], over: int) -> np.ndarray:
    """Ascending: the shingles that are in more than `over` of the sets."""
    import numpy as np

    every = [np.empty(0, np.uint64), *sets]
    values, counts = np.unique(np.concatenate(every), return_counts=True)
    return values[counts > over]


def without(shingles: np.ndarray, common: np.ndarray) -> np.ndarray:
    """`shingles` that are not in `common`; both ascending."""
    own: np.ndarray = shingles[~is_in(shingles, common)]
    return own


def is_in(shingles: np.ndarray, known: np.ndarray) -> np.ndarray:
    """[len(shingles)] bool: which of them are in the ascending array `known`."""
    import numpy as np

    if not len(known):
        return np.zeros(len(shingles), dtype=bool)
    at = np.minimum(np.searchsorted(known, shingles), len(known) - 1)
    found: np.ndarray = known[at] == shingles
    return found


def evenly(total: int, most: int) -> Sequence[int]:
    """Up to `most` of the positions 0…total−1, evenly spaced."""
    return [number * total // most for number in range(most)] if total > most else range(total)


_ODD = 0x9E3779B97F4A7C15


def _mixed(hashed: Any) -> Any:
    """Every bit of the result depends on every bit given (the end of MurmurHash3)."""
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        hashed = (hashed ^ (hashed >> 33)) * factor
    return hashed ^ (hashed >> 33)
