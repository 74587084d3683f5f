"""Verdicts end to end on tables of results with a planted effect, or none."""

from __future__ import annotations

import json
import math
import time

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from whence.errors import BadInput
from whence.stats import arm_means, compare, hierarchical_bootstrap, mcnemar_exact, verdicts

KEYS = [
    "arm",
    "control",
    "metric",
    "effect",
    "interval",
    "p",
    "q",
    "seeds",
    "items",
    "minimum_detectable_effect",
    "seeds_needed",
    "sentence",
]


def results(arms: dict[str, float], seeds: int, items: int, *, between=0.1, seed=0) -> pd.DataFrame:
    """Probit right/wrong answers and losses; `arms` gives each arm's skill."""
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(0, 1, size=items)
    frames = []
    for arm, skill in arms.items():
        for s in range(seeds):
            chance = skill + rng.normal(0, between) - difficulty
            frames.append(
                pd.DataFrame(
                    {
                        "arm": arm,
                        "seed": s,
                        "row_id": [f"e{i}" for i in range(items)],
                        "correct": rng.normal(size=items) < chance,
                        "loss": 2 - chance / 4 + rng.normal(0, 0.2, size=items),
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


def grid(items: pd.DataFrame, arm: str, metric: str) -> np.ndarray:
    """[seeds, items] of one arm."""
    return (
        items[items["arm"] == arm]
        .pivot(index="seed", columns="row_id", values=metric)
        .to_numpy(dtype=float)
    )


TABLE = results({"top_k": 0.6, "matched_random": 0.0, "bm25": 0.05}, seeds=5, items=200)


def test_a_planted_effect_is_found_and_said() -> None:
    found = compare(TABLE, "top_k", "matched_random", "correct")
    diff = grid(TABLE, "top_k", "correct") - grid(TABLE, "matched_random", "correct")
    direct = hierarchical_bootstrap(diff)
    assert found.effect == pytest.approx(diff.mean())
    assert direct.interval is not None
    assert found.interval == pytest.approx((direct.interval.low, direct.interval.high))
    assert found.p == found.q == pytest.approx(direct.p)
    assert (found.seeds, found.items) == (5, 200)
    assert found.sentence.startswith("top_k beats matched_random on accuracy by 0.")
    assert "(5 seeds, 200 items, p = 0.00" in found.sentence


def test_where_lower_is_better_the_effect_keeps_its_sign() -> None:
    found = compare(TABLE, "top_k", "matched_random", "loss", higher_is_better=False)
    assert found.effect < 0
    assert found.interval is not None
    assert found.interval[0] < found.effect < found.interval[1] < 0
    assert found.sentence.startswith("top_k beats matched_random on loss, lower by 0.")
    other = compare(TABLE, "matched_random", "top_k", "loss", higher_is_better=False)
    assert other.effect == pytest.approx(-found.effect)
    assert "matched_random is worse than top_k on loss, higher by 0." in other.sentence


def test_no_difference_says_what_could_have_been_seen() -> None:
    found = compare(TABLE, "bm25", "matched_random", "correct")
    assert found.p is not None
    assert found.p > 0.05
    assert found.minimum_detectable_effect is not None
    assert found.minimum_detectable_effect > abs(found.effect)
    assert "that this design could see" in found.sentence
    assert "smallest detectable 0." in found.sentence
    assert found.seeds_needed is None or found.seeds_needed > 5


def test_one_seed_is_not_a_finding_however_large() -> None:
    one = TABLE[TABLE["seed"] == 2]
    found = compare(one, "top_k", "matched_random", "correct")
    assert found.sentence.startswith("one seed: not a finding (top_k minus matched_random")
    assert (found.seeds, found.items, found.seeds_needed) == (1, 200, None)
    sides = (one.loc[one["arm"] == arm, "correct"] for arm in ("top_k", "matched_random"))
    assert found.p == mcnemar_exact(*sides)


def test_one_seeds_detectable_effect_is_that_of_the_paired_t_test() -> None:
    one = TABLE[TABLE["seed"] == 0]
    found = compare(one, "top_k", "bm25", "loss", higher_is_better=False)
    diff = (grid(one, "top_k", "loss") - grid(one, "bm25", "loss"))[0]
    in_sd = TTestPower().solve_power(nobs=200, power=0.8, alpha=0.05)
    assert found.minimum_detectable_effect == pytest.approx(in_sd * diff.std(ddof=1), rel=1e-4)
    assert found.p == pytest.approx(stats.ttest_1samp(diff, 0).pvalue, abs=2e-3)


def test_deterministic_arms_run_under_every_seed_are_one_seed() -> None:
    one = TABLE[(TABLE["seed"] == 0) & TABLE["arm"].isin(["top_k", "bm25"])]
    copies = pd.concat([one.assign(seed=s) for s in range(4)])
    found = compare(copies, "top_k", "bm25", "correct")
    assert found.seeds == 1
    assert found.interval == compare(one, "top_k", "bm25", "correct").interval
    assert found.sentence.startswith("one seed: not a finding")
    assert "3 seeds only repeated another, counted once" in found.sentence


def test_a_base_without_seeds_is_paired_with_every_seed() -> None:
    base = TABLE[(TABLE["arm"] == "matched_random") & (TABLE["seed"] == 0)]
    items = pd.concat([TABLE, base.assign(arm="base", seed=None)])
    repeated = pd.concat([TABLE, *(base.assign(arm="base", seed=s) for s in range(5))])
    assert compare(items, "top_k", "base", "correct") == compare(
        repeated, "top_k", "base", "correct"
    )


def test_fewer_than_five_items_give_no_interval_and_no_verdict() -> None:
    few = TABLE[TABLE["row_id"].isin(["e1", "e2", "e3", "e4"])]
    found = compare(few, "top_k", "bm25", "loss", higher_is_better=False)
    assert found.to_dict() | {"effect": 0, "sentence": ""} == {
        "arm": "top_k",
        "control": "bm25",
        "metric": "loss",
        "effect": 0,
        "interval": None,
        "p": None,
        "q": None,
        "seeds": 5,
        "items": 4,
        "minimum_detectable_effect": None,
        "seeds_needed": None,
        "sentence": "",
    }
    assert found.sentence.startswith("no verdict: 4 items, and an interval needs at least 5")


def test_dropped_rows_are_said() -> None:
    lacking = TABLE[~((TABLE["arm"] == "bm25") & (TABLE["row_id"] == "e7"))]
    found = compare(lacking, "top_k", "bm25", "loss", higher_is_better=False)
    assert found.items == 199
    assert found.sentence.endswith("; 5 rows without a partner left out")


def test_an_interval_of_two_shares_stays_within_a_whole() -> None:
    rows = [
        {"arm": arm, "seed": seed, "row_id": str(item), "correct": arm == "a" and item != seed}
        for arm in ("a", "b")
        for seed in (0, 1)
        for item in range(12)
        if not (seed == 1 and arm == "a" and item > 8)
    ]
    found = compare(pd.DataFrame(rows), "a", "b", "correct")
    assert found.interval is not None
    assert found.interval[1] <= 1.0


def test_q_counts_the_whole_table_and_json_has_exactly_the_keys() -> None:
    pairs = [("top_k", "matched_random"), ("bm25", "matched_random"), ("top_k", "bm25")]
    table = verdicts(TABLE, pairs, {"correct": True, "loss": False})
    assert [(c.arm, c.control, c.metric) for c in table] == [
        (*pair, metric) for pair in pairs for metric in ("correct", "loss")
    ]
    p = [c.p for c in table]
    assert [c.q for c in table] == pytest.approx(multipletests(p, method="fdr_bh")[1])
    for comparison in table:
        written = comparison.to_dict()
        assert list(written) == KEYS
        back = json.loads(json.dumps(written, allow_nan=False))
        assert back == written
        assert all(type(back[key]) is int for key in ("seeds", "items"))


def test_what_falls_with_the_table_is_said_so() -> None:
    noise = {f"arm{i}": 0.0 for i in range(8)}
    items = results(noise | {"weak": 0.32, "control": 0.0}, seeds=4, items=150, seed=4)
    alone = compare(items, "weak", "control", "correct")
    assert alone.p is not None
    assert 0.006 < alone.p <= 0.05
    assert "weak beats control" in alone.sentence
    among = verdicts(
        items, [("weak", "control"), *((arm, "control") for arm in noise)], {"correct": True}
    )[0]
    assert among.q is not None
    assert among.q > 0.05
    assert "but not once all comparisons of this table count (q = 0." in among.sentence


def test_same_seed_same_verdict_whatever_the_row_order() -> None:
    shuffled = TABLE.sample(frac=1, random_state=1)
    again = [
        compare(frame, "top_k", "bm25", "loss", higher_is_better=False, draws=999, seed=5)
        for frame in (TABLE, TABLE, shuffled)
    ]
    assert again[0] == again[1] == again[2]
    assert again[0] != compare(
        TABLE, "top_k", "bm25", "loss", higher_is_better=False, draws=999, seed=6
    )


def test_a_table_without_effects_is_rarely_called() -> None:
    called = 0
    for run in range(25):
        items = results({"a": 0.0, "b": 0.0}, seeds=3, items=60, between=0.15, seed=run)
        for c in verdicts(items, [("a", "b")], {"correct": True, "loss": False}, draws=399):
            called += "beats" in c.sentence or "worse" in c.sentence
    assert called / 50 <= 0.11  # 5 % and two standard errors of 50


def test_means_per_arm() -> None:
    means = arm_means(TABLE, ["correct", "loss"])
    assert list(means) == ["top_k", "matched_random", "bm25"]
    assert means["bm25"]["loss"] == pytest.approx(grid(TABLE, "bm25", "loss").mean())
    assert 0 < means["top_k"]["correct"] < 1
    with pytest.raises(BadInput, match="column 'loss' is nan at arm 'top_k', seed 0"):
        arm_means(TABLE.assign(loss=math.nan), ["loss"])
    with pytest.raises(BadInput, match="no column speed"):
        arm_means(TABLE, ["speed"])


def test_six_comparisons_of_five_seeds_by_two_hundred_items_are_quick() -> None:
    pairs = [("top_k", "matched_random"), ("bm25", "matched_random"), ("top_k", "bm25")]
    verdicts(TABLE, pairs, {"loss": False}, draws=99)  # SciPy's import is not the question
    started = time.process_time()
    verdicts(TABLE, pairs, {"correct": True, "loss": False})
    assert time.process_time() - started < 3


def test_arms_that_no_seed_changes_are_judged_over_items_and_may_be_a_finding() -> None:
    one = TABLE[(TABLE["seed"] == 0) & TABLE["arm"].isin(["top_k", "bm25"])].assign(seed=None)
    found = compare(one, "top_k", "bm25", "loss", higher_is_better=False)
    diff = (grid(TABLE, "top_k", "loss") - grid(TABLE, "bm25", "loss"))[0]
    assert (found.seeds, found.items, found.seeds_needed) == (0, 200, None)
    assert found.effect == pytest.approx(diff.mean())
    assert found.interval is not None
    assert found.interval[1] < 0
    assert found.sentence.startswith("top_k beats bm25 on loss, lower by 0.")
    assert "(no seed changes either, 200 items, p = " in found.sentence
    few = one[one["row_id"].isin(["e1", "e2", "e3"])]
    none = compare(few, "top_k", "bm25", "loss", higher_is_better=False)
    assert (none.interval, none.seeds) == (None, 0)
    assert none.sentence.startswith("no verdict: 3 clusters, and an interval needs at least 5")
    assert none.sentence.endswith("no seed changes either, 3 items)")


def test_items_without_the_metric_are_refused_or_left_out_as_asked() -> None:
    holes = TABLE.assign(loss=TABLE["loss"].where(TABLE["row_id"] != "e3"))
    holes.loc[(holes["arm"] == "bm25") & (holes["row_id"] == "e5"), "loss"] = np.nan
    pairs, metrics = [("top_k", "bm25")], {"loss": False, "correct": True}
    with pytest.raises(BadInput, match="'loss' is nan"):
        verdicts(holes, pairs, metrics)
    loss, correct = verdicts(holes, pairs, metrics, leave_out_undefined=True)
    without = TABLE[~TABLE["row_id"].isin(["e3", "e5"])]
    assert loss.effect == compare(without, "top_k", "bm25", "loss").effect
    assert (loss.items, correct.items) == (198, 200)
    assert "5 rows without a partner" in loss.sentence
