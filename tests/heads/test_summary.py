"""The summary against the tables it sums up."""

from __future__ import annotations

from typing import Any

import measured
import numpy as np
import pandas as pd
import pytest

from whence.heads.effects import Grid, Intervention, all_effects, grids, together
from whence.heads.impact import Impact, impact
from whence.heads.summary import baseline_run, null_by_layer, strongest, summary
from whence.runs.jsonfile import plain

METRICS = ("delta_logit_diff", "kl_div")
BASELINE = {
    "clean": {"logit_diff": 1.0, "logit_diff_interval": [0.5, 1.5]},
    "n_prompts": 99,
    "excluded": {"target and foil begin with the same token": [3]},
    "bos": 1,
}


def joint(
    truth: measured.Truth, n_heads: int | None = None
) -> tuple[Impact, pd.DataFrame, list[Grid]]:
    per_seed = grids(truth.table())
    every = [together(per_seed)]
    found = all_effects(every, METRICS)
    return impact(found, every, METRICS, {}, run_id="r", n_heads=n_heads), found, per_seed


def told(truth: measured.Truth, battery: dict[str, Any] | None = None, **notes: Any) -> Any:
    return summary(
        *joint(truth),
        run_id="r",
        condition="facts",
        model={"name": "m"},
        corpus={"id": "c"},
        battery=battery or {"type": "heads_zero"},
        metrics=METRICS,
        baseline=BASELINE,
        notes=notes,
    )


def test_the_strongest_heads_stand_beside_their_layer():
    tables, found, _ = joint(measured.sweep(3, 6, {(1, 4): -0.8, (2, 0): 0.4}), n_heads=6)
    top = strongest(tables, found, at_most=2)
    assert [row["name"] for row in top] == ["1:4", "2:0"]
    assert top[0]["delta_logit_diff"] == pytest.approx(-0.8, abs=0.1)
    assert top[0]["interval"][0] < top[0]["delta_logit_diff"] < top[0]["interval"][1] < 0
    assert (top[0]["layer"], top[0]["head"], top[0]["percentile_in_layer"]) == (1, 4, 100)
    rows = tables.heads.to_pandas()
    rows = rows[(rows["metric"] == "delta_logit_diff") & (rows["layer"] == 1) & (rows["head"] != 4)]
    others = top[0]["others_in_layer"]
    assert others["heads"] == 5
    assert [others["low"], others["high"]] == pytest.approx(np.percentile(rows["delta"], [5, 95]))


def test_heads_without_a_layer_to_compare_with_say_so():
    chosen = measured.Truth({measured.head(0, 1): 0.5, measured.head(0, 2): 0.1})
    tables, found, _ = joint(chosen, n_heads=12)
    assert strongest(tables, found)[0]["percentile_in_layer"] is None
    assert strongest(tables, found)[0]["others_in_layer"] is None


def test_the_null_is_of_random_heads_where_there_are_any():
    made = {measured.head(0, 1): 5.0}
    for n in (2, 3, 4):
        made[Intervention("random", f"random 0:{n} of layer 0", f"0:{n}", 0, n, 0.0)] = 0.1 * n
    null = null_by_layer(joint(measured.Truth(made, noise=1e-6))[1])
    assert null["0"]["of"] == "random heads"
    assert null["0"]["heads"] == 3
    assert null["0"]["median"] == pytest.approx(0.3, abs=1e-4)
    assert null_by_layer(joint(measured.sweep(2, 4, {}))[1])["1"]["of"] == "measured heads"


def test_everything_is_of_the_first_scale():
    made = {measured.head(0, n, scale=s): (1 - s) * n for s in (0.0, 0.5) for n in range(4)}
    top = strongest(*joint(measured.Truth(made))[:2])
    assert len(top) == 4
    assert {row["scale"] for row in top} == {0.0}
    assert top[0]["delta_logit_diff"] == pytest.approx(3, abs=0.15)


def test_the_baseline_stands_at_the_top_level():
    out = told(measured.sweep(2, 3, {}), layers=2)
    assert out["clean"] == BASELINE["clean"]
    assert (out["n_prompts"], out["n_examples"], out["bos"]) == (99, 40, 1)
    assert out["notes"] == {"layers": 2}
    assert out["baseline_run"] == "clean"
    assert plain(out) == out


def test_seeds_that_repeat_are_used_but_not_counted():
    vary = {"given": [0, 1], "used": [0], "vary": "nothing: the battery is deterministic"}
    out = told(measured.sweep(1, 3, {}, seeds=(0, 1)), seeds=vary)
    assert out["seeds"] == vary | {"counted": [0]}
    assert "seeds" not in out["notes"]
    several = told(measured.sweep(1, 3, {}, seeds=(0, 1), subsample=20))
    assert several["seeds"]["counted"] == [0, 1]
    top = several["strongest"][0]
    assert top["interval"] is not None


def test_layers_pairs_and_sets_are_told():
    made = {measured.layer(0): 0.5, measured.layer(0, "sham"): 0.0}
    out = told(measured.Truth(made, source=-1.0), {"patch_direction": "clean->corrupt"})
    assert out["layers"][0]["layers"] == "0"
    assert out["layers"][0]["recovered"] < 0
    assert out["sham"] == {"n": 1, "largest_change": 0.0}
    assert out["strongest"] == []
    assert out["baseline_run"] == baseline_run({"patch_direction": "clean->corrupt"}) == "corrupt"

    pair = measured.pair((0, 1), (0, 2))
    singles = {measured.head(0, 1): 0.0, measured.head(0, 2): 0.1}
    random = {Intervention("random", "random 1 of 0:1+0:2", "0:3 0:4", 0, None, 0.0): 0.0}
    (row,) = told(measured.Truth(singles | {pair: -1.0} | random))["pairs"]
    assert row["name"] == "0:1+0:2"
    assert row["synergy"] == pytest.approx(-1.1, abs=0.15)
    assert row["synergy_interval"][1] < 0
    assert row["percentile_of_random"] == 100

    sets = {Intervention("subset", "duo", "0:1 0:2", 0, None, 0.0): 0.2}
    for n, size in enumerate((0.1, 0.3), start=1):
        sets[Intervention("random", f"random {n} of duo", f"0:{n}", 0, None, 0.0)] = size
    (row,) = told(measured.Truth(sets, noise=1e-3))["subsets"]
    assert (row["label"], row["heads"], row["percentile_of_random"]) == ("duo", ["0:1", "0:2"], 50)
    assert row["random_sets"]["sets"] == 2


def test_few_prompts_are_null_and_never_nan():
    out = told(measured.sweep(1, 3, {}, prompts=3))
    assert out["strongest"][0]["interval"] is None
    assert out["strongest"][0]["q"] is None
    assert plain(out) == out
