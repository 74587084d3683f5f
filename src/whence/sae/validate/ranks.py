"""How far two things order rows alike, once a third has had its say."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from whence.errors import BadInput
from whence.stats.intervals import finite_vector
from whence.stats.whole import Rows, Statistic

_NOTHING_LEFT = 1e-10
"""Share of a variance below which what the given variables leave of it is rounding."""


def partial_rank_correlation(
    x: ArrayLike, y: ArrayLike, given: Sequence[ArrayLike] = ()
) -> Statistic:
    """Spearman's ρ of x and y [n], without what the ranks of `given` [n] explain of either.

    Pearson's correlation of what is left of the ranks (ties at their mean rank) of x and of y after
    least squares on the ranks of `given` (Kendall 1942; Conover 1999, §5.4); none given: Spearman's
    ρ. With one it is (r_xy − r_xz·r_yz)/√((1 − r_xz²)(1 − r_yz²)). None where nothing is left of x
    or y: a constant, or one that the given explain. Ranks under resampling are counted, not sorted:
    O(n) a draw. Raises BadInput for lengths that differ or a value that is not finite.
    """
    vectors = [finite_vector(v, n) for v, n in ((x, "x"), (y, "y"), *((g, "given") for g in given))]
    n = len(vectors[0])
    if any(len(vector) != n for vector in vectors):
        raise BadInput(f"vectors of {[len(v) for v in vectors]} rows: same rows, please")
    coded = [np.unique(vector, return_inverse=True)[1] for vector in vectors]
    sizes = [int(codes.max()) + 1 for codes in coded]

    def statistic(rows: Rows) -> float | None:
        drawn = np.bincount(rows, minlength=n).astype(np.float64)
        ranks = np.empty((len(coded), n))
        for at, (codes, size) in enumerate(zip(coded, sizes, strict=True)):
            weight = np.bincount(codes, drawn, minlength=size)
            # Mean rank less ½, whose mean over the rows drawn is half their number.
            ranks[at] = (weight.cumsum() - weight / 2 - len(rows) / 2)[codes]
        return _partial(np.einsum("in,jn,n->ij", ranks, ranks, drawn))

    return statistic


def _partial(products: NDArray[np.float64]) -> float | None:
    """Correlation of the first two variables given the others, from sums of products [k, k]."""
    whole = np.diag(products).copy()
    for at in range(2, len(products)):
        # Swept out one after the other; of a constant, or a copy of the earlier, nothing is left.
        left = products[at, at]
        if left > _NOTHING_LEFT * whole[at]:
            products = products - np.outer(products[at], products[at] / left)
    x, y = products[0, 0], products[1, 1]
    if x <= _NOTHING_LEFT * whole[0] or y <= _NOTHING_LEFT * whole[1]:
        return None
    return max(-1.0, min(1.0, float(products[0, 1]) / math.sqrt(x * y)))
