"""The charts that reports are made of, each from plain data to an Altair chart.

What a mark stands for is written beside it; colour repeats what position and label already say.
Numbers are drawn in the unit they are written in (accuracy in percent, its differences in points).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import altair as alt
import numpy as np
import pandas as pd

from whence.report.figure import GHOST, INK, MUTED, PAGE_WIDTH, RULE, SERIES, text_room
from whence.report.notation import Metric

_MAX_POINTS = 160  # per line: more cannot be told apart at the width of a page


@dataclass(frozen=True)
class Difference:
    """One row of a forest plot: an effect, its interval, and the smallest effect worth reading."""

    label: str
    effect: float
    interval: tuple[float, float] | None
    minimum_detectable_effect: float | None
    settled: bool


def forest(differences: Sequence[Difference], metric: Metric) -> alt.LayerChart:
    """Effects with their intervals around zero, in the order given.

    A filled dot has an interval clear of zero; a hollow one has not. The pale band is what the
    design could not have seen (± the minimum detectable effect at 80 % power).
    """
    records = []
    for d in differences:
        low, high = d.interval or (d.effect, d.effect)
        blind = d.minimum_detectable_effect or 0.0
        records.append(
            {
                "label": d.label,
                "effect": d.effect * metric.scale,
                "low": low * metric.scale,
                "high": high * metric.scale,
                "unseen_low": -blind * metric.scale,
                "unseen_high": blind * metric.scale,
                "settled": d.settled,
                "written": f"{metric.difference(d.effect)} "
                f"{metric.interval(d.interval) if d.interval else '(no interval)'}",
            }
        )
    unit = f", {metric.unit}" if metric.unit else ""
    data = pd.DataFrame(records)
    labels = text_room(d.label for d in differences)
    written = text_room(str(record["written"]) for record in records)
    y = _row_names("label", labels)
    x = alt.X(
        "effect:Q",
        title=f"difference in {metric.label}{unit}",
        scale=alt.Scale(zero=True, nice=True, padding=12),
        axis=alt.Axis(tickCount=5, labelExpr="datum.value ? format(datum.value, '+.3~r') : '0'"),
    )
    base = alt.Chart(data).encode(y=y)
    colour = alt.condition("datum.settled", alt.value(SERIES[0]), alt.value(MUTED))
    return alt.layer(
        base.mark_bar(height=16, color=GHOST).encode(x="unseen_low:Q", x2="unseen_high:Q"),
        alt.Chart(pd.DataFrame([{"zero": 0}]))
        .mark_rule(color=INK, strokeWidth=1)
        .encode(x="zero:Q"),
        base.mark_rule(strokeWidth=2).encode(x="low:Q", x2="high:Q", color=colour),
        base.mark_point(size=60, strokeWidth=2, opacity=1).encode(
            x=x,
            stroke=colour,
            fill=alt.condition("datum.settled", alt.value(SERIES[0]), alt.value("var(--paper)")),
        ),
        base.mark_text(align="left", dx=8, color=INK).encode(
            x=alt.value("width"), text="written:N"
        ),
    ).properties(width=PAGE_WIDTH - labels - written, height=alt.Step(30), padding=_right(written))


def levels(values: pd.DataFrame, metric: Metric, colours: Mapping[str, str]) -> alt.LayerChart:
    """One row per group: a dot per seed and a bar mark at their mean.

    values: columns `group`, `seed`, `value`, in the order that the rows should have.
    """
    order = list(dict.fromkeys(values["group"]))
    rows = values.assign(value=values["value"] * metric.scale)
    means = rows.groupby("group", sort=False)["value"].mean().reindex(order)
    data = pd.DataFrame(
        [{"group": g, "value": v} for g, v in zip(rows["group"], rows["value"], strict=True)]
    )
    mean_data = pd.DataFrame(
        [
            {"group": g, "value": float(v), "written": metric.value(float(v) / metric.scale)}
            for g, v in means.items()
        ]
    )
    unit = metric.value_unit.strip() or metric.unit
    names = text_room(order)
    y = _row_names("group", names)
    x = alt.X(
        "value:Q",
        title=f"{metric.label}{f', {unit}' if unit else ''}",
        scale=alt.Scale(zero=False, nice=True, padding=12),
        axis=alt.Axis(tickCount=6, grid=True, gridColor=RULE, gridDash=[1, 3]),
    )
    colour = alt.Color(
        "group:N", legend=None, scale=alt.Scale(domain=order, range=[colours[g] for g in order])
    )
    return alt.layer(
        alt.Chart(data).mark_circle(size=46, opacity=0.55).encode(x=x, y=y, color=colour),
        alt.Chart(mean_data).mark_tick(thickness=3, size=20).encode(x=x, y=y, color=colour),
        alt.Chart(mean_data)
        .mark_text(align="left", dx=8, color=INK)
        .encode(x=alt.value("width"), y=y, text="written:N"),
    ).properties(width=PAGE_WIDTH - names - 90, height=alt.Step(30), padding=_right(60))


def loss_curves(curves: pd.DataFrame, colours: Mapping[str, str]) -> alt.ConcatChart:
    """A small panel per arm with a line per seed; the other arms' means stand behind in grey.

    curves: columns `arm`, `seed`, `step`, `loss`.
    """
    thinned = _thin(curves)
    arms = list(dict.fromkeys(thinned["arm"]))
    means = thinned.groupby(["arm", "step"], sort=False, as_index=False)["loss"].mean()
    x_scale = alt.Scale(
        domain=[float(thinned["step"].min()), float(thinned["step"].max())], nice=False
    )
    y_scale = alt.Scale(domain=_padded(thinned["loss"]), nice=True, zero=False)
    columns = min(3, len(arms))
    panels = []
    for position, arm in enumerate(arms):
        lowest, leftmost = position + columns >= len(arms), position % columns == 0
        axis = alt.Axis(tickCount=4)
        x = alt.X("step:Q", scale=x_scale, axis=axis, title="training step" if lowest else None)
        y = alt.Y("loss:Q", scale=y_scale, axis=axis, title="training loss" if leftmost else None)
        others, own = means[means["arm"] != arm], thinned[thinned["arm"] == arm]
        panels.append(
            alt.layer(
                alt.Chart(others)
                .mark_line(color=MUTED, strokeWidth=1, opacity=0.4)
                .encode(x=x, y=y, detail="arm:N"),
                alt.Chart(own[["seed", "step", "loss"]])
                .mark_line(color=colours[arm], strokeWidth=1.2, opacity=0.75)
                .encode(x=x, y=y, detail="seed:N"),
            ).properties(
                width=(PAGE_WIDTH - 52 * columns) // max(columns, 2), height=130, title=arm
            )
        )
    return alt.concat(*panels, columns=columns, spacing={"row": 16, "column": 20})


def score_distribution(
    scores: pd.Series[float], kinds: pd.Series[str] | None, colours: Mapping[str, str]
) -> alt.VConcatChart:
    """A histogram per kind over the same bins, each scaled to its own height, median marked.

    kinds: aligned with scores; None draws one histogram of all rows.
    """
    values = scores.to_numpy(dtype=float)
    names = ["all rows"] if kinds is None else list(colours)
    of_kind = {n: values if kinds is None else values[kinds.to_numpy() == n] for n in names}
    names_room = text_room(f"{name} ({len(own):,})" for name, own in of_kind.items())
    edges = np.histogram_bin_edges(values, bins=48)
    x_scale = alt.Scale(domain=[float(edges[0]), float(edges[-1])], nice=False)
    panels = []
    for position, (name, own) in enumerate(of_kind.items()):
        last = position == len(of_kind) - 1
        heights = np.histogram(own, bins=edges)[0] / max(1, len(own))
        steps = [
            {"x": float(edge), "share": float(height)}
            for edge, height in zip(edges, [*heights, heights[-1]], strict=True)
        ]
        axis = alt.Axis(tickCount=6, format=".3~r", labels=last, ticks=last)
        x = alt.X("x:Q", scale=x_scale, axis=axis, title="attribution score" if last else None)
        y = alt.Y("share:Q", axis=None)
        median = pd.DataFrame([{"x": float(np.median(own)) if len(own) else None}])
        panels.append(
            alt.layer(
                alt.Chart(pd.DataFrame(steps))
                .mark_area(
                    interpolate="step-after", color=colours.get(name, SERIES[0]), opacity=0.75
                )
                .encode(x=x, y=y),
                alt.Chart(median).mark_rule(color=INK, strokeWidth=1.5).encode(x=x),
                alt.Chart(pd.DataFrame([{"label": f"{name} ({len(own):,})"}]))
                .mark_text(align="right", dx=-14, baseline="middle", color=INK)
                .encode(x=alt.value(0), y=alt.value(42), text="label:N"),
            ).properties(width=PAGE_WIDTH - names_room, height=52)
        )
    left = 4 + 0.25 * names_room
    return alt.vconcat(*panels, spacing=4).properties(
        padding={"left": left, "top": 4, "right": 8, "bottom": 4}
    )


def cumulative_found(found: np.ndarray, marks: Mapping[str, int]) -> alt.LayerChart:
    """How many of the planted rows lie within the first r ranks, for every r.

    found: bool, one entry per row in rank order. marks: label → rank at which a line is drawn.
    The straight line is what a random order would find, the thin one what a perfect order would.
    """
    rows, planted = len(found), int(found.sum())
    share = np.concatenate([[0], np.cumsum(found)]) / planted * 100
    at = np.unique(np.linspace(0, rows, min(rows, 2 * _MAX_POINTS) + 1).astype(int))
    x = alt.X(
        "rank:Q",
        title="rows taken from the top of the ranking",
        scale=alt.Scale(domain=[0, rows], nice=False),
        axis=alt.Axis(tickCount=6),
    )
    y = alt.Y(
        "share:Q",
        title="planted useful rows found, %",
        scale=alt.Scale(domain=[0, 100]),
        axis=alt.Axis(values=[0, 25, 50, 75, 100], grid=True, gridColor=RULE, gridDash=[1, 3]),
    )

    def line(points: Sequence[tuple[float, float]], **style: object) -> alt.Chart:
        data = pd.DataFrame([{"rank": float(r), "share": float(s)} for r, s in points])
        return alt.Chart(data).mark_line(**style).encode(x=x, y=y)

    def label(rank: float, y_share: float, text: str, **style: object) -> alt.Chart:
        data = pd.DataFrame([{"rank": float(rank), "share": float(y_share), "text": text}])
        return alt.Chart(data).mark_text(align="left", **style).encode(x=x, y=y, text="text:N")

    layers = [
        line([(0, 0), (planted, 100), (rows, 100)], color=MUTED, strokeWidth=1.2, opacity=0.5),
        line([(0, 0), (rows, 100)], color=MUTED, strokeWidth=1.2, strokeDash=[4, 4]),
        line([(r, share[r]) for r in at], color=SERIES[0], strokeWidth=2.5),
        label(planted, 100, "perfect", dx=6, dy=-9, color=MUTED),
        label(rows * 0.62, 62, "random order", dx=10, dy=12, color=MUTED),
    ]
    for name, rank in marks.items():
        data = pd.DataFrame([{"rank": rank, "share": float(share[rank])}])
        text = f"{name}: {share[rank]:.0f} % found"
        layers += [
            alt.Chart(data).mark_circle(color=SERIES[0], size=70, opacity=1).encode(x=x, y=y),
            label(rank, share[rank], text, dx=10, dy=12, color=INK, fontWeight="bold"),
        ]
    return alt.layer(*layers).properties(width=PAGE_WIDTH - 90, height=250)


def _row_names(column: str, room: float) -> alt.Y:
    """A row per value of the column, in the data's order, its name in ink left of the plot."""
    axis = alt.Axis(ticks=False, labelColor=INK, labelPadding=10, labelLimit=room, minExtent=room)
    return alt.Y(f"{column}:N", sort=None, title=None, axis=axis)


def _right(room: float) -> alt.Padding:
    """Padding that keeps what is written right of a plot on the drawing, however wide the font."""
    return {"left": 4, "top": 4, "right": 0.25 * room, "bottom": 4}


def _thin(curves: pd.DataFrame) -> pd.DataFrame:
    """Neighbouring steps averaged until a line has at most `_MAX_POINTS` points."""
    steps = np.sort(curves["step"].unique())
    if len(steps) <= _MAX_POINTS:
        return curves
    bucket_of = dict(zip(steps, np.arange(len(steps)) * _MAX_POINTS // len(steps), strict=True))
    buckets = curves.assign(bucket=curves["step"].map(bucket_of))
    return buckets.groupby(["arm", "seed", "bucket"], sort=False, as_index=False)[
        ["step", "loss"]
    ].mean()


def _padded(values: pd.Series[float]) -> list[float]:
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) or 0.1
    return [low - margin if low < 0 or low > margin else 0.0, high + margin]
