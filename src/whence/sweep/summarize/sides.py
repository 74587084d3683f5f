"""What chooses and what confirms: two sides of the data that share no unit (or no seed).

The best of many on some data is the best partly by luck of those data. So it is chosen on one side
and estimated anew on the other, which had no part in the choice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from whence.errors import BadInput
from whence.sweep.summarize.contest import Contest, Floats

Kind = Literal["parts", "units", "seeds", "none"]


@dataclass(frozen=True)
class Sides:
    """selection, confirmation: [rows, seeds, units of that side]; confirmation is None where there
    was nothing to keep for it. told: what each side is, in words, for "chosen on …"."""

    kind: Kind
    selection: Floats
    confirmation: Floats | None
    chosen_on: str
    confirmed_on: str
    notes: Sequence[str] = ()


def sides_of(contest: Contest, confirm: str, share: float, noun: str, seed: int = 0) -> Sides:
    """Divide as `rank.confirm` asks. share: of units or seeds kept to confirm.

    auto: validation chooses and test confirms where runs have both; else units; else seeds; else
    nothing confirms. Where seeds deal the split anew, a unit may validate under one seed and test
    under another: then auto goes by units of the test part, and `parts` says how many are both.
    Raises BadInput for what was asked and cannot be.
    """
    units, seeds = len(contest.units), len(contest.seeds)
    both = contest.val is not None
    if confirm == "auto":
        if both and not contest.overlap:
            confirm = "parts"
        elif units >= 2:
            confirm = "units"
        else:
            confirm = "seeds" if seeds >= 2 and contest.seeded.any() else "none"
    if confirm == "parts":
        return _by_parts(contest, noun)
    if confirm == "units":
        if units < 2:
            raise BadInput(
                f"rank.confirm: units: {contest.metric} was measured on {units} {noun}, and there "
                "is none to keep for confirmation; use parts or seeds"
            )
        kept = _kept(contest.units, share, seed)
        chosen = f"{(~kept).sum()} of {units} {noun}s"
        return Sides(
            "units",
            contest.test[:, :, ~kept],
            contest.test[:, :, kept],
            chosen,
            f"the {_counted(kept.sum(), noun)} not used to choose it",
            (*(_overlapping(contest, noun) if both else ()), *_same_seeds(contest)),
        )
    if confirm == "seeds":
        if seeds < 2 or not contest.seeded.any():
            raise BadInput(
                "rank.confirm: seeds: nothing ran under two seeds that differ; use units"
            )
        return _by_seeds(contest, share, noun, seed)
    return Sides(
        "none",
        contest.test,
        None,
        _counted(units, noun),
        "nothing",
        (f"one {noun} and no second seed: nothing was left to confirm the choice on",),
    )


def _by_parts(contest: Contest, noun: str) -> Sides:
    if contest.val is None:
        raise BadInput("rank.confirm: parts: runs have no validation part; use units or seeds")
    return Sides(
        "parts",
        contest.val,
        contest.test,
        _counted(len(contest.val_units), f"validation {noun}"),
        f"the {_counted(len(contest.units), f'test {noun}')}",
        (*_overlapping(contest, noun), *_same_seeds(contest)),
    )


def _same_seeds(contest: Contest) -> tuple[str, ...]:
    """Units that did not choose say nothing of trainings that did not choose."""
    if not contest.seeded[contest.competing].any():
        return ()
    return (
        "both sides are of the same seeds, so luck with seeds is on both (rank.confirm: seeds)",
    )


def _by_seeds(contest: Contest, share: float, noun: str, seed: int) -> Sides:
    kept = _kept(contest.seeds, share, seed)
    selection, confirmation = contest.test.copy(), contest.test.copy()
    selection[:, kept] = np.nan
    confirmation[:, ~kept] = np.nan
    # What no seed changes is the same on both sides.
    still = ~contest.seeded
    selection[still] = confirmation[still] = contest.test[still]
    notes = [f"both sides are the same {noun}s, so luck with {noun}s is on both"]
    if still[contest.competing].any():
        notes.append("what no seed changes has the same numbers on both sides")
    return Sides(
        "seeds",
        selection,
        confirmation,
        f"{(~kept).sum()} of {len(contest.seeds)} seeds",
        f"the {_counted(kept.sum(), 'seed')} not used to choose it",
        notes,
    )


def _overlapping(contest: Contest, noun: str) -> tuple[str, ...]:
    if not contest.overlap:
        return ()
    return (
        f"{contest.overlap} of {len(contest.units)} test {noun}s are validation {noun}s under "
        "another seed",
    )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _kept(names: Sequence[str], share: float, seed: int) -> NDArray[np.bool_]:
    """A share of the names, at least one and not all, by a hash of name and seed: whatever else is
    measured, a name falls in the same order."""
    order = sorted(
        range(len(names)),
        key=lambda at: hashlib.blake2b(f"{seed}\0{names[at]}".encode(), digest_size=16).digest(),
    )
    count = min(max(1, round(len(names) * share)), len(names) - 1)
    kept = np.zeros(len(names), dtype=bool)
    kept[order[:count]] = True
    return kept
