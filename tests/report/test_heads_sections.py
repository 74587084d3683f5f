"""Sections of a report on heads: every number of the summary in its place, every text escaped."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from whence.report.heads_charts import heatmap, layer_curve, png, strongest
from whence.report.heads_headline import act, headline, logits
from whence.report.heads_sections import (
    agreement_section,
    baseline_section,
    heads_section,
    layers_section,
    masthead,
    pairs_section,
    sets_section,
)
from whence.report.page import Section

SCRIPT = "<script>alert('x')</script>"


def an_effect(delta: float, **changes: Any) -> dict[str, Any]:
    told = {"delta_logit_diff": delta, "interval": [delta - 0.1, delta + 0.1], "p": 1e-5, "q": 1e-4}
    return told | changes


def a_head(name: str, delta: float, **changes: Any) -> dict[str, Any]:
    layer, head = map(int, name.split(":"))
    others = {"heads": 11, "low": -0.02, "median": 0.0, "high": 0.03}
    place = {"name": name, "layer": layer, "head": head, "scale": 0.0, "percentile_in_layer": 100.0}
    return place | {"others_in_layer": others} | an_effect(delta, **changes)


def a_summary(**changes: Any) -> dict[str, Any]:
    return {
        "run_id": "r",
        "model": {"name": SCRIPT},
        "corpus": {"id": SCRIPT},
        "battery": {"type": "heads_zero", "scales": [0.0]},
        "n_prompts": 40,
        "n_examples": 44,
        "excluded": {f"because {SCRIPT}": [1, 2, 5]},
        "clean": {
            "logit_diff": 1.234, "logit_diff_interval": [1.0, 1.4],
            "accuracy": 0.75, "accuracy_interval": [0.6, 0.9], "p_target": 0.5,
        },
        "bos": 50256,
        "baseline_run": "clean",
        "strongest": [a_head("0:2", 0.53), a_head("3:1", -0.2, q=0.3, interval=[-0.5, 0.1])],
    } | changes  # fmt: skip


def a_layer(layers: str, delta: float, recovered: float | None = None) -> dict[str, Any]:
    return {"layers": layers, "recovered": recovered} | an_effect(delta)


PATCH = {
    "type": "activation_patch",
    "granularity": "layer_resid",
    "positions": "last_token",
    "patch_direction": "corrupt->clean",
}


def patched(**changes: Any) -> dict[str, Any]:
    rows = [a_layer("3", -0.1, 0.04), a_layer("4", -2.0, 0.8), a_layer("5", -2.4, 0.96)]
    rows.append(a_layer("3-5", -2.5, 1.0))
    sham = {"n": 3, "largest_change": 0.0}
    return a_summary(battery=PATCH, strongest=[], layers=rows, sham=sham) | changes


def curve(told: dict[str, Any]) -> pd.DataFrame:
    rows = [
        {"kind": "patch", "layers": row["layers"], "delta": row["delta_logit_diff"]}
        | {"layer": int(row["layers"]) if row["layers"].isdigit() else None}
        | dict(zip(("ci_low", "ci_high"), row["interval"], strict=True))
        for row in told["layers"]
    ]
    shams = [
        row | {"kind": "sham", "delta": 0.0, "ci_low": None, "ci_high": None} for row in rows[:3]
    ]
    return pd.DataFrame(rows + shams)


def a_pair(synergy: float | None, **changes: Any) -> dict[str, Any]:
    bounds = None if synergy is None else [synergy - 0.1, synergy + 0.1]
    told = {"name": "0:2+5:1", "delta_a": 0.01, "delta_b": 0.02, "synergy": synergy}
    told |= {"synergy_interval": bounds, "synergy_q": None if synergy is None else 0.001}
    return told | {"percentile_of_random": 95.0} | an_effect(-1.0) | changes


def a_set(rank: float | None, random: dict[str, Any] | None) -> dict[str, Any]:
    told = {"label": f"triplet {SCRIPT}", "heads": ["0:2", "0:4", "0:7"]}
    return told | an_effect(0.8) | {"percentile_of_random": rank, "random_sets": random}


def test_the_strongest_head_is_the_headline():
    answer = headline({"all": a_summary()}, None)
    assert answer.sentence == (
        "Head 0:2 matters most: removing it raises the logit difference by 0.530, "
        "the largest change in its layer"
    )
    assert answer.standing.tone == "for"
    assert answer.number == "+0.530"
    assert answer.interval == "95 % interval [+0.430, +0.630]"
    assert ("Other heads of its layer", "[−0.020, +0.030]", "the middle 90 % of 11") in answer.facts


def test_what_is_not_settled_is_not_claimed():
    weak = a_summary(strongest=[a_head("0:2", 0.05, q=0.4)])
    answer = headline({"all": weak}, None)
    assert answer.sentence.startswith("No head stands out.")
    assert answer.standing.tone == "open"
    none = a_summary(strongest=[a_head("0:2", 0.5, interval=None, q=None, p=None)])
    assert headline({"all": none}, None).interval == "no interval"


def test_a_head_of_all_conditions_comes_before_the_strongest_of_one():
    own = {"facts": an_effect(0.4), "neg": an_effect(0.9)}
    across = {
        "heads": [{"head": "1:1", "sign": 1, "conditions": own}],
        "tested": 48,
        "expected_by_chance": 0.06,
    }
    told = {"facts": a_summary(), "neg": a_summary()}
    answer = headline(told, across)
    assert answer.sentence.startswith("Head 1:1 matters in all 2 conditions: removing it raises")
    assert "0.400 (facts) to 0.900 (neg)" in answer.sentence
    nowhere = headline(told, across | {"heads": []})
    assert nowhere.sentence.startswith("In facts: head 0:2 matters most")
    assert nowhere.sentence.endswith("No head holds in all 2 conditions")


def test_layers_are_told_by_their_largest_step_and_parts_by_their_size():
    answer = headline({"all": patched()}, None)
    assert answer.sentence == (
        "Between layers 3 and 4 the patch changes most: its effect goes from −0.100 to −2.000 "
        "(4 % to 80 % of what separates the two prompts)"
    )
    assert ("Sham", "0", "largest change") in answer.facts
    nothing = [row | {"recovered": -1.5} for row in patched()["layers"]]
    assert "separates" not in headline({"all": patched(layers=nothing)}, None).sentence
    part = headline({"all": patched(battery=PATCH | {"granularity": "mlp_out"})}, None)
    assert part.sentence.startswith("Patching layer 5 lowers the logit difference most, by 2.400")


def test_pairs_and_sets_lead_where_they_were_removed():
    answer = headline({"all": a_summary(pairs=[a_pair(-0.97)])}, None)
    assert answer.sentence == "Heads 0:2 and 5:1 together do 0.970 more than the sum of each"
    assert answer.number == "−0.970"
    less = headline({"all": a_summary(pairs=[a_pair(0.5)])}, None)
    assert "0.500 less than" in less.sentence
    weak = a_pair(0.1, synergy_q=0.5)
    assert "No pair does clearly" in headline({"all": a_summary(pairs=[weak])}, None).sentence
    alone = headline({"all": a_summary(pairs=[a_pair(None)])}, None)
    assert alone.number == "−1.000"

    random = {"sets": 20, "low": -0.1, "median": 0.0, "high": 0.2}
    answer = headline({"all": a_summary(subsets=[a_set(100.0, random)])}, None)
    assert answer.sentence.endswith("by 0.800, more than all 20 random sets of the same layers")
    assert headline({"all": a_summary(subsets=[a_set(None, None)])}, None).facts[0][0] == "q"


@pytest.mark.parametrize(
    ("battery", "said"),
    [
        ({"type": "heads_zero"}, "removing it"),
        ({"scales": [0.5, 0.0]}, "scaling it by 0.5"),
        ({"scale": 2.0}, "scaling it by 2"),
        ({"method": "mean"}, "replacing it by its mean"),
        ({"method": "resample"}, "replacing it by its output on another prompt"),
        (PATCH, "patching it"),
    ],
)
def test_what_was_done_is_named(battery: dict[str, Any], said: str):
    assert act(battery) == said


def test_small_numbers_keep_their_digits(page: Callable[[Section], Any]):
    assert logits(0.00123, -0.0002).difference(0.00123) == "+0.00123"
    assert logits(12.0, [None, 3.0]).difference(12) == "+12.000"
    assert logits().difference(0.0) == "0.000"


@pytest.fixture
def page(read_page: type[Any]) -> Callable[[Section], Any]:
    """Reads a section back, sure that nothing in it is anything but text."""

    def read(section: Section) -> Any:
        html = str(section.html)
        assert SCRIPT not in html
        assert not re.search(r'\s(style|id|onclick|href)="', html)
        parsed = read_page(html)
        assert not parsed.unbalanced
        return parsed

    return read


def test_strongest_heads_as_a_picture_and_a_table(page: Callable[[Section], Any]):
    told = {"all": a_summary()}
    shown = page(heads_section(told, None))
    rows = shown.table_after("The strongest heads")
    assert rows[1] == ["0:2", "+0.530", "[+0.430, +0.630]", "< 0.001", "100", "[−0.020, +0.030]"]
    assert rows[2][:4] == ["3:1", "−0.200", "[−0.500, +0.100]", "0.30"]
    (svg,) = shown.all("svg")
    assert "0:2: +0.530 [+0.430, +0.630]" in svg.attributes["aria-label"]
    several = page(heads_section({SCRIPT: a_summary(), "neg": a_summary()}, None))
    assert len(several.all("details")) == 2
    no_layer = a_head("0:2", 0.5, interval=None, q=None) | {
        "percentile_in_layer": None, "others_in_layer": None
    }  # fmt: skip
    bare = page(heads_section({"all": a_summary(strongest=[no_layer])}, None))
    assert bare.table_after("The strongest heads")[1] == ["0:2", "+0.500", "–", "–"]


def test_layers_with_their_shams(page: Callable[[Section], Any]):
    told = patched()
    shown = page(layers_section({"all": curve(told)}, {"all": told}))
    rows = shown.table_after("Patched layers. The largest change of 3 shams is 0.")
    assert rows[2] == ["4", "−2.000", "[−2.100, −1.900]", "< 0.001", "80 %"]
    assert rows[4][0] == "3-5"
    assert "Squares are the sham" in shown.all("figcaption")[0].text


def test_the_curve_draws_layers_intervals_shams_and_windows():
    layers = layer_curve(curve(patched())).to_dict()
    data = [layers["datasets"][part["data"]["name"]] for part in layers["layer"]]
    assert data[0] == [{"zero": 0}]
    assert [row["layer"] for row in data[3]] == [3, 4, 5]
    assert [(row["ci_low"], row["ci_high"]) for row in data[2]][1] == (-2.1, -1.9)
    assert [row["delta"] for row in data[4]] == [0, 0, 0]
    assert data[5] == [{"first": 3, "last": 5, "delta": -2.5, "label": "3-5"}]


def test_a_single_window_is_a_curve_as_well():
    rows = pd.DataFrame([{"kind": "patch", "layers": "9-13", "layer": None, "delta": 1.0}]).assign(
        ci_low=None, ci_high=None
    )
    assert len(layer_curve(rows).to_dict()["layer"]) == 6
    assert png(layer_curve(rows)).startswith(b"\x89PNG")


def test_pairs_and_sets_in_tables(page: Callable[[Section], Any]):
    told = {"all": a_summary(pairs=[a_pair(-0.97), a_pair(None)])}
    rows = page(pairs_section(told)).table_after("Pairs, largest synergy first")
    assert rows[1][0] == "0:2 + 5:1"
    assert rows[1][1:6] == ["−1.000", "+0.010", "+0.020", "−0.970", "[−1.070, −0.870]"]
    assert rows[2][4:7] == ["–", "–", "–"]
    random = {"sets": 20, "low": -0.1, "median": 0.0, "high": 0.2}
    told = {"all": a_summary(subsets=[a_set(95.0, random), a_set(None, None)])}
    rows = page(sets_section(told)).table_after("Sets of heads")
    assert rows[1][0] == f"triplet {SCRIPT}"
    assert rows[1][5:] == ["95", "[−0.100, +0.200]"]
    assert rows[2][5:] == ["–", "–"]


def test_agreement_lists_what_holds_and_how_alike_conditions_rank(page: Callable[[Section], Any]):
    own = {"facts": an_effect(0.4), SCRIPT: an_effect(0.9)}
    across = {
        "conditions": list(own),
        "heads": [{"head": "1:1", "sign": 1, "conditions": own}],
        "tested": 48,
        "expected_by_chance": 0.06,
        "layers": [],
        "layers_tested": 6,
    }
    pair = {"conditions": list(own), "heads": 48, "spearman": -0.25, "interval": [-0.5, 0.1]}
    cross = {"agreement": [pair | {"k": 10, "shared_at_k": 0.3, "shared_by_chance": 10 / 48}]}
    shown = page(agreement_section(across, cross))
    assert shown.table_after("1 of 48 heads hold in all 2 conditions")[1] == [
        "1:1", "+0.400", "+0.900"
    ]  # fmt: skip
    assert any("None of 6 layers" in element.text for element in shown.all("p"))
    rows = shown.table_after("How far two conditions")
    assert rows[1][1:] == ["−0.25", "[−0.50, 0.10]", "3 of 10", "2.1"]
    nothing = across | {"heads": [], "tested": 0, "layers_tested": 0}
    alone = page(agreement_section(nothing, {"agreement": []}))
    assert "No head or layer was measured" in alone.all("p")[0].text


def test_the_undisturbed_run_and_how_prompts_were_read(page: Callable[[Section], Any]):
    shown = page(baseline_section({"all": a_summary()}))
    row = shown.table_after("The undisturbed run")[1]
    assert row == ["40", "44", "3", "1.234 [+1.000, +1.400]", "50.0 %", "75.0 % [60.0, 90.0]"]
    facts = " ".join(element.text for element in shown.all("dl"))
    assert "BOS, token 50256" in facts
    assert f"because {SCRIPT}" in facts
    bare = page(baseline_section({"a": a_summary(clean={}), "b": a_summary(excluded={})}))
    assert bare.table_after("The undisturbed run")[1][4:] == ["–", "–", "–"]


def test_the_masthead_is_escaped_and_links_its_sections(read_page: type[Any]):
    told = {"all": a_summary(subsets=[a_set(None, None)])}
    section = sets_section(told)
    head = masthead(SCRIPT, headline(told, None), [section])
    assert SCRIPT not in head
    parsed = read_page(str(head))
    assert parsed.all("a")[0].attributes["href"] == "#sets-of-heads"
    assert not parsed.unbalanced


def test_a_strange_condition_name_is_only_text():
    cells = pd.DataFrame(
        [
            {"panel": tag, "layer": 0, "head": head, "delta": 0.1 * head, "sure": head == 1}
            for tag in (SCRIPT, "=1+1")
            for head in range(3)
        ]
    )
    from whence.report.figure import figure

    drawn = figure(heatmap(cells, 0.2), alt_text="x")
    assert SCRIPT not in drawn
    assert "&lt;script" in drawn
    assert "=1+1" in drawn


def test_heads_come_in_the_order_given():
    rows = pd.DataFrame(
        [
            {"name": name, "delta": delta, "low": None, "high": None, "null_low": None}
            | {"null_high": None, "sure": True, "written": "w"}
            for name, delta in (("9:9", 0.1), ("0:2", 0.5), ("10:0", -0.3))
        ]
    )
    spec = strongest(rows).to_dict()
    assert spec["layer"][3]["encoding"]["y"]["sort"] == ["9:9", "0:2", "10:0"]
