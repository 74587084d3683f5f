"""Many comparisons in one table: Benjamini–Hochberg."""

from __future__ import annotations

from collections.abc import Sequence

from whence.errors import BadInput


def benjamini_hochberg(p: Sequence[float | None]) -> list[float | None]:
    """q-values in the order of `p`: the false discovery rate at which each would be called.

    Benjamini & Hochberg 1995 (JRSS-B 57:289), valid for independent and positively dependent tests.
    None (a comparison without a p) stays None and does not count in the family.

    Raises BadInput for a p outside [0, 1].
    """
    known = [value for value in p if value is not None]
    for position, value in enumerate(p):
        if value is not None and not 0 <= value <= 1:
            raise BadInput(f"p[{position}] is {value}: expected a probability between 0 and 1")
    if not known:
        return [None] * len(p)
    from scipy.stats import false_discovery_control

    adjusted = iter(false_discovery_control(known, method="bh").tolist())
    return [None if value is None else float(next(adjusted)) for value in p]
