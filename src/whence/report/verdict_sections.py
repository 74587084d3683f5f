"""What came out: the verdict at the head of the page, and every comparison behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from whence.report import charts, notation
from whence.report.figure import SERIES, figure
from whence.report.page import Section, render

Comparison = Mapping[str, Any]
"""One comparison with the keys of `verdict.json`; `higher_is_better` too where the metric's name
does not tell."""


@dataclass(frozen=True)
class Standing:
    """What a comparison amounts to: as a badge, as a table's cell, and the tone of its colour."""

    badge: str
    cell: str
    tone: str


def standing(comparison: Comparison, alpha: float = 0.05) -> Standing:
    """Whether a comparison settles anything.

    It does when it has two seeds or more (or none, because no seed changes either arm), an interval
    clear of zero, and q ≤ alpha (p where no q was computed). Lower is better for losses.
    """
    if comparison["seeds"] == 1:
        return Standing("one seed: not a finding", "one seed", "open")
    if comparison["interval"] is None:
        return Standing("no interval: not settled", "no interval", "open")
    low, high = comparison["interval"]
    q = comparison["q"] if notation.known(comparison["q"]) else comparison["p"]
    if low <= 0 <= high or (notation.known(q) and q > alpha):
        return Standing("not settled", "not settled", "open")
    wanted = -1 if _metric(comparison).lower_is_better else 1
    if comparison["effect"] * wanted > 0:
        return Standing("supported", "better", "for")
    return Standing("the opposite is supported", "worse", "against")


def arm_colours(comparisons: Sequence[Comparison], arms: Sequence[str]) -> dict[str, str]:
    """A colour per arm, the same in every chart: the first comparison's two arms come first."""
    leading = [comparisons[0]["arm"], comparisons[0]["control"]] if comparisons else []
    ordered = list(dict.fromkeys([*leading, *arms]))
    return {arm: SERIES[position % len(SERIES)] for position, arm in enumerate(ordered)}


def masthead(
    title: str, question: str, comparisons: Sequence[Comparison], sections: Sequence[Section]
) -> Markup:
    """The head of the page: question, badge, headline sentence, and the numbers behind it.

    The first comparison is the one that the experiment was made for.
    """
    first = comparisons[0] if comparisons else None
    return render(
        "masthead.html",
        title=title,
        question=question,
        first=first,
        standing=standing(first) if first else None,
        metric=notation.metric(first["metric"]) if first else None,
        comparisons=len(comparisons),
        sections=sections,
    )


def comparisons_section(comparisons: Sequence[Comparison]) -> Section:
    """A forest plot per metric and the table of all comparisons, every key of them.

    A comparison may have a `label`: what the plot calls it, instead of arm − control.
    """
    names = list(dict.fromkeys(c["metric"] for c in comparisons))
    plots = [_forest([c for c in comparisons if c["metric"] == name]) for name in names]
    rows = [
        {
            "comparison": c,
            "standing": standing(c),
            "metric": _metric(c),
        }
        for c in comparisons
    ]
    return Section(
        "Comparisons",
        "Every arm against its control on the same items. Differences are paired; intervals come "
        "from resampling whole clusters; q corrects p for the number of comparisons in the table.",
        render("comparisons.html", plots=plots, rows=rows),
    )


def _metric(comparison: Comparison) -> notation.Metric:
    metric = notation.metric(comparison["metric"])
    higher = comparison.get("higher_is_better", not metric.lower_is_better)
    return replace(metric, lower_is_better=not higher)


def _forest(comparisons: Sequence[Comparison]) -> Markup:
    metric = _metric(comparisons[0])
    differences = [
        charts.Difference(
            label=c.get("label", f"{c['arm']} − {c['control']}"),
            effect=c["effect"],
            interval=tuple(c["interval"]) if c["interval"] is not None else None,
            minimum_detectable_effect=c["minimum_detectable_effect"],
            settled=standing(c).tone != "open",
        )
        for c in comparisons
    ]
    told = "; ".join(
        f"{d.label}: {metric.difference(d.effect, unit=True)}, interval "
        f"{metric.interval(d.interval) if d.interval else 'not available'}"
        for d in differences
    )
    direction = "left" if metric.lower_is_better else "right"
    return figure(
        charts.forest(differences, metric),
        alt_text=f"Forest plot of paired differences in {metric.label}. {told}.",
        caption=f"Paired differences in {metric.label} with their intervals; better is to the "
        f"{direction}. Filled dots are settled, hollow ones are not. The pale band is what this "
        "design could not have seen: ± the smallest effect detectable at 80 % power.",
    )
