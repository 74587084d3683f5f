"""Matched random: the control that says what chance would have chosen.

A random subset is a fair control only if it could have been chosen for the same dull reasons. So it
has the same size, the same make-up (strata: declared columns × length bins) and the same number of
tokens to train on. Where the pool cannot give that, the draw says so; it never says so silently.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whence.data.splits import seeded
from whence.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

TOKEN_TOLERANCE = 0.02
"""Token totals within this share of one another count as the same budget."""

MISSING = "(missing)"


@dataclass(frozen=True)
class Stratum:
    """One stratum of the pool: what was asked of it and what it gave.

    values: one per match-on column. length_bin: 0 (shortest) … bins − 1. available: rows that were
    free to be drawn. drawn: rows drawn from here, stand-ins for other strata included.
    """

    values: tuple[str, ...]
    length_bin: int
    wanted: int
    available: int
    drawn: int


@dataclass(frozen=True)
class Borrowing:
    """Rows that one stratum lacked and another gave, as (match-on values, length bin)."""

    wanted: tuple[tuple[str, ...], int]
    given: tuple[tuple[str, ...], int]
    rows: int


@dataclass(frozen=True)
class TokenBudget:
    """Tokens of the chosen rows and of the draw. `difference` is (drawn − chosen) / chosen.

    swaps: rows exchanged within their stratum, after the draw, to bring the totals together;
    difference_before: what it was without them.
    """

    chosen: int
    drawn: int
    difference: float
    difference_before: float
    swaps: int

    @property
    def within(self) -> bool:
        """Whether the totals count as the same budget."""
        return abs(self.difference) <= TOKEN_TOLERANCE


@dataclass(frozen=True)
class MatchedDraw:
    """A matched random subset: row ids in ascending order, and how well it matches."""

    row_ids: list[str]
    strata: tuple[Stratum, ...]
    borrowed: tuple[Borrowing, ...]
    budget: TokenBudget

    def notes(self) -> list[str]:
        """What a reader must know: plain sentences, none when the match is as asked."""
        found = []
        if self.borrowed:
            rows = sum(entry.rows for entry in self.borrowed)
            found.append(
                f"{rows} of {len(self.row_ids)} rows stand in from a neighbouring stratum, "
                "because their own had none left"
            )
        if not self.budget.within:
            found.append(
                f"token budgets differ by {self.budget.difference:+.1%} "
                f"({self.budget.drawn:,} against {self.budget.chosen:,}), "
                f"more than the {TOKEN_TOLERANCE:.0%} that count as equal"
            )
        return found


def matched_random(
    pool: pd.DataFrame,
    chosen: Collection[str],
    *,
    match_on: Sequence[str] = (),
    length_bins: int = 5,
    seed: int,
    allow_overlap: bool = False,
    token_lengths: Sequence[int] | np.ndarray | pd.Series,
    name: str = "matched_random",
) -> MatchedDraw:
    """Draw as many rows of `pool` as were chosen, alike in strata and in tokens.

    pool has `row_id` and the `match_on` columns; `chosen` are row ids of it; `token_lengths[i]`
    belongs to row i of the pool. Strata are the values of `match_on` (a missing value is a value)
    times `length_bins` bins of equal mass over the whole pool. Each stratum gives as many rows, at
    random, as the chosen have in it. One that runs out borrows from the nearest length bin (the
    shorter of two) with the same values, and only then, nearest bin first, from other values. Last,
    random rows are exchanged within their stratum until the token totals agree within 2 %, and no
    further. The chosen themselves are drawn only under `allow_overlap`.

    The same seed and `name` give the same rows whatever the order of the pool. Raises BadInput when
    a column is absent or the pool is too small for a draw without overlap.
    """
    import numpy as np

    for column in match_on:
        if column not in pool.columns:
            raise BadInput(f"--match-on {column}: the pool has no such column, but {_list(pool)}")
    # A fixed order, so that the result does not hang on the order in which the pool was stored.
    order = np.argsort(pool["row_id"].to_numpy(dtype=object), kind="stable")
    ids = [str(row_id) for row_id in pool["row_id"].to_numpy(dtype=object)[order]]
    lengths = np.asarray(token_lengths, dtype=np.int64)[order]
    values = [_texts(pool[column])[order] for column in match_on]
    edges = np.quantile(lengths, np.arange(1, length_bins) / length_bins)
    bins = np.searchsorted(edges, lengths, side="left")
    keys = [(tuple(str(v[i]) for v in values), int(bins[i])) for i in range(len(ids))]

    wanted_ids = set(chosen)
    is_chosen = np.array([row_id in wanted_ids for row_id in ids], dtype=bool)
    if not wanted_ids or is_chosen.sum() != len(wanted_ids):
        absent = min(wanted_ids - set(ids), default=None)
        raise BadInput(
            f'the arm to match holds row_id "{absent}", which is not in the pool'
            if wanted_ids
            else "the arm to match holds no rows"
        )
    candidates = np.flatnonzero(np.ones_like(is_chosen) if allow_overlap else ~is_chosen)
    if len(candidates) < len(wanted_ids):
        raise BadInput(
            f"a matched random of {len(wanted_ids)} rows needs as many others, but the pool of "
            f"{len(ids)} leaves {len(candidates)}; choose fewer, or let "
            "it overlap (matched_random:overlap=yes, or --allow-random-overlap)"
        )
    wanted = Counter(keys[i] for i in np.flatnonzero(is_chosen))
    rng = seeded(seed, name)
    free: dict[_Key, list[int]] = {}
    for i in rng.permutation(candidates):
        free.setdefault(keys[i], []).append(int(i))
    available = {key: len(rows) for key, rows in free.items()}

    # Where other values must stand in, which of them comes first is up to chance, not the alphabet.
    groups = sorted({key[0] for key in free})
    precedence = dict(zip(groups, rng.permutation(len(groups)).tolist(), strict=True))
    drawn, borrowed = _fill(wanted, free, precedence)
    drawn_tokens = int(lengths[drawn].sum())
    target = max(1, int(lengths[is_chosen].sum()))
    final, swaps = _balance(drawn, free, keys, lengths, target, rng)
    got = int(lengths[final].sum())
    counts = Counter(keys[i] for i in final)
    return MatchedDraw(
        row_ids=sorted(ids[i] for i in final),
        strata=tuple(
            Stratum(*key, wanted[key], available.get(key, 0), counts[key])
            for key in sorted(set(wanted) | set(counts))
        ),
        borrowed=tuple(
            Borrowing(want, give, rows) for (want, give), rows in sorted(borrowed.items())
        ),
        budget=TokenBudget(target, got, got / target - 1, drawn_tokens / target - 1, swaps),
    )


_Key = tuple[tuple[str, ...], int]


def _fill(
    wanted: Counter[_Key], free: dict[_Key, list[int]], precedence: Mapping[tuple[str, ...], int]
) -> tuple[list[int], Counter[tuple[_Key, _Key]]]:
    """Take what every stratum wants, from `free` (each list in random order; shortened here)."""
    drawn: list[int] = []
    lacking: Counter[_Key] = Counter()
    for key in sorted(wanted):
        own = free.get(key, [])
        taken = min(wanted[key], len(own))
        drawn += [own.pop() for _ in range(taken)]
        lacking[key] = wanted[key] - taken
    # Only now, so that no stratum gives away rows that it needs itself.
    borrowed: Counter[tuple[_Key, _Key]] = Counter()
    for key in sorted(+lacking):
        nearest = sorted(
            free,
            key=lambda other: (
                other[0] != key[0],
                abs(other[1] - key[1]),
                other[1],
                precedence[other[0]],
            ),
        )
        for giver in nearest:
            taken = min(lacking[key], len(free[giver]))
            if taken:
                drawn += [free[giver].pop() for _ in range(taken)]
                borrowed[key, giver] += taken
                lacking[key] -= taken
    return drawn, borrowed


def _balance(
    drawn: Sequence[int],
    free: dict[_Key, list[int]],
    keys: Sequence[_Key],
    lengths: np.ndarray,
    target: int,
    rng: np.random.Generator,
) -> tuple[list[int], int]:
    """Exchange random rows within strata until the total is within tolerance of `target`.

    An exchange must bring the total nearer without passing the target, so this ends. Stopping at
    the tolerance rather than at the target keeps the draw as random as the budget allows.
    """
    import numpy as np

    final = list(drawn)
    spare = {key: np.asarray(rows, dtype=np.int64) for key, rows in free.items()}
    gap = target - int(lengths[final].sum())
    swaps, moved = 0, True
    while moved and abs(gap) > TOKEN_TOLERANCE * target:
        moved = False
        for place in rng.permutation(len(final)):
            row = final[place]
            others = spare.get(keys[row], np.empty(0, dtype=np.int64))
            change = (lengths[others] - lengths[row]) * np.sign(gap)
            fitting = np.flatnonzero((change > 0) & (change <= abs(gap)))
            if not len(fitting):
                continue
            pick = rng.choice(fitting)
            final[place], others[pick] = int(others[pick]), row
            gap -= int(lengths[final[place]] - lengths[row])
            swaps, moved = swaps + 1, True
            if abs(gap) <= TOKEN_TOLERANCE * target:
                break
    return final, swaps


def _texts(column: pd.Series) -> np.ndarray:
    texts: np.ndarray = column.astype(object).where(column.notna(), MISSING).to_numpy(dtype=object)
    return texts


def _list(pool: pd.DataFrame) -> str:
    return ", ".join(map(str, pool.columns))
