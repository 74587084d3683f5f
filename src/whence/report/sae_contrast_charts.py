"""The charts of a contrast: which features differ, and by how much for how sure."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from whence.report.figure import INK, MUTED, PAGE_WIDTH, RULE, SERIES

_CELLS = 220
"""Grey dots are drawn once a cell of a grid this fine: more would not show, and weigh a page."""
_NAMED = 6
_HIGHEST = 60.0
"""p below 10^-60 is drawn there."""


def volcano(features: pd.DataFrame, title: str, alpha: float) -> alt.LayerChart:
    """A dot a feature: how much likelier at the top to the right, the smaller its p the higher.

    features: `feature, odds_ratio, p, q` of one SAE; coloured where q ≤ alpha, the strongest of
    either side by name.
    """
    with np.errstate(divide="ignore"):
        height = np.minimum(-np.log10(features["p"].to_numpy(dtype=float)), _HIGHEST)
    points = pd.DataFrame(
        {
            "x": np.log2(features["odds_ratio"].to_numpy(dtype=float)),
            "y": height,
            "side": np.select(
                [features["q"] > alpha, features["odds_ratio"] > 1], ["open", "up"], "down"
            ),
            "name": features["feature"].astype(str).to_numpy(),
        }
    )
    x = alt.X(
        "x:Q",
        title="odds of a top row having the feature, over those of another row",
        axis=alt.Axis(tickCount=7, labelExpr="'×' + format(pow(2, datum.value), '.3~r')"),
        scale=alt.Scale(nice=True, padding=10),
    )
    y = alt.Y(
        "y:Q",
        title="p of the difference",
        axis=alt.Axis(
            tickCount=5,
            grid=True,
            gridColor=RULE,
            gridDash=[1, 3],
            labelExpr="datum.value == 0 ? '1' : '10^−' + format(datum.value, '.3~r')",
        ),
        scale=alt.Scale(nice=True, zero=True),
    )
    colour = alt.Color(
        "side:N",
        legend=None,
        scale=alt.Scale(domain=["open", "up", "down"], range=[MUTED, SERIES[0], SERIES[1]]),
    )
    layers = [
        alt.Chart(pd.DataFrame([{"x": 0.0}])).mark_rule(color=INK, strokeWidth=1).encode(x="x:Q"),
        alt.Chart(_thinned(points))
        .mark_circle(size=16, opacity=0.6)
        .encode(x=x, y=y, color=colour),
    ]
    for side in ("up", "down"):
        own = points[points["side"] == side].nlargest(_NAMED, "y")[["x", "y", "name"]]
        if len(own):
            layers.append(
                alt.Chart(own)
                .mark_text(
                    align="left" if side == "up" else "right",
                    dx=6 if side == "up" else -6,
                    fontSize=11,
                    color=INK,
                )
                .encode(x=x, y=y, text="name:N")
            )
    return alt.layer(*layers).properties(width=PAGE_WIDTH - 100, height=240, title=title)


def _thinned(points: pd.DataFrame) -> pd.DataFrame:
    """All coloured dots, and of the grey ones one a cell."""
    grey = points[points["side"] == "open"]
    cells = pd.DataFrame(
        {
            axis: (
                (grey[axis] - points[axis].min()) / (np.ptp(points[axis]) or 1.0) * _CELLS
            ).round()
            for axis in ("x", "y")
        }
    )
    kept = grey[~cells.duplicated()]
    return pd.concat([kept, points[points["side"] != "open"]])[["x", "y", "side"]]
