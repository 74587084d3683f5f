"""From items to the verdict: which arms are compared, on what, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.data.arms import Arm, target_of
from whence.data.experiment.cells import BASE
from whence.runs.finding import Finding
from whence.stats.verdict import arm_means, verdicts

if TYPE_CHECKING:
    import pandas as pd

ORACLE = "oracle"
SPOKEN = {"correct": "accuracy"}


def comparisons_of(arms: Sequence[Arm], *, oracle: bool) -> list[tuple[str, str]]:
    """Which arms are held against which: (arm, control), the experiment's main one first.

    Every matched_random against the arm that it is matched to, then every arm against the base
    model, so that "better than random" is never mistaken for "better than not training".
    """
    kinds = {arm.name: arm.kind for arm in arms if arm.kind != "matched_random"}
    matched = [(target_of(arm, kinds), arm.name) for arm in arms if arm.kind == "matched_random"]
    pairs = list(matched)
    if oracle and matched:
        pairs.append((ORACLE, matched[0][1]))
    trained = [arm.name for arm in arms] + ([ORACLE] if oracle else [])
    return pairs + [(name, BASE) for name in trained]


def metrics_of(items: pd.DataFrame) -> dict[str, bool]:
    """The judged metrics, the headline's first: name → whether higher is better."""
    judged = {"correct": True} if items["correct"].notna().all() else {}
    return {**judged, "loss": False}


def verdict_of(
    items: pd.DataFrame, pairs: Sequence[tuple[str, str]], planted: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The content of `verdict.json`."""
    metrics = metrics_of(items)
    found = verdicts(items, pairs, metrics)
    return {
        "comparisons": [comparison.to_dict() for comparison in found],
        "arms": arm_means(items, list(metrics)),
        "planted": planted,
    }


@dataclass(frozen=True)
class ExperimentResult:
    """folder: where everything is. verdict: the content of `verdict.json`."""

    folder: Path
    verdict: Mapping[str, Any]

    def finding(self) -> Finding:
        """The main comparison in words, the arms' means, and the share of planted rows found."""
        comparisons, arms = self.verdict["comparisons"], self.verdict["arms"]
        main = comparisons[0]
        shares = (self.verdict["planted"] or {}).get("useful_share")
        metrics = list(arms[main["arm"]])
        against = {
            c["arm"]: c
            for c in comparisons
            if c["metric"] == main["metric"] and c["control"] == main["control"]
        }
        columns = ["arm", *(SPOKEN.get(m, m) for m in metrics), f"minus {main['control']}"]
        rows = [
            [arm, *(f"{means[m]:.3f}" for m in metrics), _difference(against.get(arm))]
            for arm, means in arms.items()
        ]
        if shares is not None:
            columns.append("useful rows")
            rows = [[*row, f"{shares[row[0]]:.0%}" if row[0] in shares else ""] for row in rows]
        return Finding(
            headline=main["sentence"],
            columns=columns,
            rows=rows,
            files={
                "verdict": self.folder / "verdict.json",
                "items": self.folder / "items.parquet",
                "report": self.folder / "report.html",
            },
        )


def _difference(comparison: Mapping[str, Any] | None) -> str:
    if comparison is None:
        return ""
    if comparison["interval"] is None:
        return f"{comparison['effect']:+.3f} (no interval)"
    low, high = comparison["interval"]
    return f"{comparison['effect']:+.3f} [{low:+.3f}, {high:+.3f}]"
