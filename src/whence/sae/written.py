"""Numbers in sentences and tables of the command line: two decimals, no minus before a zero."""

from __future__ import annotations

from collections.abc import Sequence


def number(value: float, *, sign: bool = False) -> str:
    """`0.17`, or `+0.17` with a sign."""
    rounded = round(value, 2) + 0.0  # −0.0 + 0.0 is 0.0
    return f"{rounded:+.2f}" if sign else f"{rounded:.2f}"


def interval(ends: Sequence[float] | None) -> str:
    """` [0.10, 0.26]`, with the space before it; nothing where there is none."""
    return "" if ends is None else f" [{number(ends[0])}, {number(ends[1])}]"
