"""How evenly the answers of a corpus occur."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from whence.heads.corpora.rows import Row

EVEN_FROM = 0.9
"""Evenness below which answers count as unbalanced; of two answers, one then has over 68 %."""


@dataclass(frozen=True)
class Balance:
    """Answers (targets) of a corpus, most common first.

    entropy: bits. evenness: entropy over that of as many equally frequent answers, 0 to 1; 0 where
    there is one answer only, which a model gives right without reading the prompt.
    """

    counts: dict[str, int]
    entropy: float
    evenness: float

    @property
    def most_common_share(self) -> float:
        return max(self.counts.values()) / sum(self.counts.values())

    @property
    def even(self) -> bool:
        return self.evenness >= EVEN_FROM

    def sentence(self) -> str:
        """The most common answer, and the entropy beside the largest that there could be."""
        first, distinct = next(iter(self.counts)), len(self.counts)
        return (
            f"the most common {first!r} in {self.most_common_share:.1%} of rows, "
            f"entropy {self.entropy:.2f} of {math.log2(distinct):.2f} bits"
        )


def balance_of(rows: Sequence[Row]) -> Balance:
    """Count the targets. Ties are in alphabetical order."""
    counts = sorted(Counter(row.target for row in rows).items(), key=lambda c: (-c[1], c[0]))
    shares = [count / len(rows) for _, count in counts]
    entropy = math.fsum(-share * math.log2(share) for share in shares)
    evenness = min(entropy / math.log2(len(counts)), 1.0) if len(counts) > 1 else 0.0
    return Balance(dict(counts), abs(entropy), evenness)
