"""Grids against the rows they came from, effects against one comparison at a time."""

from __future__ import annotations

import measured
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from whence.errors import BadInput, WhenceError
from whence.heads.effects import effects, grids, together
from whence.heads.metrics import METRICS, derive
from whence.stats.paired import paired_difference


def shuffled(table: pa.Table) -> pa.Table:
    return table.take(np.random.default_rng(0).permutation(len(table)))


def test_effects_are_those_of_each_comparison_alone():
    table = measured.sweep(2, 3, {(1, 2): 0.5}, per_prompt=2, full_target=True).table()
    (grid,) = grids(shuffled(table))
    found = effects(grid, tuple(METRICS)).set_index(["metric", "label"])
    assert len(found) == 6 * len(METRICS)
    for name in METRICS:
        for label in ("0:0", "1:2"):
            rows = table.filter(pc.equal(table["label"], label))
            columns = {c: rows[c].to_numpy() for c in rows.column_names}
            value, delta = derive(columns, name)
            one = paired_difference(delta, np.zeros(len(delta)), columns["prompt"])
            row = found.loc[(name, label)]
            assert row["value"] == pytest.approx(value.mean())
            assert row["delta"] == pytest.approx(one.effect)
            assert row["ci_low"] == pytest.approx(one.interval.low, abs=0.2 * one.standard_error)
            assert row["ci_high"] == pytest.approx(one.interval.high, abs=0.2 * one.standard_error)
            assert (one.clusters, one.items) == (40, 80)


def test_seeds_of_something_deterministic_are_counted_once():
    once = measured.sweep(2, 3, {(1, 2): 0.5}).table()
    thrice = measured.sweep(2, 3, {(1, 2): 0.5}, seeds=(0, 1, 2)).table()
    assert [grid.seed for grid in grids(thrice)] == [0]
    assert effects(together(grids(thrice)), ("kl_div",)).equals(
        effects(together(grids(once)), ("kl_div",))
    )


def test_prompt_subsamples_narrow_nothing_beyond_the_prompts_they_add():
    truth = {(0, 1): 0.4}
    table = measured.sweep(1, 2, truth, seeds=range(8), subsample=20, prompts=30).table()
    per_seed = grids(table)
    assert [grid.seed for grid in per_seed] == list(range(8))
    every = measured.sweep(1, 2, truth, prompts=30).table()
    apart = [effects(grid, ("delta_logit_diff",)).iloc[1] for grid in per_seed]
    joint = effects(together(per_seed), ("delta_logit_diff",)).iloc[1]
    whole = effects(grids(every)[0], ("delta_logit_diff",)).iloc[1]
    assert joint["delta"] == pytest.approx(np.mean([row["delta"] for row in apart]))
    # 160 rows, but 30 prompts: about as wide as the 30 prompts once, not √(160/30) times narrower.
    width = {n: r["ci_high"] - r["ci_low"] for n, r in (("joint", joint), ("whole", whole))}
    assert width["joint"] == pytest.approx(width["whole"], rel=0.25)
    assert joint.isna()["seed"]


def test_subsamples_of_unequal_size_weigh_seeds_alike():
    a = measured.sweep(1, 2, {(0, 1): 0.4}, seeds=(0,), subsample=10).table()
    b = measured.sweep(1, 2, {(0, 1): 0.4}, seeds=(1,), subsample=25).table()
    b = b.set_column(b.column_names.index("seed"), "seed", pa.array([1] * len(b), pa.int64()))
    per_seed = grids(pa.concat_tables([a, b]))
    joint = effects(together(per_seed), ("p_drop",))
    apart = [effects(grid, ("p_drop",)) for grid in per_seed]
    assert joint["delta"].to_numpy() == pytest.approx((apart[0]["delta"] + apart[1]["delta"]) / 2)
    assert joint["value"].to_numpy() == pytest.approx(joint["delta"].to_numpy())


def test_resample_seeds_stay_apart():
    table = measured.sweep(1, 3, {}, seeds=(3, 4), resample=True).table()
    assert [grid.seed for grid in grids(table)] == [3, 4]


def test_few_prompts_have_no_interval():
    (grid,) = grids(measured.sweep(1, 3, {}, prompts=4).table())
    found = effects(grid, ("kl_div", "delta_logit_diff"))
    assert found[["ci_low", "ci_high", "p"]].isna().all(axis=None)
    assert found["delta"].notna().all()


def test_recovered_is_the_ratio_of_sums():
    made = {measured.layer(0): 0.5, measured.layer(1): -2.0, measured.layer(1, "sham"): 0.0}
    table = measured.Truth(made, source=-1.0).table()
    found = effects(grids(table)[0], ("delta_logit_diff", "kl_div")).set_index(["metric", "kind"])
    rows = table.filter(pc.equal(table["label"], "0"))
    delta = pc.subtract(rows["logit_diff"], rows["clean_logit_diff"])
    gap = pc.subtract(rows["source_logit_diff"], rows["clean_logit_diff"])
    share = pc.sum(delta).as_py() / pc.sum(gap).as_py()
    patched = found.loc[("delta_logit_diff", "patch")]
    assert patched["recovered"].iloc[0] == pytest.approx(share)
    assert patched["recovered"].iloc[1] == pytest.approx(1, abs=0.2)
    assert found.loc[("delta_logit_diff", "sham"), "recovered"] == 0
    assert found.loc["kl_div", "recovered"].isna().all()


def test_a_missing_example_and_a_nan_are_named():
    table = measured.sweep(1, 2, {}).table()
    with pytest.raises(WhenceError, match="seed 0: head '0:1' was not measured on the same"):
        grids(table.slice(0, len(table) - 1))
    broken = table["kl_div"].to_numpy().copy()
    broken[45] = np.nan
    at = table.column_names.index("kl_div")
    with pytest.raises(BadInput, match="'0:1' on example 5: kl_div is nan"):
        grids(table.set_column(at, "kl_div", pa.array(broken)))


def test_nothing_is_recovered_where_nothing_separates_the_prompts():
    made = {measured.layer(0): 0.5, measured.layer(1): -2.0}
    table = measured.Truth(made, source=1.0).table()
    gap = pc.subtract(table["source_logit_diff"], table["clean_logit_diff"]).to_numpy()
    assert np.ptp(gap) > 0
    found = effects(grids(table)[0], ("delta_logit_diff",))
    assert found["recovered"].isna().all()
