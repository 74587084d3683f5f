"""The cluster bootstrap against SciPy, closed forms and simulation."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy import stats

from whence.errors import BadInput
from whence.stats import Interval, NoInterval, cluster_bootstrap
from whence.stats.intervals import bootstrap_means, bootstrap_p, percentile_ends


def test_single_row_clusters_match_scipy_percentile_bootstrap() -> None:
    values = np.random.default_rng(1).gamma(2.0, size=80)
    ours = cluster_bootstrap(values)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=10_000, method="percentile", rng=2
    ).confidence_interval
    assert isinstance(ours, Interval)
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.03 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.03 * width)
    assert ours.clusters == 80


def test_spread_of_unequal_clusters_is_that_of_the_ratio_estimator() -> None:
    rng = np.random.default_rng(2)
    sizes = rng.integers(1, 9, size=120).astype(float)
    sums = sizes * rng.normal(1.0, 1.0, size=120)
    mean = sums.sum() / sizes.sum()
    linearised = np.sqrt(((sums - mean * sizes) ** 2).sum()) / sizes.sum()
    assert bootstrap_means(sums, sizes, draws=20_000, seed=0).std() == pytest.approx(
        linearised, rel=0.04
    )


def test_rows_of_one_cluster_are_not_independent_evidence() -> None:
    values = np.random.default_rng(3).normal(size=40)
    copied, labels = np.repeat(values, 25), np.repeat(np.arange(40), 25)
    naive, clustered = cluster_bootstrap(copied), cluster_bootstrap(copied, labels)
    once = cluster_bootstrap(values)
    assert isinstance(naive, Interval)
    assert isinstance(clustered, Interval)
    assert isinstance(once, Interval)
    assert (clustered.low, clustered.high) == pytest.approx((once.low, once.high))
    assert clustered.high - clustered.low > 4 * (naive.high - naive.low)


@pytest.mark.parametrize("clusters", [1, 2, 4])
def test_fewer_than_five_clusters_give_the_reason_and_no_interval(clusters: int) -> None:
    values = np.arange(60.0)
    answer = cluster_bootstrap(values, values % clusters)
    assert isinstance(answer, NoInterval)
    assert answer.clusters == clusters
    assert f"{clusters} cluster" in answer.reason
    assert "at least 5" in answer.reason


def test_clusters_that_agree_give_no_zero_width_interval() -> None:
    answer = cluster_bootstrap([0.1] * 60, np.arange(60) // 7)
    assert isinstance(answer, NoInterval)
    assert "no spread" in answer.reason


def test_p_and_interval_always_agree() -> None:
    base = bootstrap_means(
        np.random.default_rng(4).normal(size=60), np.ones(60), draws=1999, seed=0
    )
    for confidence in (0.8, 0.9, 0.95, 0.99):
        for shift in np.linspace(-0.6, 0.6, 241):
            low, high = percentile_ends(base + shift, confidence)
            outside = low > 0 or high < 0
            assert outside == (bootstrap_p(base + shift) <= 1 - confidence + 1e-12)


def test_p_is_never_zero_and_never_above_one() -> None:
    assert bootstrap_p(np.full(10_000, 3.0)) == 2 / 10_001
    assert bootstrap_p(np.zeros(10_000)) == 1.0


def test_p_follows_the_t_test_where_that_is_right() -> None:
    values = np.random.default_rng(5).normal(0.15, 1.0, size=300)
    p = bootstrap_p(bootstrap_means(values, np.ones(300), draws=20_000, seed=0))
    assert p == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=0.15)


def test_same_seed_same_interval_and_row_order_is_irrelevant() -> None:
    rng = np.random.default_rng(6)
    values, labels = rng.integers(0, 2, size=300), rng.integers(0, 40, size=300).astype(str)
    order = rng.permutation(300)
    first = cluster_bootstrap(values, labels, seed=7)
    assert first == cluster_bootstrap(values, labels, seed=7)
    assert first == cluster_bootstrap(values[order], labels[order], seed=7)
    assert first != cluster_bootstrap(values, labels, seed=8)


def test_memory_is_bounded_at_a_hundred_thousand_clusters() -> None:
    values = np.random.default_rng(7).normal(size=100_000)
    tracemalloc.start()
    answer = cluster_bootstrap(values, draws=300)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(answer, Interval)
    assert answer.high - answer.low == pytest.approx(2 * 1.96 / np.sqrt(100_000), rel=0.2)
    assert peak < 120e6  # all 300 × 100,000 indices at once would be 240 MB


def test_coverage_is_as_the_docstring_says() -> None:
    rng = np.random.default_rng(8)
    for clusters, stated in ((5, 0.83), (50, 0.94)):
        inside = 0
        for run in range(400):
            answer = cluster_bootstrap(rng.normal(size=clusters), draws=499, seed=run)
            assert isinstance(answer, Interval)
            inside += answer.low <= 0 <= answer.high
        assert inside / 400 == pytest.approx(stated, abs=0.05)


def test_bad_input_is_named() -> None:
    with pytest.raises(BadInput, match="values row 2 is nan"):
        cluster_bootstrap([0.0, 1.0, np.nan])
    with pytest.raises(BadInput, match="3 values but 2 cluster labels"):
        cluster_bootstrap([0.0, 1.0, 2.0], ["a", "b"])
    with pytest.raises(BadInput, match="needs at least 39"):
        cluster_bootstrap(np.arange(9.0), draws=38)
    assert isinstance(cluster_bootstrap(np.arange(9.0), draws=39), Interval)
    with pytest.raises(BadInput, match="between 0 and 1"):
        cluster_bootstrap(np.arange(9.0), confidence=95)
