"""Tables of impact against planted effects and against loops over their rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import measured
import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pytest
from scipy import stats

from whence.heads.effects import Intervention, effects, grids
from whence.heads.impact import (
    HEAD_COLUMNS,
    LAYER_COLUMNS,
    PAIR_COLUMNS,
    SUBSET_COLUMNS,
    head_impact,
    layer_impact,
    pair_impact,
    percentile_of_random,
    subset_impact,
)
from whence.stats.paired import paired_difference

METRICS = ("delta_logit_diff", "kl_div")


def found(truth: measured.Truth) -> pd.DataFrame:
    return pd.concat([effects(g, METRICS) for g in grids(truth.table())], ignore_index=True)


def heads_of(truth: measured.Truth, **settings: Any) -> pd.DataFrame:
    table = head_impact(found(truth), run_id="r", **settings)
    assert table.column_names == HEAD_COLUMNS
    return table.to_pandas()


def test_the_planted_head_is_found_and_no_other():
    heads = heads_of(measured.sweep(6, 8, {(2, 3): 0.6, (4, 1): -0.3}), n_heads=8)
    assert len(heads) == 48 * len(METRICS)
    headline = heads[heads["metric"] == "delta_logit_diff"].set_index(["layer", "head"])
    assert headline.loc[(2, 3), "delta"] == pytest.approx(0.6, abs=0.1)
    assert set(headline.index[headline["q"] < 0.01]) == {(2, 3), (4, 1)}
    assert headline.loc[(2, 3), "percentile_in_layer"] == 100
    assert headline.loc[(4, 1), "percentile_in_layer"] == 100
    assert headline["percentile_in_layer"].min() == 100 / 8
    assert (headline["ci_low"] < headline["delta"]).all()
    assert heads["run_id"].eq("r").all()


def test_q_and_percentile_are_per_seed_scale_and_metric():
    made = {
        measured.head(layer, number, scale=scale): 0.1 * number * (1 - scale)
        for scale in (0.0, 0.5)
        for layer in (0, 1)
        for number in range(4)
    }
    truth = measured.Truth(made, seeds=(0, 1), resample=True)
    table = truth.table()
    rows = heads_of(truth)
    assert len(table) == 16 * 2 * 40
    assert len(rows) == 16 * 2 * len(METRICS)
    for _, family in rows.groupby(["seed", "scale", "metric"]):
        assert len(family) == 8
        q = stats.false_discovery_control(family["p"])
        assert family["q"].to_numpy() == pytest.approx(q)
        for _, layer in family.groupby("layer"):
            sizes = layer["delta"].abs()
            by_hand = [100 * (sizes <= size).mean() for size in sizes]
            assert layer["percentile_in_layer"].tolist() == pytest.approx(by_hand)


def test_heads_that_were_chosen_are_no_layer_to_compare_with():
    chosen = {measured.head(0, number): 1.0 for number in (1, 2)}
    assert heads_of(measured.Truth(chosen), n_heads=4)["percentile_in_layer"].isna().all()
    others = {
        Intervention("random", f"random 0:{n} of layer 0", f"0:{n}", 0, n, 0.0): 0.0 for n in (0, 3)
    }
    controlled = heads_of(measured.Truth(chosen | others), n_heads=12)
    assert len(controlled) == 2 * len(METRICS)
    assert controlled["percentile_in_layer"].min() == 75


def test_patches_of_single_heads_are_heads():
    made = {measured.head(0, n, "patch", None): 0.5 * n for n in range(3)}
    sham = {measured.head(0, n, "sham", None): 0.0 for n in range(3)}
    truth = measured.Truth(made | sham, source=-1.0)
    rows = heads_of(truth)
    assert len(rows) == 3 * len(METRICS)
    assert rows["scale"].isna().all()
    assert layer_impact(found(truth), {}, run_id="r") is None


def test_too_few_prompts_leave_nulls_and_not_nans():
    table = head_impact(found(measured.sweep(1, 3, {}, prompts=3)), run_id="r")
    for name in ("ci_low", "ci_high", "p", "q"):
        assert table[name].null_count == len(table)
    assert table["delta"].null_count == 0
    assert str(table.schema.field("layer").type) == "int32"


def test_layers_with_shams_and_windows():
    made: dict[Intervention, float] = {}
    for at, effect in ((8, 0.0), (9, -1.0), (10, -2.0)):
        made[measured.layer(at)] = effect
        made[measured.layer(at, "sham")] = 0.0
    made[Intervention("patch", "8-10", "", None, None, None)] = -2.0
    truth = measured.Truth(made, source=-1.0)
    battery = {"granularity": "mlp_out", "positions": "final_3", "patch_direction": "x->y"}
    table = layer_impact(found(truth), battery, run_id="r")
    assert table.column_names == LAYER_COLUMNS
    rows = table.to_pandas()
    assert rows["granularity"].unique().tolist() == ["mlp_out"]
    assert (rows["position"].iloc[0], rows["direction"].iloc[0]) == ("final_3", "x->y")
    headline = rows[rows["metric"] == "delta_logit_diff"].set_index(["kind", "layers"])
    assert headline.loc[("patch", "10"), "delta"] == pytest.approx(-2, abs=0.15)
    assert headline.loc[("patch", "10"), "recovered"] == pytest.approx(1, abs=0.3)
    assert np.isnan(headline.loc[("patch", "8-10"), "layer"])
    sham = headline.loc["sham"]
    assert (sham["delta"] == 0).all()
    assert sham[["ci_low", "p", "q"]].isna().all(axis=None)
    assert (sham["recovered"] == 0).all()
    patches = rows[(rows["kind"] == "patch") & (rows["metric"] == "kl_div")]
    q = stats.false_discovery_control(patches["p"])
    assert patches["q"].to_numpy() == pytest.approx(q)


def test_one_head_through_a_window_keeps_its_number():
    made = {Intervention("patch", "0-1", f"0:{n} 1:{n}", None, None, None): 0.1 * n for n in (2, 5)}
    table = layer_impact(
        found(measured.Truth(made, source=0.0)), {"granularity": "head_out"}, run_id="r"
    )
    assert table["layers"].unique().to_pylist() == ["0-1:2", "0-1:5"]


def synergies(extra: Mapping[Intervention, float], **truth: Any) -> measured.Truth:
    singles = {measured.head(0, 2): 0.4, measured.head(0, 4): -0.1, measured.head(3, 1): 0.0}
    return measured.Truth(singles | dict.fromkeys(extra, 0.0), synergy=extra, **truth)


def test_synergy_is_what_the_pair_adds_to_its_parts():
    extra = {measured.pair((0, 4), (0, 2)): 0.0, measured.pair((0, 2), (3, 1)): 0.5}
    table = synergies(extra).table()
    out = pair_impact(grids(table), METRICS, run_id="r")
    assert out.column_names == PAIR_COLUMNS
    rows = out.to_pandas().set_index(["metric", "layer_b", "head_b"])
    planted = rows.loc[("delta_logit_diff", 3, 1)]
    assert (planted["layer_a"], planted["head_a"]) == (0, 2)
    assert planted["synergy"] == pytest.approx(0.5, abs=1e-9)
    none = rows.loc[("delta_logit_diff", 0, 4)]
    assert none["synergy"] == pytest.approx(0, abs=1e-9)
    assert none["delta"] == pytest.approx(none["delta_a"] + none["delta_b"])
    # KL is no sum: its synergy is checked against one pair, example by example.
    part = {(row["kind"], row["label"]): [] for row in table.select(["kind", "label"]).to_pylist()}
    for kind, label in part:
        same = pc.and_(pc.equal(table["kind"], kind), pc.equal(table["label"], label))
        part[kind, label] = table.filter(same)["kl_div"].to_numpy()
    one = paired_difference(part["pair", "0:2+3:1"], part["head", "0:2"] + part["head", "3:1"])
    kl = rows.loc[("kl_div", 3, 1)]
    assert kl["synergy"] == pytest.approx(one.effect)
    assert kl["synergy_low"] == pytest.approx(one.interval.low, abs=0.2 * one.standard_error)
    assert kl["synergy_high"] == pytest.approx(one.interval.high, abs=0.2 * one.standard_error)
    assert kl["delta_a"] == pytest.approx(part["head", "0:2"].mean())


def test_a_redundant_pair_is_all_synergy():
    made = {measured.head(1, 0): 0.0, measured.head(1, 5): 0.0, measured.pair((1, 0), (1, 5)): -1.0}
    rows = pair_impact(grids(measured.Truth(made).table()), METRICS, run_id="r").to_pandas()
    row = rows[rows["metric"] == "delta_logit_diff"].iloc[0]
    assert row["synergy"] == pytest.approx(-1, abs=0.15)
    assert row["synergy_high"] < 0
    assert row["synergy_q"] < 0.01
    assert abs(row["delta_a"]) < 0.15


def test_a_pair_without_its_singles_has_no_synergy():
    made = {measured.head(0, 1): 0.0, measured.pair((0, 1), (0, 2)): 1.0}
    rows = pair_impact(grids(measured.Truth(made).table()), METRICS, run_id="r").to_pandas()
    assert rows[["synergy", "synergy_p", "delta_a"]].isna().all(axis=None)
    assert rows["delta"].notna().all()


def test_sets_stand_beside_their_random_sets():
    made = {Intervention("subset", "triplet", "0:2 0:4 0:7", 0, None, 0.0): 1.0}
    made |= {Intervention("subset", "duo of two", "1:0 1:1", 1, None, 0.0): 0.05}
    for of, size in (("triplet", 0.3), ("duo of two", 0.3)):
        for n in range(1, 5):
            label = f"random {n} of {of}"
            made[Intervention("random", label, f"{len(made)}:0 {len(made)}:1", 0, None, 0.0)] = (
                size * n
            )
    table = subset_impact(found(measured.Truth(made, noise=0.02)), run_id="r")
    assert table.column_names == SUBSET_COLUMNS
    rows = table.to_pandas()
    headline = rows[rows["metric"] == "delta_logit_diff"].set_index("label")
    assert headline.loc["triplet", "percentile_of_random"] == 75
    assert headline.loc["duo of two", "percentile_of_random"] == 0
    random = headline[headline["kind"] == "random"]
    assert len(random) == 8
    assert random[["q", "percentile_of_random"]].isna().all(axis=None)
    assert headline.loc["triplet", "heads"] == "0:2 0:4 0:7"


def test_random_partners_of_pairs_are_counted_but_make_no_table():
    made = {measured.pair((0, 1), (0, 2)): 1.0}
    for n in (1, 2):
        name = f"random {n} of 0:1+0:2"
        made[Intervention("random", name, f"0:{n} 0:5", 0, None, 0.0)] = 0.0
    rows = found(measured.Truth(made))
    assert subset_impact(rows, run_id="r") is None
    assert percentile_of_random(rows[rows["metric"] == "delta_logit_diff"]).tolist()[0] == 100
