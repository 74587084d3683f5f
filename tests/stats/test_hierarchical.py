"""The crossed bootstrap against closed forms, SciPy, statsmodels and its own stated coverage."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from whence.errors import BadInput
from whence.stats import hierarchical_bootstrap, paired_difference, spread
from whence.stats.hierarchical import _crossed_means, over_clusters


def crossed(
    rng: np.random.Generator, seeds: int, items: int, between: float, item=0.3, rest=0.4
) -> np.ndarray:
    """d[s,i] = a_s + b_i + e_si with a true mean of 0."""
    return (
        rng.normal(0, between, size=(seeds, 1))
        + rng.normal(0, item, size=(1, items))
        + rng.normal(0, rest, size=(seeds, items))
    )


def mean_squares(d: np.ndarray) -> tuple[float, float, float]:
    seeds, items = d.shape
    table = pd.DataFrame({"d": d.ravel()})
    table["s"], table["i"] = np.repeat(np.arange(seeds), items), np.tile(np.arange(items), seeds)
    squares = anova_lm(ols("d ~ C(s) + C(i)", table).fit())
    return tuple((squares["sum_sq"] / squares["df"])[["C(s)", "C(i)", "Residual"]])


def test_bootstrap_variance_is_the_pigeonhole_bootstraps() -> None:
    d = crossed(np.random.default_rng(1), 4, 30, 0.2)
    ms_seed, ms_item, ms_rest = mean_squares(d)
    per_seed, per_item = 1 - 1 / 4, 1 - 1 / 30
    closed = ms_seed * per_seed + ms_item * per_item + ms_rest * per_seed * per_item
    drawn = _crossed_means(d, np.ones(d.shape), draws=40_000, seed=0)
    assert drawn.var() == pytest.approx(closed / d.size, rel=0.03)
    assert drawn.mean() == pytest.approx(d.mean(), abs=0.005)


def test_spread_matches_the_two_way_anova() -> None:
    d = crossed(np.random.default_rng(2), 5, 20, 0.3)
    ms_seed, ms_item, ms_rest = mean_squares(d)
    found = spread(d)
    assert found.rest == pytest.approx(ms_rest)
    assert found.seed == pytest.approx((ms_seed - ms_rest) / 20)
    assert found.item == pytest.approx((ms_item - ms_rest) / 5)


def test_where_seeds_dominate_it_is_the_t_test_over_seed_means() -> None:
    d = 0.3 + crossed(np.random.default_rng(3), 3, 200, 0.5, item=0.05, rest=0.05)
    found = hierarchical_bootstrap(d)
    by_t = stats.ttest_1samp(d.mean(axis=1), 0)
    ends = by_t.confidence_interval(0.95)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((ends.low, ends.high))
    assert found.p == pytest.approx(by_t.pvalue)


def test_an_item_met_under_five_seeds_is_one_item() -> None:
    once = np.random.default_rng(4).normal(0.1, 1.0, size=100)
    under_five = once + np.random.default_rng(5).normal(0, 1e-6, size=(5, 100))
    five, one = hierarchical_bootstrap(under_five), paired_difference(once, np.zeros(100))
    assert five.interval is not None
    assert one.interval is not None
    width = one.interval.high - one.interval.low
    assert five.interval.high - five.interval.low == pytest.approx(width, rel=0.05)


@pytest.mark.parametrize(("seeds", "between"), [(3, 0.0), (3, 0.1), (5, 0.0), (5, 0.1)])
def test_coverage_holds_with_few_seeds(seeds: int, between: float) -> None:
    rng = np.random.default_rng(6)
    inside, runs = 0, 250
    for run in range(runs):
        interval = hierarchical_bootstrap(
            crossed(rng, seeds, 100, between), draws=399, seed=run
        ).interval
        assert interval is not None
        inside += interval.low <= 0 <= interval.high
    # Docstring: 0.93 – 1.00. Two binomial standard errors of 250 runs are 0.03.
    assert inside / runs >= 0.91


@pytest.mark.parametrize("items", [5, 10])
def test_coverage_holds_with_few_items_that_differ(items: int) -> None:
    rng = np.random.default_rng(12)
    inside, runs = 0, 300
    for run in range(runs):
        d = crossed(rng, 5, items, 0.0, item=0.3, rest=0.1)
        interval = hierarchical_bootstrap(d, draws=999, seed=run).interval
        assert interval is not None
        inside += interval.low <= 0 <= interval.high
    # The crossed bootstrap and t over seeds alone: 0.84 and 0.91.
    assert 0.92 <= inside / runs <= 0.98


def test_where_items_dominate_it_is_at_least_the_t_test_over_item_means() -> None:
    d = 0.1 + crossed(np.random.default_rng(13), 5, 6, 0.01, item=0.5, rest=0.01)
    found = hierarchical_bootstrap(d)
    by_t = stats.ttest_1samp(d.mean(axis=0), 0)
    ends = by_t.confidence_interval(0.95)
    assert found.interval is not None
    assert found.interval.low <= ends.low + 1e-12
    assert found.interval.high >= ends.high - 1e-12
    assert found.p is not None
    assert found.p >= by_t.pvalue - 1e-12


def test_p_agrees_with_the_interval() -> None:
    d = crossed(np.random.default_rng(7), 3, 40, 0.1)
    for shift in np.linspace(-0.6, 0.6, 41):
        found = hierarchical_bootstrap(d + shift, draws=999)
        assert found.interval is not None
        assert found.p is not None
        assert (found.interval.low > 0 or found.interval.high < 0) == (found.p <= 0.05)
        assert found.p > 0


def test_one_seed_resamples_items_only() -> None:
    d = np.random.default_rng(8).normal(size=(1, 60))
    alone = paired_difference(d[0], np.zeros(60), seed=3)
    assert hierarchical_bootstrap(d, seed=3) == alone


def test_clusters_of_items_hold_together() -> None:
    rng = np.random.default_rng(9)
    d = crossed(rng, 4, 50, 0.05)
    threes = hierarchical_bootstrap(3 * d, np.full(d.shape, 3.0))
    ones = hierarchical_bootstrap(d)
    assert threes.interval is not None
    assert ones.interval is not None
    assert threes.effect == pytest.approx(ones.effect)
    assert threes.interval.low == pytest.approx(ones.interval.low)
    assert (threes.items, ones.items) == (600, 200)


def test_missing_cells_are_left_out_not_counted_as_zero() -> None:
    rng = np.random.default_rng(10)
    d = 1 + crossed(rng, 4, 80, 0.05)
    there = rng.random(d.shape) > 0.2
    found = hierarchical_bootstrap(np.where(there, d, 0.0), there)
    assert found.effect == pytest.approx(d[there].mean())
    assert found.items == there.sum()
    whole = hierarchical_bootstrap(d)
    assert found.interval is not None
    assert whole.interval is not None
    assert found.interval.low < whole.effect < found.interval.high
    ratio = (found.interval.high - found.interval.low) / (whole.interval.high - whole.interval.low)
    assert 0.9 < ratio < 1.6


def test_seeds_that_hardly_share_items_give_no_interval() -> None:
    there = np.array([[1, 0, 0, 0, 0, 0], [0, 1, 1, 1, 1, 1]])  # nested, not crossed
    found = hierarchical_bootstrap(there * np.arange(1.0, 7.0), there)
    assert found.effect == pytest.approx(3.5)
    assert found.interval is None
    assert found.reason is not None
    assert "overlap too little" in found.reason


def test_too_few_items_or_no_spread_give_the_reason() -> None:
    few = hierarchical_bootstrap(np.random.default_rng(12).normal(size=(5, 4)))
    assert few.interval is None
    assert few.p is None
    assert few.reason == "4 items, and an interval needs at least 5"
    same = hierarchical_bootstrap(np.full((3, 50), 0.1))
    assert same.interval is None
    assert same.reason is not None
    assert "no spread" in same.reason
    assert hierarchical_bootstrap(np.zeros((3, 50))).interval is None


def test_bad_input_is_named() -> None:
    with pytest.raises(BadInput, match=r"expected \[seeds, items\]"):
        hierarchical_bootstrap(np.zeros(5))
    bad = np.zeros((2, 6))
    bad[1, 3] = np.nan
    with pytest.raises(BadInput, match="seed 1, item 3"):
        hierarchical_bootstrap(bad)
    with pytest.raises(BadInput, match="without any row"):
        hierarchical_bootstrap(np.zeros((2, 6)), np.r_[np.ones((1, 6)), np.zeros((1, 6))])
    with pytest.raises(BadInput, match="at least 2 of each"):
        spread(np.zeros((1, 6)))


def test_what_no_seed_changes_is_judged_over_clusters_by_the_wider_interval() -> None:
    d = np.random.default_rng(7).normal(0.2, 1, size=12)
    found, plain = over_clusters(d[None]), paired_difference(d, np.zeros(12))
    exact = stats.ttest_1samp(d, 0)
    ends = exact.confidence_interval(0.95)
    assert found.interval is not None
    assert plain.interval is not None
    assert found.interval.low == pytest.approx(min(plain.interval.low, ends.low))
    assert found.interval.high == pytest.approx(max(plain.interval.high, ends.high))
    assert plain.p is not None
    assert found.p == pytest.approx(max(plain.p, exact.pvalue))
    with pytest.raises(BadInput, match="one row"):
        over_clusters(np.ones((2, 6)))


@pytest.mark.parametrize("clusters", [5, 10, 20])
def test_coverage_over_few_clusters_is_nominal(clusters: int) -> None:
    rng = np.random.default_rng(clusters)
    inside = 0
    for _ in range(500):
        interval = over_clusters(rng.normal(size=(1, clusters)), draws=999).interval
        assert interval is not None
        inside += interval.low <= 0 <= interval.high
    assert 0.93 <= inside / 500 <= 0.985
