"""A few numbers that say where a head looks, from its attention pattern [query, key]."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Pattern = NDArray[np.floating]

SCORES = (
    "entropy",
    "entropy_last",
    "to_first",
    "to_previous",
    "to_self",
    "to_duplicate",
    "induction",
)


def pattern_scores(pattern: Pattern, ids: Sequence[int]) -> dict[str, float | None]:
    """Means over queries of one prompt; the first query, which has one key, counts nowhere.

    entropy: in nats. entropy_last: of the last token alone. to_first (BOS, where there is one),
    to_previous, to_self: attention to those keys. to_duplicate: to earlier occurrences of the
    query's own token; induction: to the tokens that followed those occurrences, the query itself
    not counted; both over the queries that have any, None where none has. A prompt of one token
    has no scores.
    """
    length = len(ids)
    if length < 2:
        return dict.fromkeys(SCORES)
    weights = pattern.astype(np.float64)
    queries = range(1, length)
    logs = np.log(weights, out=np.zeros_like(weights), where=weights > 0)
    entropies = -(weights * logs).sum(axis=1)
    duplicate, induction = [], []
    for query in queries:
        earlier = [key for key in range(query) if ids[key] == ids[query]]
        after = [key + 1 for key in earlier if key + 1 < query]
        if earlier:
            duplicate.append(weights[query, earlier].sum())
        if after:
            induction.append(weights[query, after].sum())
    return {
        "entropy": float(entropies[1:].mean()),
        "entropy_last": float(entropies[-1]),
        "to_first": float(weights[1:, 0].mean()),
        "to_previous": float(weights.diagonal(-1).mean()),
        "to_self": float(weights.diagonal()[1:].mean()),
        "to_duplicate": _mean(duplicate),
        "induction": _mean(induction),
    }


def pattern_change(before: Pattern, after: Pattern) -> float:
    """Total variation distance, mean over queries: the share of attention that looks elsewhere."""
    moved = np.abs(after.astype(np.float64) - before.astype(np.float64)).sum(axis=1) / 2
    return float(moved.mean())


def strongest_keys(pattern: Pattern, k: int) -> list[tuple[int, float]]:
    """(key, weight) of the last query's strongest keys, strongest first."""
    last = pattern[-1].astype(np.float64)
    order = np.argsort(-last, kind="stable")[:k]
    return [(int(key), float(last[key])) for key in order]


def mean_scores(rows: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    """Each score's mean over the prompts that have it."""
    found = {}
    for name in SCORES:
        values = [value for row in rows if (value := row[name]) is not None]
        found[name] = math.fsum(values) / len(values) if values else None
    return found


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
