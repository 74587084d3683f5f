"""What each arm led to: its scores per seed, the items it got right, and how it trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from whence.report import charts, notation
from whence.report.figure import figure
from whence.report.page import Section, render
from whence.report.verdict_sections import Comparison

if TYPE_CHECKING:
    import pandas as pd


def arms_section(
    items: pd.DataFrame,
    arms: Mapping[str, Mapping[str, float]],
    comparisons: Sequence[Comparison],
    colours: Mapping[str, str],
) -> Section:
    """Means per arm with a dot per seed, the same as numbers, and who got which items right.

    items: columns `arm, seed, row_id` and a column per metric; an arm without a seed was evaluated
    once. arms: verdict.json's means, which name the metrics.
    """
    order = [arm for arm in arms if (items["arm"] == arm).any()]
    names = list(dict.fromkeys(name for means in arms.values() for name in means))
    plots = []
    for name in names:
        if name not in items or items[name].isna().all():
            continue
        metric = notation.metric(name)
        per_seed = (
            items.astype({name: float})
            .groupby(["arm", "seed"], sort=False, dropna=False)[name]
            .mean()
            .dropna()
        )
        values = per_seed.rename("value").rename_axis(["group", "seed"]).reset_index()
        values = (
            values.set_index("group").loc[[a for a in order if a in per_seed.index]].reset_index()
        )
        told = "; ".join(
            f"{arm}: {metric.value(float(own.mean()))} over {own.size} "
            f"{'seed' if own.size == 1 else 'seeds'}"
            for arm, own in values.groupby("group", sort=False)["value"]
        )
        plots.append(
            figure(
                charts.levels(values, metric, colours),
                alt_text=f"Mean {metric.label} of each arm. {told}.",
                caption=f"{metric.label.capitalize()} on the evaluation items. A dot is one seed, "
                f"the bar their mean. {'Lower' if metric.lower_is_better else 'Higher'} is better.",
            )
        )
    seeds = items.groupby("arm")["seed"].nunique().to_dict()
    return Section(
        "Arms",
        "What each way of choosing the training examples led to, on items that no arm trained on.",
        render(
            "arms.html",
            plots=plots,
            arms=arms,
            metrics=[notation.metric(name) for name in names],
            seeds=seeds,
            outcomes=_outcomes(items, comparisons[0]) if comparisons else None,
        ),
    )


def _outcomes(items: pd.DataFrame, comparison: Comparison) -> dict[str, Any] | None:
    """How often both, one, or neither of the two arms got an item right, over items × seeds."""
    if "correct" not in items:
        return None
    arm, control = (
        items[(items["arm"] == comparison[side]) & items["correct"].notna()]
        for side in ("arm", "control")
    )
    if arm.empty or control.empty:
        return None
    # A control that does not depend on the seed was evaluated once and stands beside every seed.
    keys = ["row_id"] if control["seed"].nunique() < arm["seed"].nunique() else ["seed", "row_id"]
    pairs = arm.merge(control, on=keys, suffixes=("", "_control"))
    if pairs.empty:
        return None
    right, control_right = pairs["correct"].astype(bool), pairs["correct_control"].astype(bool)
    return {
        "arm": comparison["arm"],
        "control": comparison["control"],
        "both": int((right & control_right).sum()),
        "arm_only": int((right & ~control_right).sum()),
        "control_only": int((~right & control_right).sum()),
        "neither": int((~right & ~control_right).sum()),
        "pairs": len(pairs),
    }


def training_section(curves: pd.DataFrame, colours: Mapping[str, str]) -> Section:
    """Training loss of each arm and seed. curves: columns `arm, seed, step, loss`."""
    last = curves.sort_values("step").groupby(["arm", "seed"], sort=False)["loss"].last()
    told = "; ".join(
        f"{arm} ends at {notation.significant(float(own.mean()))}"
        for arm, own in last.groupby(level="arm", sort=False)
    )
    return Section(
        "Training",
        "Whether every arm trained as long and as smoothly as the others. A lower curve says that "
        "the chosen rows were easier to fit, not that they taught more.",
        figure(
            charts.loss_curves(curves, colours),
            alt_text=f"Training loss against step, one panel per arm, one line per seed. {told}.",
            caption="Training loss on the arm's own rows, a line per seed; the grey lines are the "
            "other arms' means.",
        ),
    )
