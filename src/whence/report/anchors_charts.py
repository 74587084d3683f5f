"""The charts of probes: how well each does, where in a trace, how honestly, and what it defers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

from whence.report.figure import GHOST, INK, MUTED, PAGE_WIDTH, RULE, SERIES, text_room

_NARROWEST = 560  # a page draws nothing smaller than that: it would scale it up
_GRID = {"grid": True, "gridColor": RULE, "gridDash": [1, 3]}


def probe_levels(
    rows: pd.DataFrame,
    title: str,
    marks: Mapping[str, float] | None = None,
    problems: pd.DataFrame | None = None,
) -> alt.LayerChart:
    """One row a probe: its value as a dot, its interval as a whisker; reference lines named above.

    rows: `probe, value, low, high, baseline, written` in the order to show, best first or as given;
    intervals may be missing. Baselines are hollow. marks: name → value of a vertical line, such as
    chance and the noise ceiling. problems: `probe, value`, a pale dot each.
    """
    marks = marks or {}
    names, written = text_room(rows["probe"]), text_room(rows["written"])
    axis = alt.Axis(ticks=False, labelColor=INK, labelPadding=10, labelLimit=names, minExtent=names)
    y = alt.Y("probe:N", sort=rows["probe"].tolist(), title=None, axis=axis)
    x = alt.X(
        "value:Q",
        title=title,
        scale=alt.Scale(zero=False, nice=True, padding=12),
        axis=alt.Axis(tickCount=6, **_GRID),
    )
    plain = rows[["probe", "value", "baseline", "written"]]
    known = rows.dropna(subset=["low", "high"])[["probe", "low", "high", "baseline"]]
    colour = alt.condition("datum.baseline", alt.value(MUTED), alt.value(SERIES[0]))
    base = alt.Chart(plain).encode(y=y)
    layers: list[alt.Chart] = []
    for position, (name, value) in enumerate(sorted(marks.items(), key=lambda each: each[1])):
        data = pd.DataFrame([{"value": float(value), "name": f"{name} {value:.3f}"}])
        rule = alt.Chart(data).encode(x=x)
        layers += [
            rule.mark_rule(color=INK, strokeWidth=1, strokeDash=[4, 3]),
            rule.mark_text(
                align="left" if position else "right",
                dx=4 if position else -4,
                dy=-8,
                baseline="bottom",
                color=MUTED,
                fontSize=11,
            ).encode(y=alt.value(0), text="name:N"),
        ]
    if problems is not None and len(problems):
        layers.append(
            alt.Chart(problems[["probe", "value"]])
            .mark_circle(color=MUTED, size=14, opacity=0.45)
            .encode(x=x, y=y)
        )
    layers += [
        alt.Chart(known).mark_rule(strokeWidth=2).encode(y=y, x="low:Q", x2="high:Q", color=colour),
        base.mark_point(size=60, strokeWidth=2, opacity=1).encode(
            x=x,
            stroke=colour,
            fill=alt.condition("datum.baseline", alt.value("var(--paper)"), alt.value(SERIES[0])),
        ),
        base.mark_text(align="left", dx=8, color=INK).encode(
            x=alt.value("width"), text="written:N"
        ),
    ]
    return alt.layer(*layers).properties(
        width=PAGE_WIDTH - names - written, height=alt.Step(26), padding=_right(0.25 * written)
    )


def deferral_curve(
    lines: pd.DataFrame, levels: Mapping[str, float], chosen: tuple[float, float] | None
) -> alt.LayerChart:
    """Share of wrong labels among those accepted, against the share deferred, both in percent.

    lines: `line, deferral, error, low, high`, in order of deferral within a line; the first line is
    the probe's. levels: name → an error that no deferral changes. chosen: the plan's own point.
    """
    names = list(dict.fromkeys(lines["line"]))
    room = text_room([*names, *levels])
    ends = {name: float(lines.loc[lines["line"] == name, "error"].iloc[-1]) for name in names}
    highest = max(
        lines[["error", "high"]].max(axis=None), *levels.values(), chosen[1] if chosen else 0.0
    )
    top = float(highest) * 1.08 or 1.0
    x = alt.X(
        "deferral:Q",
        title="sentences deferred, % of test",
        scale=alt.Scale(domain=[0, 100]),
        axis=alt.Axis(tickCount=6),
    )
    y = alt.Y(
        "error:Q",
        title="wrong among those accepted, %",
        scale=alt.Scale(domain=[0, top], nice=False),
        axis=alt.Axis(tickCount=5, **_GRID),
    )
    layers: list[alt.Chart] = []
    colours = dict(zip([*names, *levels], [SERIES[0], SERIES[1], MUTED, INK], strict=False))
    for name, value in levels.items():
        data = pd.DataFrame([{"deferral": d, "error": float(value)} for d in (0.0, 100.0)])
        layers.append(
            alt.Chart(data)
            .mark_line(color=colours[name], strokeWidth=1.2, strokeDash=[2, 3])
            .encode(x=x, y=y)
        )
    for position, name in reversed(list(enumerate(names))):
        own = lines.loc[lines["line"] == name, ["deferral", "error", "low", "high"]].astype(float)
        known = own.dropna()
        style = {"color": colours[name], "opacity": 1}
        if len(known) and position == 0:
            layers.append(
                alt.Chart(known)
                .mark_area(color=colours[name], opacity=0.16)
                .encode(x=x, y=alt.Y("low:Q", scale=alt.Scale(domain=[0, top])), y2="high:Q")
            )
        plain = own[["deferral", "error"]]
        dash = {"strokeDash": [6, 3]} if position else {}
        layers += [
            alt.Chart(plain).mark_line(strokeWidth=1.6, **style, **dash).encode(x=x, y=y),
            alt.Chart(plain).mark_circle(size=22, **style).encode(x=x, y=y),
        ]
    if chosen is not None:
        point = pd.DataFrame([{"deferral": chosen[0], "error": chosen[1], "text": "this plan"}])
        base = alt.Chart(point).encode(x=x, y=y)
        layers += [
            base.mark_point(size=130, stroke=INK, strokeWidth=2, fill="var(--paper)", opacity=1),
            base.mark_text(align="left", dx=10, dy=-11, fontWeight="bold").encode(text="text:N"),
        ]
    labels = _apart(ends | {name: float(value) for name, value in levels.items()}, 0.065 * top)
    for name, at in labels.items():
        layers.append(
            alt.Chart(pd.DataFrame([{"error": at, "text": name}]))
            .mark_text(align="left", dx=8, color=colours[name])
            .encode(x=alt.value("width"), y=y, text="text:N")
        )
    return alt.layer(*layers).properties(
        width=PAGE_WIDTH - 70 - room, height=260, padding=_right(0.25 * room)
    )


def position_bins(bins: pd.DataFrame, names: Sequence[str], title: str) -> alt.LayerChart:
    """A line a probe over the part of the trace; the grey bars are what chance would reach there.

    bins: `middle, left, right, probe, value, prevalence`, positions and values as shares.
    """
    x = alt.X(
        "middle:Q",
        title="relative position in the trace",
        scale=alt.Scale(domain=[0, 1], nice=False),
        axis=alt.Axis(tickCount=6, format=".1~f"),
    )
    y = alt.Y(
        "value:Q",
        title=title,
        scale=alt.Scale(zero=True, nice=True),
        axis=alt.Axis(tickCount=5, **_GRID),
    )
    first = bins[bins["probe"] == names[0]]
    chance = first[["left", "right", "prevalence"]].astype(float)
    layers: list[alt.Chart] = [
        alt.Chart(chance)
        .mark_rect(color=GHOST)
        .encode(
            x=alt.X("left:Q", scale=alt.Scale(domain=[0, 1], nice=False)),
            x2="right:Q",
            y=alt.Y("prevalence:Q", scale=alt.Scale(zero=True)),
            y2=alt.datum(0),
        )
    ]
    ends = {}
    for position, name in enumerate(names):
        own = bins[bins["probe"] == name].dropna(subset=["value"])
        if not len(own):
            continue
        ends[name] = float(own["value"].iloc[-1])
        data = own[["middle", "value"]].astype(float)
        colour = SERIES[position % len(SERIES)]
        layers += [
            alt.Chart(data).mark_line(color=colour, strokeWidth=1.5).encode(x=x, y=y),
            alt.Chart(data).mark_circle(color=colour, size=36, opacity=1).encode(x=x, y=y),
        ]
    top = float(max(bins["value"].max(), bins["prevalence"].max())) or 1.0
    for name, at in _apart(ends, 0.075 * top).items():
        colour = SERIES[list(names).index(name) % len(SERIES)]
        layers.append(
            alt.Chart(pd.DataFrame([{"value": at, "text": name}]))
            .mark_text(align="left", dx=8, color=colour)
            .encode(x=alt.value("width"), y=y, text="text:N")
        )
    room = text_room(names)
    return alt.layer(*layers).properties(
        width=PAGE_WIDTH - 70 - room, height=220, padding=_right(0.25 * room)
    )


def calibration(bins: pd.DataFrame, names: Sequence[str]) -> alt.ConcatChart:
    """A small panel a probe: how often sentences scored so are anchors. On the diagonal: honest.

    bins: `probe, score, rate, count`; the area of a dot is the number of its sentences.
    """
    columns = min(4, len(names))
    side = min(170.0, (PAGE_WIDTH - 45.0 * columns) / columns)
    scale = alt.Scale(domain=[0, 1], nice=False)
    largest = float(bins["count"].max())
    panels = []
    for position, name in enumerate(names):
        own = bins.loc[bins["probe"] == name, ["score", "rate", "count"]].astype(float)
        bottom, left = position + columns >= len(names), position % columns == 0
        axis = alt.Axis(values=[0, 0.5, 1])
        x = alt.X("score:Q", scale=scale, axis=axis, title="score" if bottom else None)
        y = alt.Y("rate:Q", scale=scale, axis=axis, title="share of anchors" if left else None)
        line = pd.DataFrame([{"score": v, "rate": v} for v in (0.0, 1.0)])
        panels.append(
            alt.layer(
                alt.Chart(line)
                .mark_line(color=MUTED, strokeWidth=1, strokeDash=[4, 4])
                .encode(x=x, y=y),
                alt.Chart(own)
                .mark_circle(color=SERIES[0], opacity=0.75)
                .encode(
                    x=x,
                    y=y,
                    size=alt.Size(
                        "count:Q",
                        legend=None,
                        scale=alt.Scale(domain=[0, largest], range=[6, 220]),
                    ),
                ),
            ).properties(width=side, height=side, title=name)
        )
    width = columns * (side + 45)
    return alt.concat(*panels, columns=columns, spacing={"row": 16, "column": 22}).properties(
        padding={"left": 4, "top": 4, "bottom": 4, "right": max(4.0, _NARROWEST - width)}
    )


def _apart(at: Mapping[str, float], gap: float) -> dict[str, float]:
    """The same names moved upwards until neighbours are `gap` apart, lowest first."""
    moved: dict[str, float] = {}
    last = -float("inf")
    for name, value in sorted(at.items(), key=lambda each: each[1]):
        last = max(value, last + gap)
        moved[name] = last
    return moved


def _right(room: float) -> alt.Padding:
    return {"left": 4, "top": 4, "right": room, "bottom": 4}
