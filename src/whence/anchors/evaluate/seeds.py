"""Several seeds of one probe, put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

PLAIN = (int, float)


def mean_over_seeds(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One such mapping with every number averaged; None where any seed has none.

    Lists of equal length (position bins) are averaged place by place; where their lengths differ
    (calibration bins hold rows or are left out) the first seed's stand for all.
    """
    return {name: _mean([each[name] for each in found]) for name in found[0]}


def mean_per_problem(
    by_seed: Sequence[Mapping[str, Mapping[str, float | None]]],
) -> dict[str, dict[str, float | None]]:
    """problem → metric → mean over the seeds that have one."""
    first = by_seed[0]
    return {
        problem: {
            metric: _known([each[problem][metric] for each in by_seed]) for metric in first[problem]
        }
        for problem in first
    }


def _mean(values: Sequence[Any]) -> Any:
    first = values[0]
    if all(value == first for value in values):
        return first
    if any(value is None for value in values):
        return None
    if isinstance(first, Mapping):
        return mean_over_seeds(values)
    if isinstance(first, PLAIN):
        return float(np.mean(values))
    if isinstance(first, list) and len({len(value) for value in values}) == 1:
        return [_mean(each) for each in zip(*values, strict=True)]
    return first


def _known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
