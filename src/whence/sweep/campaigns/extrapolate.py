"""What planned tasks will take, on a straight line through what small ones took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from whence.sweep.campaigns.trial_process import Timing


@dataclass(frozen=True)
class Expected:
    """Of all planned tasks of one kind and model. start: seconds that the first of them takes
    beside, for modules and the model."""

    work: float
    seconds: float
    bytes: float
    start: float


def expected(timings: Sequence[Timing], works: Sequence[float]) -> Expected:
    """timings: of small tasks of the kind; those marked `first` tell the start alone, and one at
    least is not. works: of the planned tasks."""
    counted = [each for each in timings if not each.first]
    measured = [each.work for each in counted]
    total, many = sum(works), len(works)
    fixed, slope = _line(measured, [each.seconds for each in counted])
    fixed_bytes, bytes_slope = _line(measured, [each.bytes for each in counted])
    start = sum(each.seconds - fixed - slope * each.work for each in timings if each.first)
    return Expected(
        total,
        fixed * many + slope * total,
        fixed_bytes * many + bytes_slope * total,
        max(start, 0.0),
    )


def _line(works: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """What any task costs, and what each unit of work adds; neither is negative. From one size
    alone, all of it is taken to grow with the work."""
    if len(set(works)) < 2:
        return 0.0, float(np.mean(values) / works[0])
    slope, fixed = np.polyfit(works, values, 1)
    if slope < 0:
        return float(np.mean(values)), 0.0
    return (float(fixed), float(slope)) if fixed > 0 else (0.0, float(np.sum(values) / sum(works)))
