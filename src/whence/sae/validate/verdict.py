"""Is a prediction orthogonal to the reward model? An equivalence test, in one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from whence.sae.written import interval, number

Answer = Literal["orthogonal", "not orthogonal", "not settled"]


@dataclass(frozen=True)
class Orthogonality:
    """rows_needed: how many rows would settle it, None where it is settled or cannot be said."""

    answer: Answer
    sentence: str
    rows_needed: int | None = None


def orthogonality(
    rho: float | None,
    ends: Sequence[float] | None,
    margin: float,
    *,
    rows: int,
    of: str = "the prediction",
    to: str = "the reward model",
    reason: str | None = None,
) -> Orthogonality:
    """Orthogonal: the 95 % interval of ρ lies within ±margin (two one-sided tests at 2.5 % each,
    Schuirmann 1987). Not orthogonal: it lies on one side of 0 and not within. Else not settled.

    An interval that reaches less than margin/2 to either side is always one or the other, whatever
    ρ is, and its width falls with the root of the number of rows: hence rows_needed.
    """
    question = f"whether {of} is orthogonal to {to}"
    if rho is None or ends is None:
        return Orthogonality(
            "not settled", f"It is not settled {question}: {reason or 'no interval'}"
        )
    low, high = ends
    said = f"ρ = {number(rho)}{interval(ends)} over {rows:,} rows"
    if -margin <= low and high <= margin:
        nil = "" if low <= 0 <= high else ", although ρ is not 0"
        return Orthogonality(
            "orthogonal", f"{_first(of)} is orthogonal to {to} within ±{margin:g}{nil}: {said}"
        )
    if low > 0 or high < 0:
        return Orthogonality("not orthogonal", f"{_first(of)} is not orthogonal to {to}: {said}")
    needed = math.ceil(rows * ((high - low) / margin) ** 2)
    return Orthogonality(
        "not settled",
        f"It is not settled {question}: {said} neither lies within ±{margin:g} nor leaves out 0; "
        f"about {needed:,} rows would settle it",
        needed,
    )


def beyond(
    rho: float | None,
    ends: Sequence[float] | None,
    *,
    to: str,
    reason: str | None = None,
) -> str:
    """Does the prediction order rows as attribution does, where the reward is the same?"""
    if rho is None or ends is None:
        return f"Whether it knows of attribution what {to} does not is not known: {reason}"
    said = f"partial ρ with attribution {number(rho)}{interval(ends)} given it"
    if ends[0] > 0:
        return f"It knows something of attribution that {to} does not: {said}"
    if ends[1] < 0:
        return f"Given {to}, it orders rows against attribution: {said}"
    return f"It is not shown to know anything of attribution that {to} does not: {said}"


def _first(text: str) -> str:
    return text[:1].upper() + text[1:]
