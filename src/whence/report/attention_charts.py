"""Attention patterns as heatmaps: queries downwards, keys across, in the tokens' own words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np
import pandas as pd

from whence.report.figure import MUTED, PAGE_WIDTH, text_room
from whence.report.heads_charts import LOWERS, NEUTRAL, RAISES

CHANGE = "change"
BLANK = 0.005
"""Cells under this weight are left blank."""

_LEGEND, _GAP, _LABEL = 90, 18, 110
_LARGEST, _SMALLEST = 22.0, 3.0


def attention(
    panels: Mapping[str, np.ndarray], tokens: Sequence[str], limit: float
) -> alt.HConcatChart:
    """Panels side by side: name → weights [query, key]; `change` is drawn in two colours.

    limit: |change| at which the colour is full. Labels are cut, and thinned out where it is tight.
    """
    names = [f"{at} {_visible(token)}" for at, token in enumerate(tokens)]
    room = min(text_room(names), _LABEL)
    width = (PAGE_WIDTH - room - _LEGEND - _GAP * len(panels)) / max(2, len(panels))
    step = max(_SMALLEST, min(_LARGEST, width / len(names)))
    every = next((k for k in (1, 2, 5, 10, 20, 50) if k * step >= 9), 100)
    axis = {
        "values": names[::every],
        "ticks": False,
        "labelFontSize": min(11, max(8, step)),
        "labelLimit": room,
        "labelOverlap": False,
    }
    drawn = []
    for at, (name, weights) in enumerate(panels.items()):
        query, key = np.nonzero(np.abs(weights) >= BLANK)
        cells = pd.DataFrame(
            {
                "query": [names[q] for q in query],
                "key": [names[k] for k in key],
                "weight": weights[query, key].astype(float),
            }
        )
        drawn.append(
            alt.Chart(cells, **({"title": name} if len(panels) > 1 else {}))
            .mark_rect()
            .encode(
                x=alt.X(
                    "key:N",
                    scale=alt.Scale(domain=names),
                    axis=alt.Axis(labelAngle=-90, title="looks at", **axis),
                ),
                y=alt.Y(
                    "query:N",
                    scale=alt.Scale(domain=names),
                    axis=alt.Axis(title="token", **axis) if at == 0 else None,
                ),
                color=_colour(name, limit, legend=at > 0 or len(panels) == 1),
            )
            .properties(width=step * len(names), height=step * len(names))
        )
    return alt.hconcat(*drawn, spacing=_GAP).resolve_scale(color="independent")


def _colour(name: str, limit: float, *, legend: bool) -> alt.Color:
    domain, colours = [0.0, 1.0], [NEUTRAL, RAISES]
    if name == CHANGE:
        domain, colours = [-limit, 0.0, limit], [LOWERS, NEUTRAL, RAISES]
    signed = "datum.value ? format(datum.value, '+.2~f') : '0'"
    key = alt.Legend(
        title=None,
        gradientLength=90,
        gradientThickness=8,
        values=domain,
        labelExpr=signed if name == CHANGE else "datum.value",
        labelColor=MUTED,
        labelFontSize=10,
    )
    scale = alt.Scale(domain=domain, range=colours, clamp=True, interpolate="lab")
    return alt.Color("weight:Q", scale=scale, legend=key if legend else None)


def _visible(token: str) -> str:
    """A token's text with its spaces and control characters shown."""
    return "".join("·" if c == " " else c if c.isprintable() else repr(c)[1:-1] for c in token)
