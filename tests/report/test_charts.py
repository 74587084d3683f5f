"""Charts: that marks lie where the numbers say, drawn in the page's colours."""

from __future__ import annotations

import re

import altair as alt
import numpy as np
import pandas as pd
import pytest

from whence.report import charts, notation
from whence.report.figure import figure, svg

ACCURACY = notation.metric("correct")
COLOURS = {"a": "var(--series-1)", "b": "var(--series-2)"}


def texts(drawn: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", drawn)


def layers(chart: alt.LayerChart) -> list[list[dict[str, object]]]:
    """The data of each layer, as Vega-Lite will get them."""
    spec = chart.to_dict()
    data = spec["datasets"]
    shared = spec.get("data", {}).get("name")
    return [data[layer.get("data", {}).get("name", shared)] for layer in spec["layer"]]


def test_forest_draws_effect_interval_and_blind_band_in_points():
    rows = [
        charts.Difference("a − b", 0.1, (0.02, 0.18), 0.05, True),
        charts.Difference("a − c", 0.01, None, None, False),
    ]
    chart = charts.forest(rows, ACCURACY)
    first, second = layers(chart)[0]
    assert first["effect"] == pytest.approx(10)
    assert (first["low"], first["high"]) == (pytest.approx(2), pytest.approx(18))
    assert (first["unseen_low"], first["unseen_high"]) == (pytest.approx(-5), pytest.approx(5))
    assert second["low"] == second["high"] == pytest.approx(1)
    drawn = texts(svg(chart, "x"))
    assert any("+10.0" in t and "[+2.0, +18.0]" in t for t in drawn)
    assert "a − b" in drawn


def test_levels_marks_each_seed_and_their_mean():
    values = pd.DataFrame(
        {"group": ["a", "a", "b"], "seed": [0, 1, None], "value": [0.2, 0.4, 0.1]}
    )
    chart = charts.levels(values, ACCURACY, COLOURS)
    seeds, means, _ = layers(chart)
    assert [row["value"] for row in seeds] == pytest.approx([20, 40, 10])
    assert {row["group"]: row["value"] for row in means} == pytest.approx({"a": 30, "b": 10})
    assert "30.0 %" in [t.replace("\u202f", " ") for t in texts(svg(chart, "x"))]


def test_loss_curves_has_a_panel_per_arm_and_keeps_means_when_thinning():
    steps = np.arange(1000)
    curves = pd.DataFrame(
        [
            {"arm": arm, "seed": seed, "step": int(s), "loss": float(offset + s / 1000)}
            for arm, offset in (("a", 1.0), ("b", 2.0))
            for seed in (0, 1)
            for s in steps
        ]
    )
    chart = charts.loss_curves(curves, COLOURS)
    spec = chart.to_dict()
    assert [panel["title"] for panel in spec["concat"]] == ["a", "b"]
    own = pd.DataFrame(spec["datasets"][spec["concat"][0]["layer"][1]["data"]["name"]])
    assert own.groupby("seed").size().max() <= 160
    assert own["loss"].mean() == pytest.approx(
        curves[curves["arm"] == "a"]["loss"].mean(), abs=2e-3
    )
    np.testing.assert_allclose(own["loss"], 1.0 + own["step"] / 1000)


def test_score_distribution_counts_every_row_of_every_kind_once():
    rng = np.random.default_rng(0)
    kinds = pd.Series(["a"] * 300 + ["b"] * 50)
    scores = pd.Series(rng.normal(size=350))
    spec = charts.score_distribution(scores, kinds, COLOURS).to_dict()
    for panel, kind in zip(spec["vconcat"], "ab", strict=True):
        bars, median = (
            pd.DataFrame(spec["datasets"][layer["data"]["name"]]) for layer in panel["layer"][:2]
        )
        assert bars["share"][:-1].sum() == pytest.approx(1)
        assert median["x"][0] == pytest.approx(scores[kinds == kind].median())


def test_cumulative_found_counts_as_a_loop_would():
    rng = np.random.default_rng(1)
    found = rng.random(500) < np.linspace(0.6, 0.0, 500)
    chart = charts.cumulative_found(found, {"top 100": 100})
    curve = layers(chart)[2]
    for point in curve:
        by_hand = sum(found[: int(point["rank"])]) / sum(found) * 100
        assert point["share"] == pytest.approx(by_hand)
    assert curve[-1] == {"rank": 500, "share": 100}
    share = round(100 * sum(found[:100]) / sum(found))
    assert f"top 100: {share} % found" in texts(svg(chart, "x"))


def test_a_drawing_is_static_escaped_and_named():
    rows = [charts.Difference("<script>alert(1)</script>", 0.1, (0.0, 0.2), None, False)]
    drawn = figure(charts.forest(rows, ACCURACY), alt_text='A "quoted" <alt>', caption="<i>how</i>")
    assert "<script" not in drawn
    assert "&lt;script" in drawn
    assert 'role="img" aria-label="A &#34;quoted&#34; &lt;alt&gt;"' in drawn
    assert "&lt;i&gt;how" in drawn
    # The page's policy would drop style attributes, and ids would clash between figures.
    assert not re.search(r'\s(style|id|onclick|href)="', drawn)
    colours = set(re.findall(r'(?:fill|stroke)="([^"]+)"', drawn))
    assert all(c.startswith("var(--") or c in ("none", "transparent") for c in colours), colours
