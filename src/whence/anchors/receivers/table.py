"""One row a head: its kurtosis over traces, the control's, and the difference, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whence.stats import Interval, cluster_bootstrap


def heads_table(
    numbers: Mapping[str, NDArray[np.float64]], layers: Sequence[int], seed: int
) -> list[dict[str, Any]]:
    """Rows by layer and head; numbers: kurtosis, by_distance and first, [traces, layers, heads].

    Intervals are over traces, null under five. Traces in which a head has no kurtosis (all its
    scores are equal, as behind a sliding window) are left out for that head; `traces` counts the
    others. percentile_in_layer: share of the layer's other heads that have less kurtosis, in %.
    """
    rows = []
    for at, layer in enumerate(layers):
        for head in range(numbers["kurtosis"].shape[2]):
            own = {name: array[:, at, head] for name, array in numbers.items()}
            known = np.isfinite(own["kurtosis"]) & np.isfinite(own["by_distance"])
            rows.append({"layer": layer, "head": head} | _row(own, known, seed))
        _rank_within([row for row in rows if row["layer"] == layer])
    return rows


def _row(
    own: Mapping[str, NDArray[np.float64]], known: NDArray[np.bool_], seed: int
) -> dict[str, Any]:
    row: dict[str, Any] = {"traces": int(known.sum())}
    values, control = own["kurtosis"][known], own["by_distance"][known]
    for name, of in (("kurtosis", values), ("by_distance", control), ("excess", values - control)):
        row[name] = float(of.mean()) if of.size else None
    for of, low, high in (
        (values, "low", "high"),
        (values - control, "excess_low", "excess_high"),
    ):
        found = cluster_bootstrap(of, seed=seed) if of.size else None
        within = found if isinstance(found, Interval) else None
        row[low] = None if within is None else within.low
        row[high] = None if within is None else within.high
    row["first_sentence_share"] = float(own["first"][known].mean()) if known.any() else None
    return row


def _rank_within(rows: Sequence[dict[str, Any]]) -> None:
    known = [row["kurtosis"] for row in rows if row["kurtosis"] is not None]
    for row in rows:
        row["percentile_in_layer"] = None
        if row["kurtosis"] is not None and len(known) > 1:
            below = sum(other < row["kurtosis"] for other in known)
            row["percentile_in_layer"] = 100 * below / (len(known) - 1)
