"""Fisher's exact test for thousands of 2×2 tables with the same margins of rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Tables that are as likely as the one seen count as such up to rounding, as in R's fisher.test.
_TIED = 1 + 1e-7


def fisher_exact(
    hits: NDArray[np.int64], present: NDArray[np.int64], top: int, rows: int
) -> NDArray[np.float64]:
    """Two-sided p of each table, float64 [tables].

    Of `rows` rows `top` are top rows; `present` [tables] have the feature, `hits` [tables] of those
    are top rows. p is the chance, all margins given, of a table no likelier than the one seen
    (Fisher 1935; SciPy's and R's definition). Tables of equal `present` share one distribution, so
    the cost is that of the distinct values.
    """
    from scipy.special import gammaln

    p = np.empty(len(hits))
    factorial = gammaln(np.arange(rows + 2, dtype=np.float64) + 1.0)

    def log_choose(n: int, k: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(factorial[n] - factorial[k] - factorial[n - k])

    for total in np.unique(present):
        low, high = max(0, top + int(total) - rows), min(top, int(total))
        support = np.arange(low, high + 1)
        log = log_choose(top, support) + log_choose(rows - top, total - support)
        weight = np.exp(log - log.max())
        weight /= weight.sum()
        ordered = np.sort(weight)
        sums = np.cumsum(ordered)
        own = present == total
        seen = weight[hits[own] - low]
        p[own] = sums[np.searchsorted(ordered, seen * _TIED, side="right") - 1]
    return np.minimum(p, 1.0)
