"""The charts of heads and layers: what changes where, in one colour scale, zero always neutral."""

from __future__ import annotations

import re
from collections.abc import Sequence

import altair as alt
import pandas as pd

from whence.report.figure import GHOST, INK, MUTED, PAGE_WIDTH, RULE, SERIES, svg, text_room

# From the page's second series colour through its paper to its first: apart under colour blindness.
LOWERS, NEUTRAL, RAISES = "#c04f15", "#f3f0e8", "#005ba1"
_DARK, _LIGHT = "#1d1c1a", "#ffffff"
_PNG_COLOURS = {"ink": _DARK, "muted": "#625e57", "rule": "#d9d5cb", "ghost": "#e5e1d8"}
_AXES, _LEGEND, _GAP = 46, 96, 34  # pixels beside the cells
_TALLEST = 620
_NARROWEST = 560  # a page draws nothing smaller than that: it would scale it up


def heatmap(cells: pd.DataFrame, limit: float) -> alt.ConcatChart:
    """A panel per condition, layers downwards, heads across, all in one colour scale.

    cells: `panel, layer, head, delta, sure`; `sure` puts a dot on the head. limit: |delta| at which
    the colour is full, the same for both signs; beyond it the colour stays.
    """
    panels = list(dict.fromkeys(cells["panel"]))
    layers, heads = (sorted(cells[name].unique().tolist()) for name in ("layer", "head"))
    columns = 1 if len(panels) == 1 or len(heads) > 24 else 2
    room = (PAGE_WIDTH - _LEGEND - columns * _AXES - (columns - 1) * _GAP) / columns
    step = max(5.0, min(28.0, room / len(heads), _TALLEST / len(layers)))
    x = alt.X("head:O", scale=alt.Scale(domain=heads), axis=_ticks(heads, step, "head"))
    y = alt.Y("layer:O", scale=alt.Scale(domain=layers), axis=_ticks(layers, step, "layer"))
    colour = alt.Color(
        "delta:Q",
        scale=alt.Scale(
            domain=[-limit, 0, limit],
            range=[LOWERS, NEUTRAL, RAISES],
            clamp=True,
            interpolate="lab",
        ),
        legend=alt.Legend(
            title=["change of the", "logit difference"],
            # Squares, for a gradient would need an id, and ids of two figures may clash.
            type="symbol",
            symbolType="square",
            symbolSize=150,
            symbolStrokeWidth=0,
            values=[limit, limit / 2, 0, -limit / 2, -limit],
            labelExpr="datum.value ? format(datum.value, '+.2~g') : '0'",
            labelColor=MUTED,
            labelFontSize=11,
            titleColor=MUTED,
            titleFontSize=12,
            titleFontWeight="normal",
        ),
    )
    on_dark = alt.condition(
        f"abs(datum.delta) > {0.55 * limit}", alt.value(_LIGHT), alt.value(_DARK)
    )
    drawn = []
    for panel in panels:
        own = cells.loc[cells["panel"] == panel, ["layer", "head", "delta", "sure"]]
        base = alt.Chart(own).encode(x=x, y=y)
        drawn.append(
            alt.layer(
                base.mark_rect(stroke=NEUTRAL, strokeWidth=0.5 if step > 9 else 0).encode(
                    color=colour
                ),
                alt.Chart(own[own["sure"]])
                .mark_circle(size=max(3.0, 0.05 * step**2), opacity=1)
                .encode(x=x, y=y, color=on_dark),
            ).properties(
                width=step * len(heads),
                height=step * len(layers),
                **({"title": str(panel)} if len(panels) > 1 else {}),
            )
        )
    width = min(columns, len(panels)) * (_AXES + step * len(heads) + _GAP) + _LEGEND
    return (
        alt.concat(*drawn, columns=columns, spacing=_GAP)
        .resolve_scale(color="shared")
        .properties(padding={"left": 4, "top": 4, "bottom": 4, "right": max(4, _NARROWEST - width)})
    )


def strongest(rows: pd.DataFrame) -> alt.LayerChart:
    """Heads around zero with their intervals, over what the other heads of their layer do.

    rows: `name, delta, low, high, null_low, null_high, sure, written`, one per head in the order to
    show; intervals and nulls may be missing. A filled dot has q below 0.05.
    """
    names, written = text_room(rows["name"]), text_room(rows["written"])
    order = rows["name"].tolist()
    axis = alt.Axis(domain=False, ticks=False, labelColor=INK, labelLimit=names)
    y = alt.Y("name:N", sort=order, title=None, axis=axis)
    base = alt.Chart(rows).encode(y=y)
    colour = alt.condition("datum.sure", alt.value(SERIES[0]), alt.value(MUTED))
    x = alt.X(
        "delta:Q",
        title="change of the logit difference",
        scale=alt.Scale(zero=True, nice=True, padding=12),
        axis=alt.Axis(tickCount=5, labelExpr="datum.value ? format(datum.value, '+.3~r') : '0'"),
    )
    return alt.layer(
        alt.Chart(rows.dropna(subset=["null_low", "null_high"]))
        .mark_bar(height=14, color=GHOST)
        .encode(y=y, x="null_low:Q", x2="null_high:Q"),
        alt.Chart(pd.DataFrame([{"zero": 0}])).mark_rule(color=INK).encode(x="zero:Q"),
        alt.Chart(rows.dropna(subset=["low", "high"]))
        .mark_rule(strokeWidth=2)
        .encode(y=y, x="low:Q", x2="high:Q", color=colour),
        base.mark_point(size=60, strokeWidth=2, opacity=1).encode(
            x=x,
            stroke=colour,
            fill=alt.condition("datum.sure", alt.value(SERIES[0]), alt.value("var(--paper)")),
        ),
        base.mark_text(align="left", dx=8, color=INK).encode(
            x=alt.value("width"), text="written:N"
        ),
    ).properties(
        width=PAGE_WIDTH - names - written,
        height=alt.Step(26),
        padding={"left": 4, "top": 4, "bottom": 4, "right": written},
    )


def layer_curve(rows: pd.DataFrame) -> alt.LayerChart:
    """Effect of a patch by layer with its interval; windows as bars over the layers they span.

    rows: `kind, layers, layer, delta, ci_low, ci_high`; intervals may be missing. Shams lie on the
    zero line, or show how far a run is from repeating itself.
    """
    single = rows[(rows["kind"] == "patch") & rows["layer"].notna()]
    shams = rows[(rows["kind"] == "sham") & rows["layer"].notna()]
    windows = pd.DataFrame(
        [
            {"first": span[0], "last": span[1], "delta": delta, "label": label}
            for kind, label, delta in rows[["kind", "layers", "delta"]].itertuples(index=False)
            if kind == "patch" and (span := _span(label)) is not None
        ]
    )
    every = sorted(single["layer"].astype(int)) or [0]
    first, last = (
        (min(every[0], windows["first"].min()), max(every[-1], windows["last"].max()))
        if len(windows)
        else (every[0], every[-1])
    )
    scale = alt.Scale(domain=[first - 0.5, last + 0.5], nice=False)
    step = max(1, round((last - first) / 16))
    x = alt.X(
        "layer:Q",
        scale=scale,
        title="layer",
        axis=alt.Axis(values=list(range(int(first), int(last) + 1, step)), format="d"),
    )
    y = alt.Y(
        "delta:Q",
        title="change of the logit difference",
        scale=alt.Scale(zero=True, nice=True),
        axis=alt.Axis(tickCount=5, grid=True, gridColor=RULE, gridDash=[1, 3]),
    )
    plain = single[["layer", "delta", "ci_low", "ci_high"]].astype(float)
    known = plain.dropna()
    parts = [
        alt.Chart(pd.DataFrame([{"zero": 0}])).mark_rule(color=INK).encode(y="zero:Q"),
        alt.Chart(plain).mark_line(color=SERIES[0], strokeWidth=1.2, opacity=0.5).encode(x=x, y=y),
        alt.Chart(known)
        .mark_rule(color=SERIES[0], strokeWidth=2)
        .encode(x=x, y="ci_low:Q", y2="ci_high:Q"),
        alt.Chart(plain).mark_circle(color=SERIES[0], size=46, opacity=1).encode(x=x, y=y),
    ]
    if len(shams):
        parts.append(
            alt.Chart(shams[["layer", "delta"]].astype(float))
            .mark_point(stroke=MUTED, fill=GHOST, size=34, shape="square", opacity=1)
            .encode(x=x, y=y)
        )
    if len(windows):
        base = alt.Chart(windows).encode(y=y)
        parts.append(
            base.mark_rule(color=SERIES[1], strokeWidth=3).encode(
                x=alt.X("first:Q", scale=scale), x2="last:Q"
            )
        )
        parts.append(
            base.mark_text(align="left", dx=5, dy=-8, color=SERIES[1]).encode(
                x=alt.X("first:Q", scale=scale), text="label:N"
            )
        )
    return alt.layer(*parts).properties(width=PAGE_WIDTH - 90, height=220)


def png(chart: alt.TopLevelMixin, *, scale: float = 2.0) -> bytes:
    """The chart as a PNG on white, in the page's light colours."""
    import vl_convert

    drawn = str(svg(chart, ""))
    named = {**_PNG_COLOURS, "paper": _LIGHT, "series-1": RAISES, "series-2": LOWERS}
    drawn = re.sub(r"var\(--([a-z0-9-]+)\)", lambda found: named.get(found[1], _DARK), drawn)
    opened = drawn.index(">") + 1
    head = drawn[:opened].replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ')
    white = f'<rect width="100%" height="100%" fill="{_LIGHT}"/>'
    return bytes(vl_convert.svg_to_png(head + white + drawn[opened:], scale=scale))


def _ticks(values: Sequence[int], step: float, title: str) -> alt.Axis:
    """An axis that names every head or layer, or every second, fifth, … where it is tight."""
    every = next((k for k in (1, 2, 5, 10, 20) if k * step >= 15), 50)
    return alt.Axis(
        title=title, values=[v for v in values if v % every == 0], labelAngle=0, ticks=False
    )


def _span(label: str) -> tuple[int, int] | None:
    """First and last layer of a window such as `9-13` or `3,5,9`; None for a single layer."""
    numbers = [int(word) for word in re.findall(r"\d+", label.partition(":")[0])]
    return (numbers[0], numbers[-1]) if len(numbers) > 1 else None
