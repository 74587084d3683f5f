"""How far a category without order goes with a number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DRAWS = 2_000


@dataclass(frozen=True)
class Permuted:
    """chance: mean of η² when categories are shuffled. p None where `reason` says why.

    units: "groups" or "rows", what was shuffled.
    """

    p: float | None
    chance: float | None
    units: str
    reason: str | None = None


def eta_squared(values: NDArray[np.float64], codes: NDArray[np.int64]) -> float | None:
    """η², the correlation ratio squared: the share of the variance that lies between categories.

    values [n], codes [n] from 0. (Pearson 1905.) None where the values do not vary.
    """
    centred = values - values.mean()
    whole = float(centred @ centred)
    if np.ptp(values) == 0 or whole <= 0:
        return None
    sizes, sums = np.bincount(codes), np.bincount(codes, centred)
    here = sizes > 0
    return float((sums[here] ** 2 / sizes[here]).sum() / whole)


def shuffled(
    values: NDArray[np.float64],
    codes: NDArray[np.int64],
    groups: NDArray[np.str_],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Permuted:
    """p of η² by permutation: the share of shuffles with as large a one, (1 + count)/(draws + 1).

    Where every group is of one category whole groups change categories, so that rows of a group
    stay together. Else rows do, and p takes rows for independent. η² is never below 0: what chance
    gives stands beside it.
    """
    found = eta_squared(values, codes)
    if found is None:
        return Permuted(None, None, "rows", f"the same in all {len(values)} rows")
    owner = np.unique(groups, return_inverse=True)[1]
    count = int(owner.max()) + 1
    of_group = np.zeros(count, dtype=np.int64)
    of_group[owner] = codes
    whole_groups = bool((of_group[owner] == codes).all())
    if whole_groups and count == len(np.unique(codes)):
        reason = "every category is one group, so nothing tells a category from its group"
        return Permuted(None, None, "groups", reason)
    rng = np.random.default_rng(seed)
    drawn = np.empty(draws)
    for at in range(draws):
        mixed = rng.permutation(of_group)[owner] if whole_groups else rng.permutation(codes)
        drawn[at] = eta_squared(values, mixed) or 0.0
    as_large = int(np.count_nonzero(drawn >= found * (1 - 1e-12)))
    return Permuted(
        (1 + as_large) / (draws + 1), float(drawn.mean()), "groups" if whole_groups else "rows"
    )
