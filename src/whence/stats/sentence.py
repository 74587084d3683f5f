"""A comparison said in one plain sentence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from whence.stats.verdict import Comparison

# What a metric's mean is called when its column has another name.
_SPOKEN = {"correct": "accuracy"}


def sentence(
    comparison: Comparison,
    *,
    higher_is_better: bool,
    alpha: float,
    reason: str | None = None,
    dropped: int = 0,
    repeats: int = 0,
    noun: str = "item",
) -> str:
    """The verdict in words, for a comparison whose q is known.

    alpha: p and q up to this are called a difference. reason: why there is no interval.
    dropped: rows without a partner. repeats: seeds that only repeat another one. noun: what a
    row_id is, in the singular.
    """
    c = comparison
    on = f"{c.control} on {_SPOKEN.get(c.metric, c.metric)}"
    said = _verdict(c, on, higher_is_better, alpha, reason, noun)
    return said + _aside(dropped, repeats)


def _verdict(
    c: Comparison, on: str, higher_is_better: bool, alpha: float, reason: str | None, noun: str
) -> str:
    items = _count(c.items, noun)
    seeds = _count(c.seeds, "seed") if c.seeds else "no seed changes either"
    size = f"{seeds}, {items}"
    if c.seeds == 1:
        said = f"{c.arm} minus {on} is {_signed(c.effect, c.interval)} over {items}"
        return f"one seed: not a finding ({said}{'' if reason is None else f'; {reason}'})"
    if c.interval is None or c.p is None or c.minimum_detectable_effect is None:
        return f"no verdict: {reason} ({c.arm} minus {on} is {_signed(c.effect, None)}; {size})"

    size = f"{size}, p = {_probability(c.p)}"
    if c.p > alpha:
        low, high = c.interval
        smallest = _number(c.minimum_detectable_effect, _decimals((high - low) / 2, low, high))
        return (
            f"no difference between {c.arm} and {on} that this design could see: "
            f"{_signed(c.effect, c.interval)} ({size}); smallest detectable {smallest}, "
            f"{_settling(c, noun)}"
        )
    amount = _magnitude(c.effect, c.interval)
    if c.q is not None and c.q > alpha:
        side = "above" if c.effect > 0 else "below"
        return (
            f"{c.arm} is {side} {on} by {amount} ({size}), but not once all comparisons of this "
            f"table count (q = {_probability(c.q)})"
        )
    relation = "beats" if (c.effect > 0) == higher_is_better else "is worse than"
    direction = "" if higher_is_better else (", higher" if c.effect > 0 else ", lower")
    return f"{c.arm} {relation} {on}{direction} by {amount} ({size})"


def _settling(c: Comparison, noun: str) -> str:
    effect, needed = c.effect, c.seeds_needed
    if c.seeds == 0:
        return f"and only more {noun}s would settle it"
    if effect == 0:
        return "and no number of seeds settles an effect of 0"
    if needed is None:
        return (
            f"and more seeds alone would not settle an effect of this size: it takes more {noun}s"
        )
    return f"and an effect of this size would take about {needed} seeds"


def _aside(dropped: int, repeats: int) -> str:
    notes = []
    if dropped:
        notes.append(f"{_count(dropped, 'row')} without a partner left out")
    if repeats:
        notes.append(f"{_count(repeats, 'seed')} only repeated another, counted once")
    return "".join(f"; {note}" for note in notes)


def _signed(effect: float, interval: tuple[float, float] | None) -> str:
    if interval is None:
        return _number(effect, _decimals(abs(effect)))
    low, high = interval
    decimals = _decimals((high - low) / 2, low, high)
    return f"{_number(effect, decimals)} [{_number(low, decimals)}, {_number(high, decimals)}]"


def _magnitude(effect: float, interval: tuple[float, float]) -> str:
    low, high = interval
    return _signed(effect, interval) if effect > 0 else _signed(-effect, (-high, -low))


def _decimals(scale: float, *ends: float) -> int:
    """Two, or enough for the first digit of `scale`, and up to two more so that no end reads 0."""
    wanted = max(2, _first_digit(scale))
    return min(wanted + 2, max([wanted, *(_first_digit(end) for end in ends)]))


def _first_digit(value: float) -> int:
    return 0 if value == 0 else -math.floor(math.log10(abs(value)))


def _number(value: float, decimals: int) -> str:
    text = f"{value:.{decimals}f}"
    return text.lstrip("-") if float(text) == 0 else text


def _probability(p: float) -> str:
    return f"{p:.2g}" if p < 0.995 else "1"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
