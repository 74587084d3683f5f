"""What decisions come to: how much is deferred, how much of the rest is wrong, and how sure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whence.anchors.defer.thresholds import DEFER, NEGATIVE, POSITIVE
from whence.stats.intervals import (
    CONFIDENCE,
    MIN_CLUSTERS,
    NoInterval,
    cluster_bootstrap,
    percentile_ends,
    resampled_indices,
)

NOTHING = "no row was accepted"


@dataclass(frozen=True)
class Judged:
    """Rows that were decided on, and their truth.

    decisions: NEGATIVE, POSITIVE or DEFER; anchors: the truth; problems: whose rows; [rows] each.
    """

    decisions: NDArray[np.int8]
    anchors: NDArray[np.bool_]
    problems: NDArray[np.object_]

    @property
    def accepted(self) -> NDArray[np.bool_]:
        return np.asarray(self.decisions != DEFER)

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Accepted and not what the truth says."""
        return np.asarray(self.accepted & ((self.decisions == POSITIVE) != self.anchors))


def rates(judged: Judged) -> dict[str, Any]:
    """deferral: deferred / rows. accepted_error: wrong / accepted, None where nothing is."""
    accepted = int(judged.accepted.sum())
    wrong = int(judged.wrong.sum())
    rows = len(judged.decisions)
    return {
        "deferral": (rows - accepted) / rows,
        "accepted_error": wrong / accepted if accepted else None,
    }


def counts(judged: Judged) -> dict[str, int]:
    """Rows, what was decided on them, and what of it was wrong."""
    called_anchor = judged.decisions == POSITIVE
    called_none = judged.decisions == NEGATIVE
    return {
        "rows": len(judged.decisions),
        "problems": len(set(judged.problems)),
        "anchors": int(judged.anchors.sum()),
        "accepted": int(judged.accepted.sum()),
        "deferred": int((~judged.accepted).sum()),
        "called_anchor": int(called_anchor.sum()),
        "called_no_anchor": int(called_none.sum()),
        "wrong": int(judged.wrong.sum()),
        "anchors_missed": int((called_none & judged.anchors).sum()),
        "false_alarms": int((called_anchor & ~judged.anchors).sum()),
        "anchors_deferred": int((~judged.accepted & judged.anchors).sum()),
    }


def outcome(judged: Judged, draws: int) -> dict[str, Any]:
    """Rates, counts, and intervals over problems, ready for JSON."""
    deferral = cluster_bootstrap(~judged.accepted, judged.problems, draws=draws)
    told = {**rates(judged), **counts(judged)}
    told["deferral_interval"] = _ends(deferral)
    if isinstance(deferral, NoInterval):
        told["deferral_reason"] = _of_problems(deferral.reason)
    return told | {f"accepted_error_{key}": v for key, v in error_interval(judged, draws).items()}


def error_interval(judged: Judged, draws: int) -> dict[str, Any]:
    """`interval` of the accepted error over problems that have accepted rows, or its `reason`."""
    accepted = judged.accepted
    if not accepted.any():
        return {"interval": None, "reason": NOTHING}
    found = cluster_bootstrap(judged.wrong[accepted], judged.problems[accepted], draws=draws)
    if isinstance(found, NoInterval):
        return {"interval": None, "reason": _of_problems(found.reason)}
    return {"interval": _ends(found)}


def error_difference(probe: Judged, control: Judged, draws: int, seed: int = 0) -> dict[str, Any]:
    """Accepted error of the probe minus the control's, on the same rows.

    The two accept different rows, so problems are resampled and both ratios taken anew. No interval
    under five problems, or where more than one resample in a hundred has nothing accepted.
    """
    first, second = rates(probe)["accepted_error"], rates(control)["accepted_error"]
    if first is None or second is None:
        return {"effect": None, "interval": None, "reason": NOTHING}
    names, codes = np.unique(probe.problems.astype(str), return_inverse=True)
    told = {"effect": first - second, "interval": None}
    if len(names) < MIN_CLUSTERS:
        few = f"{len(names)} problem{'s' * (len(names) != 1)}"
        return told | {"reason": f"{few}, and an interval needs at least {MIN_CLUSTERS}"}

    def totals(rows: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.bincount(codes, weights=rows, minlength=len(names)).astype(np.float64)

    sums = [totals(rows) for j in (probe, control) for rows in (j.wrong, j.accepted)]
    found = []
    for drawn in resampled_indices(np.random.default_rng(seed), len(names), draws):
        wrong, accepted, other_wrong, other_accepted = (s.take(drawn).sum(axis=1) for s in sums)
        with np.errstate(invalid="ignore", divide="ignore"):
            found.append(wrong / accepted - other_wrong / other_accepted)
    differences = np.concatenate(found)
    differences = differences[np.isfinite(differences)]
    if len(differences) < 0.99 * draws:
        return told | {"reason": "many resamples of the problems have no accepted row"}
    return told | {"interval": list(percentile_ends(differences, CONFIDENCE))}


def _ends(interval: Any) -> list[float] | None:
    return None if isinstance(interval, NoInterval) else [interval.low, interval.high]


def _of_problems(reason: str) -> str:
    return reason.replace("clusters", "problems").replace("cluster", "problem")
