"""The sections of a sweep's report: the winner, the leaderboard, stability, factors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from whence.report import notation
from whence.report import sweep_charts as charts
from whence.report.figure import figure
from whence.report.page import Section, render

if TYPE_CHECKING:
    import pandas as pd

Group = Mapping[str, Any]
"""One of `groups` in `summary.json`."""

SHOWN_CELLS = 900
SHOWN_BRIEFS = 12
SHOWN_VALUES = 60


def masthead(
    title: str, sentence: str, briefs: Sequence[str], group: Group, sections: Sequence[Section]
) -> Markup:
    """The head of the page: the winner in one sentence and the numbers behind it; `briefs`, a
    sentence a question, in their place where there are several."""
    return render(
        "sweep_masthead.html",
        title=title,
        sentence=sentence,
        briefs=briefs[:SHOWN_BRIEFS],
        more=len(briefs[SHOWN_BRIEFS:]),
        group=group,
        winner=group["winner"],
        metric=metric_of(group),
        sections=sections,
    )


def metric_of(group: Group) -> notation.Metric:
    """How the ranked metric is written, better in the direction that the sweep ranks by."""
    return replace(notation.metric(group["metric"]), lower_is_better=not group["higher_is_better"])


def matrix_section(matrix: Mapping[str, Any]) -> Section:
    """Each file's own best beside the others', on the problems that all have."""
    metrics = [notation.metric(row["metric"]) for row in matrix["settings"]]
    return Section(
        "Settings side by side",
        "Every setting chose among its own; settings are not ranked, for their texts are others.",
        render(
            "sweep_matrix.html",
            matrix=matrix,
            rows=list(zip(matrix["settings"], metrics, strict=True)),
        ),
    )


def confirmation_section(groups: Sequence[Group]) -> Section:
    """The first ten of each group where they were chosen and where they were not."""
    parts = []
    for group in groups:
        metric = metric_of(group)
        told = "; ".join(
            f"{line['name']}: chosen at {metric.value(line['selection'])}, then "
            f"{metric.value(line['confirmation'])} {_interval(metric, line)}"
            for line in group["top"]
        )
        sides = group["sides"]
        plot = figure(
            charts.chosen_and_confirmed(group["top"], metric),
            alt_text=f"{metric.label} of the best configurations. {told}.",
            caption=f"Hollow: {metric.label} on {sides['chosen_on']}, which ranked them. Filled: "
            f"on {sides['confirmed_on']}, with 95 % intervals. The best of many tend to fall "
            "back, the first most.",
        )
        parts.append({"group": group, "plot": plot, "metric": metric})
    return Section(
        "Chosen and confirmed",
        "The best of many is the best partly by luck. So the winner is chosen on some data and "
        "estimated on others; beside it stands what choosing alone would be expected to lose.",
        render("sweep_confirmed.html", parts=parts, several=len(groups) > 1),
    )


def leaderboard_section(groups: Sequence[Group], noun: str) -> Section:
    """The first ten of each group and the baselines of the run that won."""
    parts = [{"group": group, "metric": metric_of(group)} for group in groups]
    return Section(
        "Leaderboard",
        f"Means over {noun}s of the mean over seeds, with intervals that resample {noun}s, and "
        "seeds where they differ. Ranked by what chose alone. Settings: how many have these very "
        "numbers. All rows are in leaderboard.csv.",
        render("sweep_leaderboard.html", parts=parts, noun=noun, several=len(groups) > 1),
    )


def comparisons_of_groups(parts: Sequence[tuple[str, Section]]) -> Section:
    """A group's name and its comparisons, one below the other."""
    first = parts[0][1]
    told = " Those of the best rows are here, all are in deltas.csv, and q counts all of them."
    html = render("sweep_comparisons.html", parts=parts, several=len(parts) > 1)
    return Section(first.title, first.lead + told, html)


def stability_section(groups: Sequence[Group]) -> Section:
    """Whether other seeds, or other units, would have ranked the same."""
    parts = [
        {"group": group, "agreement": group["agreement"], "metric": metric_of(group)}
        for group in groups
    ]
    return Section(
        "Stability",
        "Would another seed, or other data, have ranked the configurations alike? 1 is the same "
        "order, 0 none in common.",
        render("sweep_stability.html", parts=parts, several=len(groups) > 1),
    )


def factors_section(
    groups: Sequence[Group], grids: Sequence[tuple[str, str, pd.DataFrame] | None]
) -> Section:
    """Means by factor value, and by two factors at once."""
    parts = []
    for group, grid in zip(groups, grids, strict=True):
        metric, plot = metric_of(group), None
        if grid is not None and len(grid[2]) <= SHOWN_CELLS:
            x, y, cells = grid
            best = cells.loc[cells["value"].idxmax() if group["higher_is_better"] else (
                cells["value"].idxmin())]  # fmt: skip
            plot = figure(
                charts.grid_of_means(cells, x, y, metric),
                alt_text=f"Mean {metric.label} by {x} and {y}; best where {x} is {best['x']} and "
                f"{y} is {best['y']}, {metric.value(float(best['value']))}.",
                caption=f"Mean {metric.label} of each setting's best series, by the two factors "
                "that matter most. Darker is better.",
            )
        rows = group["factors"][:SHOWN_VALUES]
        more = len(group["factors"]) - len(rows)
        parts.append({"group": group, "plot": plot, "metric": metric, "rows": rows, "more": more})
    return Section(
        "Factors",
        "What each factor does on average over all others. Means of what was run: where factors "
        "were not crossed fully, they are not effects.",
        render("sweep_factors.html", parts=parts, several=len(groups) > 1),
    )


def _interval(metric: notation.Metric, line: Mapping[str, Any]) -> str:
    ends = line["confirmation_interval"]
    if ends is None:
        return "without interval"
    return f"[{metric.value(ends[0])}, {metric.value(ends[1])}]"
