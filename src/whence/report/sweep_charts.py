"""The charts of a sweep: what chose beside what confirmed, ranks over seeds, and factor means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from whence.report.figure import INK, MUTED, PAGE_WIDTH, RULE, SERIES, text_room
from whence.report.heads_charts import NEUTRAL, RAISES
from whence.report.notation import Metric

_DARK, _LIGHT = "#1d1c1a", "#ffffff"
_SMALLEST, _WIDEST = 24, 72


def chosen_and_confirmed(lines: Sequence[Mapping[str, Any]], metric: Metric) -> alt.LayerChart:
    """A row per configuration: a hollow dot where it was chosen, a filled one with its interval
    where it was not.

    lines: `rank, name, selection, confirmation, confirmation_interval`, best on selection first.
    """
    # The place comes first: a long name is cut short, and two may then look the same.
    names_of = [f"{line['rank']}  {line['name']}" for line in lines]
    records = [
        {
            "name": name,
            "selection": line["selection"],
            "confirmation": line["confirmation"],
            "low": (line["confirmation_interval"] or [None, None])[0],
            "high": (line["confirmation_interval"] or [None, None])[1],
            "written": f"{metric.value(line['selection'])} → {metric.value(line['confirmation'])}",
        }
        for name, line in zip(names_of, lines, strict=True)
    ]
    data = pd.DataFrame(records)
    names = text_room(names_of, at_most=320)
    written = text_room(str(record["written"]) for record in records)
    axis = alt.Axis(ticks=False, labelColor=INK, labelPadding=10, labelLimit=names, minExtent=names)
    y = alt.Y("name:N", sort=names_of, title=None, axis=axis, scale=alt.Scale(domain=names_of))
    found = [
        value
        for record in records
        for value in (record["selection"], record["confirmation"], record["low"], record["high"])
        if value is not None
    ]
    scale = alt.Scale(zero=False, nice=True, padding=12)
    if min(found) == max(found):  # an axis of one number has no scale to it
        reach = abs(found[0]) / 2 or 0.5
        scale = alt.Scale(domain=[found[0] - reach, found[0] + reach])
    grid = alt.Axis(tickCount=6, grid=True, gridColor=RULE, gridDash=[1, 3])
    x = alt.X("selection:Q", title=metric.label, scale=scale, axis=grid)
    base = alt.Chart(data).encode(y=y)
    known = alt.Chart(data.dropna(subset=["confirmation"])).encode(y=y)
    return alt.layer(
        known.mark_rule(strokeWidth=1, color=MUTED, strokeDash=[2, 3]).encode(
            x=x, x2="confirmation:Q"
        ),
        alt.Chart(data.dropna(subset=["low", "high"]))
        .mark_rule(strokeWidth=2, color=SERIES[0])
        .encode(y=y, x=alt.X("low:Q", scale=scale), x2="high:Q"),
        base.mark_point(size=60, strokeWidth=2, opacity=1, color=MUTED, fill="var(--paper)").encode(
            x=x
        ),
        known.mark_circle(size=60, opacity=1, color=SERIES[0]).encode(
            x=alt.X("confirmation:Q", scale=scale)
        ),
        base.mark_text(align="left", dx=8, color=INK).encode(
            x=alt.value("width"), text="written:N"
        ),
    ).properties(
        width=PAGE_WIDTH - names - written,
        height=alt.Step(28),
        padding={"left": 4, "top": 4, "right": 0.25 * written, "bottom": 4},
    )


def grid_of_means(cells: pd.DataFrame, x_name: str, y_name: str, metric: Metric) -> alt.LayerChart:
    """A square per two factor values, as dark as its mean is good, the number written in it.

    cells: `x, y, value`, values of factors as text in the order to show.
    """
    across, down = (list(dict.fromkeys(cells[name])) for name in ("x", "y"))
    room = text_room(down)
    step = max(_SMALLEST, min(_WIDEST, (PAGE_WIDTH - room - 60) / len(across)))
    low, high = float(cells["value"].min()), float(cells["value"].max())
    better = [low, high] if not metric.lower_is_better else [high, low]
    if low == high:
        better = [low - 1, low]
    middle = 0.45 * better[0] + 0.55 * better[1]
    dark = "datum.value > " if better[1] > better[0] else "datum.value < "
    data = cells.assign(written=[metric.value(float(value)) for value in cells["value"]])
    x = alt.X("x:N", sort=across, title=x_name, axis=alt.Axis(labelAngle=0 if step > 40 else -60))
    # Above its values: beside a few rows a long name would be cut off.
    above = alt.Axis(labelLimit=room, titleAngle=0, titleAlign="left", titleX=-room, titleY=-10)
    y = alt.Y("y:N", sort=down, title=y_name, axis=above)
    base = alt.Chart(data).encode(x=x, y=y)
    colour = alt.Color(
        "value:Q",
        legend=None,
        scale=alt.Scale(domain=better, range=[NEUTRAL, RAISES], interpolate="lab"),
    )
    drawn = base.mark_rect(stroke=NEUTRAL, strokeWidth=0.5).encode(color=colour)
    words = base.mark_text(fontSize=11 if step >= 40 else 8).encode(
        text="written:N",
        color=alt.condition(f"{dark}{middle}", alt.value(_LIGHT), alt.value(_DARK)),
    )
    layers = [drawn, words] if step >= 30 else [drawn]
    return alt.layer(*layers).properties(
        width=step * len(across), height=max(20.0, min(32.0, step)) * len(down)
    )
