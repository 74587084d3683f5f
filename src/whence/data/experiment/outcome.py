"""From items to the verdict, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.data.experiment.comparisons import Pair
from whence.runs.finding import Finding
from whence.stats.pairing import metric_values
from whence.stats.verdict import arm_means, verdicts

if TYPE_CHECKING:
    import pandas as pd

SPOKEN = {"correct": "accuracy"}


def metrics_of(items: pd.DataFrame, bench: Sequence[str] = ()) -> dict[str, bool]:
    """The judged metrics, the headline's first: name → whether higher is better.

    bench: metrics of tasks; their documents are rows of `items` that have neither loss nor answer.
    """
    if bench:
        items = items[items["loss"].notna()]
    judged = {"correct": True} if items["correct"].notna().all() else {}
    return {**judged, **dict.fromkeys(bench, True), "loss": False}


def verdict_of(
    items: pd.DataFrame,
    groups: Mapping[str, str],
    pairs: Sequence[Pair],
    planted: Mapping[str, Any] | None,
    ranked_by: Mapping[str, str] | None = None,
    bench: Sequence[str] = (),
) -> dict[str, Any]:
    """The content of `verdict.json`.

    items: `arm, seed, row_id, correct, loss`. groups: row_id → group; rows of one group (turns of
    one chat, say) are not independent, so intervals come from resampling whole groups. ranked_by:
    arm → ranking, told only where there is something to tell. bench: metrics of tasks, columns of
    `items`; each document of a task is a group of its own.
    """
    metrics = metrics_of(items, bench)
    grouped = items.assign(group_id=items["row_id"].map(groups))
    if bench:
        # What a task lacks by nature is left out below; a loss that is no number is not that.
        metric_values(items[items[list(bench)].isna().all(axis=1)], "loss")
        grouped["group_id"] = grouped["group_id"].fillna(grouped["row_id"])
    found = verdicts(grouped, pairs, metrics, cluster="group_id", leave_out_undefined=bool(bench))
    return {
        "comparisons": [comparison.to_dict() for comparison in found],
        "arms": _means(items, list(metrics), bool(bench)),
        "planted": planted,
        **({"ranked_by": dict(ranked_by)} if ranked_by else {}),
    }


def _means(items: pd.DataFrame, metrics: Sequence[str], bench: bool) -> dict[str, dict[str, float]]:
    """`arm_means`; with documents of tasks among the items, of each metric where it is."""
    if not bench:
        return arm_means(items, metrics)
    each = [arm_means(items[items[metric].notna()], [metric]) for metric in metrics]
    return {arm: {k: v for means in each for k, v in means[arm].items()} for arm in each[0]}


@dataclass(frozen=True)
class ExperimentResult:
    """folder: where everything is. verdict: the content of `verdict.json`."""

    folder: Path
    verdict: Mapping[str, Any]
    done_before: bool

    def finding(self) -> Finding:
        """The main comparison in words, the arms' means, what they were drawn by where several
        rankings were used, and the share of planted rows found.
        """
        comparisons, arms = self.verdict["comparisons"], self.verdict["arms"]
        main = comparisons[0]
        shares = (self.verdict["planted"] or {}).get("useful_share")
        metrics = list(next(iter(arms.values())))
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
        if by := self.verdict.get("ranked_by"):
            columns.append("ranked by")
            rows = [[*row, by.get(row[0], "")] for row in rows]
        if shares is not None:
            columns.append("useful rows")
            rows = [[*row, f"{shares[row[0]]:.0%}" if row[0] in shares else ""] for row in rows]
        return Finding(
            headline=f"{'Already done: ' if self.done_before else ''}{main['sentence']}",
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
