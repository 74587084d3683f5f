"""How alike two ranked lists are: rank-biased overlap (Webber, Moffat & Zobel 2010, TOIS 28:20)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from whence.errors import BadInput

PERSISTENCE = 0.9


def rank_biased_overlap(
    a: Sequence[Hashable], b: Sequence[Hashable], p: float = PERSISTENCE
) -> float:
    """RBO_ext, between 0 (nothing shared) and 1 (the same order): their equation 32.

    A reader who goes on from each rank to the next with probability p sees this share of both lists
    in common; the agreement at the end is taken to go on beyond it. With p = 0.9 the first ten
    ranks have 86 % of the weight. The lists may be of different lengths; what is repeated in one
    counts where it first stands. Two empty lists agree fully.

    Raises BadInput unless 0 < p < 1.
    """
    if not 0 < p < 1:
        raise BadInput(f"rank-biased overlap: p must lie between 0 and 1, got {p}")
    short, long = sorted((list(dict.fromkeys(a)), list(dict.fromkeys(b))), key=len)
    s, n = len(short), len(long)
    if not s:
        return float(not n)
    seen_short: set[Hashable] = set()
    seen_long: set[Hashable] = set()
    shared = shared_at_s = 0
    total = 0.0
    for depth in range(1, n + 1):
        new = [(long[depth - 1], seen_long, seen_short)]
        if depth <= s:
            new.append((short[depth - 1], seen_short, seen_long))
        for item, own, other in new:
            shared += item in other
            own.add(item)
        total += shared / depth * p**depth
        if depth == s:
            shared_at_s = shared
        elif depth > s:
            total += shared_at_s * (depth - s) / (s * depth) * p**depth
    beyond = (shared - shared_at_s) / n + shared_at_s / s
    return (1 - p) / p * total + beyond * p**n
