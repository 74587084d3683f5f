"""Drawing rows so that the same seed draws the same rows.

Two rules keep draws stable. Each draw has its own random stream, keyed by its name, so that asking
for a bigger pool does not change which rows evaluate. Candidates are put in a fixed order before
anything is drawn, so that the order in which a dictionary or a file happened to list them is not
part of the result.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def seeded(seed: int, name: str) -> np.random.Generator:
    """The random stream of the draw called `name` under `seed`."""
    import numpy as np

    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def largest_remainder(counts: Mapping[str, int], size: int) -> dict[str, int]:
    """Share `size` seats among strata in proportion to `counts`, exactly, in whole numbers.

    Hamilton's method: every stratum gets the floor of its quota, the seats left over go to the
    largest remainders (ties: the larger stratum, then the name). No stratum gets more than it has.
    Raises ValueError when `size` exceeds the total.
    """
    total = sum(counts.values())
    if not 0 <= size <= total:
        raise ValueError(f"cannot draw {size} of {total}")
    if not total:
        return dict.fromkeys(counts, 0)
    seats = {name: size * count // total for name, count in counts.items()}
    by_remainder = sorted(
        counts, key=lambda name: (-(size * counts[name] % total), -counts[name], name)
    )
    for name in by_remainder[: size - sum(seats.values())]:
        seats[name] += 1
    return seats


def stratified_sample(
    candidates: Sequence[int], strata: Sequence[str], size: int, rng: np.random.Generator
) -> list[int]:
    """Draw exactly `size` of `candidates` without replacement, proportionally from each stratum.

    `strata[i]` is the stratum of candidate i of the *source*, that is, it is indexed by the values
    in `candidates`. Strata are visited by name, candidates within one in ascending order. Returns
    the drawn values in ascending order. Raises ValueError when `size` exceeds the candidates.
    """
    members: dict[str, list[int]] = {}
    for index in sorted(candidates):
        members.setdefault(strata[index], []).append(index)
    seats = largest_remainder({name: len(rows) for name, rows in members.items()}, size)
    drawn: list[int] = []
    for name in sorted(members):
        picks = rng.choice(len(members[name]), size=seats[name], replace=False)
        drawn += [members[name][pick] for pick in picks]
    return sorted(drawn)
