"""Which comparisons are made, and how seeds come together."""

from __future__ import annotations

import numpy as np
import pytest

from whence.anchors.evaluate.comparisons import Arm, compare_with_baselines
from whence.anchors.evaluate.seeds import mean_over_seeds, mean_per_problem
from whence.anchors.evaluate.spread import over_problems
from whence.stats import cluster_bootstrap


def arm(name: str, *, baseline: bool, seeds: list[int | None], shift: float = 0.0) -> Arm:
    rng = np.random.default_rng(len(name))
    return Arm(
        name,
        baseline,
        {
            seed: {
                f"p{i}": {"pr_auc": shift + rng.random(), "spearman": shift + rng.random()}
                for i in range(12)
            }
            for seed in seeds
        },
    )


def test_probes_meet_every_baseline_and_q_counts_the_table() -> None:
    arms = [
        arm("probe", baseline=False, seeds=[0, 1], shift=0.5),
        arm("place", baseline=True, seeds=[None]),
        arm("words!", baseline=True, seeds=[None]),
    ]
    found, impossible = compare_with_baselines(arms, "spearman", draws=1000)
    assert [(each.arm, each.control, each.metric, each.seeds) for each in found] == [
        ("probe", "place", "spearman", 2),
        ("probe", "words!", "spearman", 2),
        ("words!", "place", "spearman", 0),
        ("probe", "place", "pr_auc", 2),
        ("probe", "words!", "pr_auc", 2),
        ("words!", "place", "pr_auc", 0),
    ]
    assert impossible == []
    assert all(each.q >= each.p for each in found if each.q is not None and each.p is not None)
    assert found[0].sentence.startswith("probe beats place on spearman by 0.")
    assert "12 problems" in found[0].sentence


def test_an_arm_without_a_metric_is_said_and_does_not_stop_the_rest() -> None:
    flat = {f"p{i}": {"pr_auc": 0.1 * i, "spearman": None} for i in range(8)}
    arms = [
        Arm("constant", False, {None: flat}),
        arm("place", baseline=True, seeds=[None]),
    ]
    found, impossible = compare_with_baselines(arms, "pr_auc", draws=1000)
    assert [(each.metric, each.items) for each in found] == [("pr_auc", 8)]
    assert impossible == ["constant against place: no problem has spearman for both"]
    assert compare_with_baselines(arms[:1], "pr_auc", draws=1000) == ([], [])


def test_numbers_are_averaged_over_seeds_and_shapes_kept() -> None:
    first = {
        "a": 0.2,
        "n": None,
        "bins": [{"count": 3, "pr_auc": 0.1}],
        "cal": {"b": [1], "x": 1.0},
    }
    other = {
        "a": 0.4,
        "n": 0.3,
        "bins": [{"count": 3, "pr_auc": 0.3}],
        "cal": {"b": [1, 2], "x": 3.0},
    }
    found = mean_over_seeds([first, other])
    assert found["a"] == pytest.approx(0.3)
    assert found["n"] is None
    assert found["bins"] == [{"count": 3, "pr_auc": pytest.approx(0.2)}]
    assert found["cal"] == {"b": [1], "x": 2.0}
    by_seed = [{"p": {"m": 0.2, "k": None}}, {"p": {"m": 0.4, "k": 0.5}}]
    assert mean_per_problem(by_seed) == {"p": {"m": pytest.approx(0.3), "k": 0.5}}


def test_a_mean_over_problems_with_its_interval_or_the_reason() -> None:
    values = {f"p{i}": float(i) for i in range(7)}
    found = over_problems({**values, "x": None}, 2000)
    interval = cluster_bootstrap(list(values.values()), draws=2000)
    assert found["interval"] == [interval.low, interval.high]
    assert (found["mean"], found["undefined"]) == (3.0, 1)
    assert found["reason"].startswith("1 problem has no such metric")
    few = over_problems({"a": 0.1, "b": 0.2}, 2000)
    assert few["interval"] is None
    assert few["reason"] == "2 problems, and an interval needs at least 5"
    none = over_problems({"a": None}, 2000)
    assert (none["mean"], none["interval"]) == (None, None)
