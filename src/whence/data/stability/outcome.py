"""What is said of rankings side by side: `stability.json`, and its table of pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from whence.data.stability.given import SideBySide
from whence.stats.agreement import SPEARMAN, Agreement, overlap_name
from whence.stats.intervals import Interval, NoInterval
from whence.stats.ranking import spearman

if TYPE_CHECKING:
    import pandas as pd

Block = Mapping[str, Any]


def outcome(sets: SideBySide, found: Agreement, ks: Sequence[int]) -> dict[str, Any]:
    """Agreement of all rankings, pair by pair and on average, and what their settings differ in.

    Every estimate has `interval` (low, high) or null with a `reason`, and `chance`, what rankings
    that know nothing of each other would give.
    """
    return {
        "rankings": [
            {
                "name": name,
                "spearman_with_length": None
                if sets.lengths is None
                else spearman(sets.scores[name], sets.lengths).value,
                "settings": dict(sets.settings[name]),
            }
            for name in sets.names
        ],
        "differs": sets.differing,
        "rows": found.rows,
        "unit": sets.unit,
        "units": found.clusters,
        "k": list(ks),
        "interval_covers": f"other pools like this one: its {sets.unit}s are resampled, the "
        "rankings as they are",
        **of_pairs(found, ks),
        "pairs": [
            {"a": found.names[i], "b": found.names[j], **of_pairs(found, ks, [number])}
            for number, (i, j) in enumerate(found.pairs)
        ],
    }


def of_pairs(found: Agreement, ks: Sequence[int], of: Sequence[int] | None = None) -> Block:
    """`spearman` and `overlap_at_k` as means over the pairs numbered `of` (all without it)."""

    def measured(measure: str, chance: float) -> dict[str, Any]:
        return estimate(found.value(measure, of), found.interval(measure, of), chance)

    return {
        "spearman": measured(SPEARMAN, 0.0),
        "overlap_at_k": {str(k): measured(overlap_name(k), k / found.rows) for k in ks},
    }


def estimate(value: float, interval: Interval | NoInterval, chance: float) -> dict[str, Any]:
    """An estimate as JSON holds it."""
    if isinstance(interval, NoInterval):
        return {"estimate": value, "interval": None, "chance": chance, "reason": interval.reason}
    return {
        "estimate": value,
        "interval": [interval.low, interval.high],
        "chance": chance,
        "method": interval.method,
    }


def pair_table(content: Mapping[str, Any]) -> pd.DataFrame:
    """`a, b, measure, estimate, low, high, chance` (low and high empty without an interval)."""
    import pandas as pd

    lines = [
        {
            "a": pair["a"],
            "b": pair["b"],
            "measure": measure,
            "estimate": each["estimate"],
            "low": each["interval"][0] if each["interval"] else None,
            "high": each["interval"][1] if each["interval"] else None,
            "chance": each["chance"],
        }
        for pair in content["pairs"]
        for measure, each in [
            (SPEARMAN, pair["spearman"]),
            *((overlap_name(int(k)), each) for k, each in pair["overlap_at_k"].items()),
        ]
    ]
    return pd.DataFrame(lines).astype({"low": "float64", "high": "float64"})
