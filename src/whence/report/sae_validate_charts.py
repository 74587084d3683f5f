"""The charts of a validation: two orders against each other, and a number by level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from whence.report.figure import INK, MUTED, PAGE_WIDTH, RULE, SERIES, text_room

MOST_POINTS = 1500
"""More dots than that hide each other, and weigh a page."""
_GRID = {"grid": True, "gridColor": RULE, "gridDash": [1, 3]}


def scatter(x: ArrayLike, y: ArrayLike, x_title: str, y_title: str) -> alt.LayerChart:
    """A dot a row, by rank of either in percent, and the mean rank of y in tenths of x.

    Of more than `MOST_POINTS` rows every n-th in the order of x is drawn; the means are of all.
    """
    ranks = np.stack([_percent(np.asarray(x)), _percent(np.asarray(y))], axis=1)
    ranks = ranks[np.argsort(ranks[:, 0], kind="stable")]
    drawn = ranks[:: -(-len(ranks) // MOST_POINTS)]
    tenth = np.minimum((ranks[:, 0] / 10).astype(int), 9)
    means = [
        {"x": float(ranks[tenth == at, 0].mean()), "y": float(ranks[tenth == at, 1].mean())}
        for at in np.unique(tenth)
    ]
    x_axis, y_axis = (
        alt.X("x:Q", title=x_title, scale=alt.Scale(domain=[0, 100]), axis=alt.Axis(tickCount=5)),
        alt.Y(
            "y:Q",
            title=y_title,
            scale=alt.Scale(domain=[0, 100]),
            axis=alt.Axis(tickCount=5, **_GRID),
        ),
    )
    dots = pd.DataFrame(drawn, columns=["x", "y"])
    line = alt.Chart(pd.DataFrame(means)).encode(x=x_axis, y=y_axis)
    return alt.layer(
        alt.Chart(dots).mark_circle(size=14, color=MUTED, opacity=0.5).encode(x=x_axis, y=y_axis),
        line.mark_line(color=SERIES[0], strokeWidth=2.5),
        line.mark_circle(color=SERIES[0], size=40, opacity=1),
    ).properties(width=PAGE_WIDTH - 340, height=300)


def boxes(values: Mapping[str, Sequence[float]], title: str) -> alt.LayerChart:
    """A box a level: quartiles, the median as a mark, and a line from the 5 % to the 95 % point.

    values: level → its rows' numbers, at least one each, in the order to show.
    """
    order = [f"{name} ({len(own):,})" for name, own in values.items()]
    rows = pd.DataFrame(
        [
            {
                "level": name,
                **dict(zip(("p5", "q1", "q2", "q3", "p95"), _quantiles(own), strict=True)),
            }
            for name, own in zip(order, values.values(), strict=True)
        ]
    )
    room = text_room(order)
    axis = alt.Axis(ticks=False, labelColor=INK, labelPadding=10, labelLimit=room, minExtent=room)
    y = alt.Y("level:N", sort=order, title=None, axis=axis)
    scale = alt.Scale(zero=False, nice=True)
    base = alt.Chart(rows).encode(y=y)
    return alt.layer(
        base.mark_rule(color=SERIES[0], strokeWidth=1.5).encode(
            x=alt.X("p5:Q", title=title, scale=scale, axis=alt.Axis(tickCount=6, **_GRID)),
            x2="p95:Q",
        ),
        base.mark_bar(height=12, color=SERIES[0], opacity=0.45).encode(x="q1:Q", x2="q3:Q"),
        base.mark_tick(thickness=3, size=18, color=INK).encode(x="q2:Q"),
    ).properties(width=PAGE_WIDTH - room - 20, height=alt.Step(24))


def _quantiles(values: Sequence[float]) -> list[float]:
    return [float(each) for each in np.quantile(np.asarray(values), [0.05, 0.25, 0.5, 0.75, 0.95])]


def _percent(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank in percent, ties at their mean."""
    from scipy.stats import rankdata

    return np.asarray(100.0 * (rankdata(values) - 0.5) / len(values))
