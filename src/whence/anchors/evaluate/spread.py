"""A metric over problems: its mean, and an interval where there are problems enough."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from whence.stats.intervals import NoInterval, cluster_bootstrap


def over_problems(values: Mapping[str, float | None], draws: int) -> dict[str, Any]:
    """mean, interval (a percentile bootstrap over problems), reason, undefined, per_problem.

    values: problem → metric, None where the problem has none (one class only, constant scores);
    those are counted and left out of the mean. reason: why there is no interval, or what was left
    out; None where there is nothing to say.
    """
    known = [value for value in values.values() if value is not None]
    missing = len(values) - len(known)
    reasons = []
    interval = None
    if known:
        found = cluster_bootstrap(known, draws=draws)
        if isinstance(found, NoInterval):
            reasons.append(found.reason.replace("cluster", "problem"))
        else:
            interval = [found.low, found.high]
    if missing:
        noun = "problem has" if missing == 1 else "problems have"
        reasons.append(f"{missing} {noun} no such metric (one class only, or constant scores)")
    return {
        "mean": sum(known) / len(known) if known else None,
        "interval": interval,
        "reason": "; ".join(reasons) or None,
        "undefined": missing,
        "per_problem": dict(values),
    }
