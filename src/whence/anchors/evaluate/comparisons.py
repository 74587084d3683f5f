"""Every probe against every trivial baseline, paired over problems (`whence.stats.verdict`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from whence.anchors.evaluate.judge import Values
from whence.stats.verdict import Comparison, verdicts_of

METRICS = ("pr_auc", "spearman")

ProblemMetrics = Mapping[str, Values]
"""problem → metric → value."""


@dataclass(frozen=True)
class Arm:
    """One probe's metrics per problem. by_seed: of each seed; under None where no seed matters."""

    name: str
    baseline: bool
    by_seed: Mapping[int | None, ProblemMetrics]


def compare_with_baselines(
    arms: Sequence[Arm], primary: str, *, draws: int
) -> tuple[list[Comparison], list[str]]:
    """All comparisons, those on the primary metric first, with q over all of them; what was not.

    A probe is compared with each baseline that ran, and a baseline with those that stand before it.
    Problems without a metric are no part of it. Beside: a line for each comparison that could not
    be made because no problem has the metric for both arms.
    """
    import pandas as pd

    metrics = [primary, *(name for name in METRICS if name != primary)]
    table = pd.DataFrame(
        [
            [arm.name, seed, problem, *(values.get(name) for name in metrics)]
            for arm in arms
            for seed, problems in arm.by_seed.items()
            for problem, values in problems.items()
        ],
        columns=["arm", "seed", "row_id", *metrics],
    )
    table[metrics] = table[metrics].astype("float64")
    has = {
        (arm.name, metric): set(
            table.loc[(table["arm"] == arm.name) & table[metric].notna(), "row_id"]
        )
        for arm in arms
        for metric in metrics
    }
    wanted, impossible = [], []
    for metric in metrics:
        for arm, control in _pairs(arms):
            if has[arm, metric] & has[control, metric]:
                wanted.append((arm, control, metric))
            else:
                impossible.append(f"{arm} against {control}: no problem has {metric} for both")
    found = verdicts_of(
        table,
        wanted,
        dict.fromkeys(metrics, True),
        draws=draws,
        leave_out_undefined=True,
        noun="problem",
    )
    return found, impossible


def _pairs(arms: Sequence[Arm]) -> list[tuple[str, str]]:
    """Probes against baselines, then baselines against the baselines before them."""
    baselines = [arm.name for arm in arms if arm.baseline]
    probes = [arm.name for arm in arms if not arm.baseline]
    pairs = [(probe, baseline) for probe in probes for baseline in baselines]
    return pairs + [
        (later, earlier) for at, later in enumerate(baselines) for earlier in baselines[:at]
    ]
