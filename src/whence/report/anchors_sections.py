"""The sections of a report on probes: how well, against what, where, how honestly, how far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

from whence.report import charts, notation
from whence.report.anchors_charts import calibration, position_bins, probe_levels
from whence.report.anchors_headline import QUESTION, Headline
from whence.report.anchors_told import Told
from whence.report.figure import figure
from whence.report.page import Section, render
from whence.report.verdict_sections import standing

DRAWN = 3
"""Metrics with a figure; the others stand in the table."""
PER_FIGURE = 6
"""Probes that can be told apart in one figure of lines."""

_NO_WHISKERS = "whence anchors cv gives intervals over problems"
_MEANS = " A difference is of means over problems; the PR-AUC above pools the rows of all."


def masthead(title: str, answer: Headline, sections: Sequence[Section]) -> Markup:
    """Question, badge, verdict, and the numbers behind it."""
    return render(
        "anchors_verdict.html", title=title, question=QUESTION, answer=answer, sections=sections
    )


def probes_section(told: Told) -> Section:
    """A figure per main metric, and the table of all."""
    drawn = [name for name in told.metrics if _drawn(told, name)][:DRAWN]
    order = told.ranked()
    rows = [
        {
            "probe": probe,
            "baseline": probe in told.baselines,
            "levels": [told.levels[probe].get(name) for name in told.metrics],
            "shares": _share(told, probe),
        }
        for probe in order
    ]
    reasons = {
        f"{notation.metric(name).label}: {level.reason}"
        for own in told.levels.values()
        for name, level in own.items()
        if level.reason
    }
    return Section(
        "Probes",
        f"On {told.on}. Hollow: baselines that read no activations, there to be beaten.",
        render(
            "anchors_probes.html",
            plots=[_levels_figure(told, name) for name in drawn],
            metrics=[notation.metric(name) for name in told.metrics],
            rows=rows,
            with_shares=any(row["shares"] for row in rows),
            chance=[told.chance.get(name) for name in told.metrics],
            ceiling=[told.ceiling.get(name) for name in told.metrics],
            on=told.on,
            reasons=sorted(reasons),
        ),
    )


def baselines_section(told: Told) -> Section:
    """A forest per baseline on the primary metric, and the table of all comparisons."""
    names = list(dict.fromkeys(c["metric"] for c in told.comparisons))
    drawn = next((n for n in names if n == told.primary.removesuffix("_mean")), names[0])
    own = [c for c in told.comparisons if c["metric"] == drawn]
    controls = list(dict.fromkeys(c["control"] for c in own))
    plots = [_forest([c for c in own if c["control"] == control]) for control in controls]
    shown = [plot for plot in plots if plot is not None]
    rows = [
        {"comparison": c, "standing": standing(c), "metric": notation.metric(c["metric"])}
        for c in told.comparisons
    ]
    return Section(
        "Against the baselines",
        "Every probe against every baseline on the same problems. Differences are paired; "
        "intervals come from resampling problems; q corrects p for all comparisons of the table."
        + (_MEANS if told.kind == "train" else ""),
        render("comparisons.html", plots=shown, rows=rows),
    )


def bins_section(told: Told) -> Section | None:
    """PR-AUC by the part of the trace; None where it was not measured."""
    found = told.raw.get("test") or {} if told.kind == "train" else {}
    key = next((k for k in ("pr_auc", "pr_auc_trapezoid") if _has(found, k)), None)
    if key is None:
        return None
    names = [probe for probe in told.ranked() if found[probe].get("position_bins")]
    rows = [
        {
            "probe": probe,
            "left": each["left"],
            "right": each["right"],
            "middle": (each["left"] + each["right"]) / 2,
            "value": each.get(key),
            "prevalence": each["prevalence"],
            "count": each["count"],
        }
        for probe in names
        for each in found[probe]["position_bins"]
    ]
    bins = pd.DataFrame(rows)
    bins[["value", "prevalence"]] = bins[["value", "prevalence"]].astype(float)
    metric = notation.metric(key)
    some = names[:PER_FIGURE]
    left_out = f" The table has all {len(names)} probes." if len(names) > len(some) else ""
    drawn = (
        figure(
            position_bins(bins, some, metric.label),
            alt_text=f"{metric.label} of {', '.join(some)} in "
            f"{bins['middle'].nunique()} parts of the trace.",
            caption=f"{metric.label} within each part of the trace. Grey: the share of anchors "
            "there, which is what chance reaches. A part without anchors, or of them alone, has "
            f"no value.{left_out}",
        )
        if bins["value"].notna().any()
        else None
    )
    parts = bins[bins["probe"] == names[0]]
    return Section(
        "Where in the trace",
        "A probe that only knows how far along a sentence stands is no better than chance within a "
        "narrow part of the trace.",
        render(
            "anchors_bins.html",
            plot=drawn,
            metric=metric,
            parts=parts.to_dict("records"),
            probes=[(name, _column(bins[bins["probe"] == name]["value"])) for name in names],
        ),
    )


def calibration_section(told: Told) -> Section | None:
    """Whether a score is the probability it looks like; None where it was not measured."""
    found = told.raw.get("test") or {} if told.kind == "train" else {}
    rows = [
        {
            "probe": probe,
            "score": each["mean_score"],
            "rate": each["prevalence"],
            "count": each["count"],
        }
        for probe in told.ranked()
        for each in ((found.get(probe) or {}).get("calibration") or {}).get("bins") or []
        if each.get("count") and each.get("mean_score") is not None
    ]
    if not rows:
        return None
    names = list(dict.fromkeys(row["probe"] for row in rows))
    return Section(
        "Calibration",
        "Balanced class weights lift scores far above the share of anchors: a threshold must be "
        "tuned, a score is not a probability.",
        figure(
            calibration(pd.DataFrame(rows), names),
            alt_text=f"Share of anchors against score for {', '.join(names)}.",
            caption="Sentences in bins of their score; the area of a dot is their number. On the "
            "dashed line scores are probabilities.",
        ),
    )


def trust_section(told: Told) -> Section | None:
    """Tripwires, the noise ceiling, residuals, and the reasons of what is missing."""
    wires = told.raw.get("tripwires") or {}
    shown = {
        name: wires[name]
        for name in ("shuffled_labels", "memorisation")
        if isinstance(wires.get(name), Mapping)
    }
    ceiling = told.raw.get("noise_ceiling") or {}
    residual = told.raw.get("residual") or {}
    reasons = told.raw.get("reasons") or {}
    if not (shown or ceiling or residual or reasons):
        return None
    levels = residual.get("test") or residual.get("cv") or {}
    return Section(
        "Can it be trusted",
        "What would have exposed a leak, a fit that cannot fit, or labels too noisy to predict.",
        render(
            "anchors_trust.html",
            wires=shown,
            ceiling=ceiling,
            ceilings=[(notation.metric(n), v, told.chance.get(n)) for n, v in told.ceiling.items()],
            residual_kind=residual.get("kind"),
            residuals=levels,
            residual_metrics=[
                notation.metric(name)
                for name in dict.fromkeys(k for own in levels.values() for k in own)
            ],
            reasons=reasons,
        ),
    )


def _levels_figure(told: Told, name: str) -> Markup:
    metric = notation.metric(name)
    rows = []
    for probe in told.ranked(name):
        level = told.levels[probe].get(name)
        if level is None or level.value is None:
            continue
        bounds = level.interval
        written = metric.value(level.value)
        if bounds:
            written += f" [{metric.value(bounds[0])}, {metric.value(bounds[1])}]"
        rows.append(
            {
                "probe": probe,
                "value": level.value * metric.scale,
                "low": bounds[0] * metric.scale if bounds else None,
                "high": bounds[1] * metric.scale if bounds else None,
                "baseline": probe in told.baselines,
                "written": written,
            }
        )
    frame = pd.DataFrame(rows)
    frame[["low", "high"]] = frame[["low", "high"]].astype(float)
    marks = {
        label: value
        for label, values in (("chance", told.chance), ("ceiling", told.ceiling))
        if (value := values.get(name)) is not None
    }
    reasons = [level.reason for own in told.levels.values() if (level := own.get(name))]
    why = next((reason for reason in reasons if reason), _NO_WHISKERS)
    whiskers = (
        "Whiskers: 95 % intervals over problems."
        if frame["low"].notna().any()
        else f"No whiskers: {why}."
    )
    said = "; ".join(f"{row['probe']} {row['written']}" for row in rows)
    problems = [
        {"probe": row["probe"], "value": value * metric.scale}
        for row in rows
        for value in told.levels[str(row["probe"])][name].per_problem.values()
    ]
    dots = " Pale dots: single problems." if problems else ""
    return figure(
        probe_levels(frame, metric.label, marks, pd.DataFrame(problems) if problems else None),
        alt_text=f"{metric.label} of each probe: {said}.",
        caption=f"{metric.label[:1].upper()}{metric.label[1:]}. {whiskers}{dots}",
    )


def _forest(comparisons: Sequence[Mapping[str, Any]]) -> Markup | None:
    """The probes against one baseline; None where no comparison has an interval."""
    if all(c["interval"] is None for c in comparisons):
        return None
    metric, control = notation.metric(comparisons[0]["metric"]), comparisons[0]["control"]
    differences = [
        charts.Difference(
            label=c["arm"],
            effect=c["effect"],
            interval=tuple(c["interval"]) if c["interval"] is not None else None,
            minimum_detectable_effect=c["minimum_detectable_effect"],
            settled=standing(c).tone != "open",
        )
        for c in comparisons
    ]
    told = "; ".join(
        f"{d.label} {metric.difference(d.effect)} "
        f"{metric.interval(d.interval) if d.interval else '(no interval)'}"
        for d in differences
    )
    direction = "left" if metric.lower_is_better else "right"
    return figure(
        charts.forest(differences, metric),
        alt_text=f"Paired differences in {metric.label} from {control}: {told}.",
        caption=f"{metric.label}, each minus {control}. Better is to the {direction}; filled dots "
        "are settled. The pale band is what this design could not have seen.",
    )


def _drawn(told: Told, name: str) -> bool:
    if name not in ("pr_auc", "spearman_mean", "spearman") and not name.endswith("_recall"):
        return False
    return any(own[name].value is not None for own in told.levels.values() if name in own)


def _share(told: Told, probe: str) -> str:
    """Share of the noise ceiling on the primary metric, beyond chance; "" where unknown."""
    own = (told.raw.get("cv" if told.kind == "cv" else "test") or {}).get(probe) or {}
    if told.kind == "cv":
        share = (own.get(told.primary) or {}).get("beyond_chance")
    else:
        share = ((own.get("share_of_ceiling") or {}).get(told.primary) or {}).get("beyond_chance")
    return f"{100 * share:.0f} %".replace("-", "−") if notation.known(share) else ""


def _has(found: Mapping[str, Any], key: str) -> bool:
    return any(
        key in each for own in found.values() for each in (own or {}).get("position_bins") or []
    )


def _column(values: pd.Series[float]) -> list[float | None]:
    return [None if value != value else float(value) for value in values]
