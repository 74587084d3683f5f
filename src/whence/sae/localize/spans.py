"""Runs of active tokens, and how much of a feature lies in which role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from whence.sae.localize.places import SPECIAL, Place
from whence.stats.intervals import Interval
from whence.stats.whole import statistic_interval

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Span:
    """Tokens start … stop − 1 of a row, all active and of one turn."""

    start: int
    stop: int
    turn: int
    role: str
    text: str
    strongest: float
    mean: float


def spans_of(
    strengths: NDArray[np.float32], places: Sequence[Place], threshold: float
) -> list[Span]:
    """Maximal runs of tokens with strength above the threshold; a new turn ends a run. [tokens]"""
    found = []
    start = 0
    active = strengths > threshold
    while start < len(active):
        if not active[start]:
            start += 1
            continue
        stop = start + 1
        while stop < len(active) and active[stop] and places[stop].turn == places[start].turn:
            stop += 1
        own = strengths[start:stop]
        found.append(
            Span(
                start=start,
                stop=stop,
                turn=places[start].turn,
                role=places[start].role,
                text="".join(place.piece for place in places[start:stop]),
                strongest=float(own.max()),
                mean=float(own.mean()),
            )
        )
        start = stop
    return found


def role_shares(tokens: pd.DataFrame) -> list[dict[str, Any]]:
    """Which roles a feature is stronger in than their length explains, one entry a role.

    tokens: a row per (row_id, role) with `tokens`, `strength` (sum of activations) and `active`
    (tokens above the threshold). `times_expected` is the role's share of all strength over its
    share of all tokens: 1 where the feature is spread evenly. Its interval resamples rows.
    """
    rows = sorted(tokens["row_id"].unique())
    counted, strength, active = (
        tokens.pivot_table(index="row_id", columns="role", values=name, aggfunc="sum", fill_value=0)
        .loc[rows]
        .astype(float)
        for name in ("tokens", "strength", "active")
    )
    found = []
    for role in sorted(counted.columns, key=lambda role: (role == SPECIAL, role)):
        share = _times_expected(
            counted[role].to_numpy(),
            counted.to_numpy().sum(axis=1),
            strength[role].to_numpy(),
            strength.to_numpy().sum(axis=1),
        )
        interval = statistic_interval(share, len(rows))
        here = float(counted[role].sum())
        found.append(
            {
                "role": role,
                "rows": int((counted[role] > 0).sum()),
                "tokens": int(here),
                "active_tokens": int(active[role].sum()),
                "mean_strength": float(strength[role].sum()) / here,
                "times_expected": share(np.arange(len(rows))),
                "interval": [interval.low, interval.high]
                if isinstance(interval, Interval)
                else None,
                "reason": None if isinstance(interval, Interval) else interval.reason,
            }
        )
    return found


def _times_expected(
    tokens: NDArray[np.float64],
    all_tokens: NDArray[np.float64],
    strength: NDArray[np.float64],
    all_strength: NDArray[np.float64],
) -> Any:
    def statistic(rows: NDArray[np.int64]) -> float | None:
        length, total = tokens[rows].sum(), all_strength[rows].sum()
        if length == 0 or total == 0:
            return None
        expected = length / all_tokens[rows].sum()
        return float(strength[rows].sum() / total / expected)

    return statistic


def strongest_pieces(tokens: Mapping[str, Sequence[float]], most: int = 10) -> list[dict[str, Any]]:
    """Pieces of text by their mean strength over all places where they stand, strongest first.

    tokens: piece → strengths at its places, inactive ones included. Pieces seen once come after
    those seen more often.
    """
    means = {piece: float(np.mean(its)) for piece, its in tokens.items() if np.max(its) > 0}
    order = sorted(means, key=lambda piece: (len(tokens[piece]) == 1, -means[piece], piece))
    return [
        {"piece": piece, "places": len(tokens[piece]), "mean_strength": means[piece]}
        for piece in order[:most]
    ]
