"""Many comparisons at once against one at a time, against Student's t, and against loops."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest
from scipy import stats

from whence.errors import BadInput
from whence.stats.many import (
    false_discovery,
    many_differences,
    percentile_among,
    percentile_within,
)
from whence.stats.paired import paired_difference


def sample(rows: int, comparisons: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, comparisons)) + rng.normal(size=(rows, 1)) + 0.3


@pytest.mark.parametrize("clustered", [False, True])
def test_agrees_with_the_bootstrap_of_one_comparison(clustered: bool):
    deltas = sample(60, 8)
    clusters = np.random.default_rng(1).integers(0, 25, 60) if clustered else None
    many = many_differences(deltas, clusters)
    for column in range(8):
        one = paired_difference(deltas[:, column], np.zeros(60), clusters)
        assert many.effect[column] == one.effect
        assert many.standard_error[column] == pytest.approx(one.standard_error, rel=1e-12)
        assert (many.clusters, many.rows) == (one.clusters, one.items)
        # Ends of two bootstraps of 10,000 draws differ by their Monte-Carlo error: an end's
        # standard error is sqrt(α(1−α)/B)/density ≈ 0.027 standard errors of the mean.
        reach = 6 * 0.027 * one.standard_error * np.sqrt(2)
        assert many.low[column] == pytest.approx(one.interval.low, abs=reach)
        assert many.high[column] == pytest.approx(one.interval.high, abs=reach)
        tail = (one.p + 0.001) / 2
        assert many.p[column] == pytest.approx(one.p, abs=12 * np.sqrt(2 * tail / 10_000))


def test_equal_columns_and_few_clusters_have_no_interval():
    deltas = sample(12, 3)
    deltas[:, 1] = 0.1
    deltas[:, 2] = 0.0
    many = many_differences(deltas)
    assert many.reason[0] is None
    assert np.isfinite([many.low[0], many.high[0], many.p[0]]).all()
    for column in (1, 2):
        assert "same mean" in many.reason[column]
        assert np.isnan([a[column] for a in (many.low, many.high, many.p)]).all()
    few = many_differences(deltas, clusters=[0, 1, 2, 3] * 3)
    assert all("at least 5" in reason for reason in few.reason)
    assert np.isnan(few.p).all()
    assert few.effect == pytest.approx(deltas.mean(axis=0))


def test_weights_are_those_of_the_mean():
    deltas, weights = sample(30, 4), np.random.default_rng(2).uniform(0.5, 2, 30)
    many = many_differences(deltas, weights=weights)
    assert many.effect == pytest.approx(np.average(deltas, axis=0, weights=weights))
    assert ((many.low < many.effect) & (many.effect < many.high)).all()
    # A whole weight is so many rows of the same cluster.
    twice = np.repeat(np.arange(30), 2)
    assert many_differences(deltas, weights=np.full(30, 2.0)).low == pytest.approx(
        many_differences(deltas[twice], clusters=twice).low
    )


def test_p_goes_on_below_the_floor_as_student_t():
    rng = np.random.default_rng(3)
    deltas = rng.normal(size=(50, 3))
    deltas += [0.0, 0.9, 3.0]
    many = many_differences(deltas)
    t = stats.ttest_1samp(deltas, 0).pvalue
    assert many.p[0] == pytest.approx(t[0], rel=0.2)
    floor = 2 / 10_001
    assert many.p[1] <= floor
    assert many.p[2] == pytest.approx(t[2], rel=1e-9)
    assert many.p[2] < 1e-15
    clear = (many.low > 0) | (many.high < 0)
    assert (clear == (many.p <= 0.05)).all()


def test_interval_and_p_agree_about_zero():
    many = many_differences(np.random.default_rng(4).normal(0.25, 1, size=(40, 300)))
    clear = (many.low > 0) | (many.high < 0)
    assert 50 < clear.sum() < 250
    assert (clear == (many.p <= 0.05)).all()


def test_coverage_and_size_are_nominal():
    rng = np.random.default_rng(5)
    many = many_differences(rng.normal(size=(60, 3000)), draws=2000)
    inside = ((many.low <= 0) & (many.high >= 0)).mean()
    assert inside == pytest.approx(0.94, abs=0.015)
    assert (false_discovery(many.p) < 0.05).sum() <= 3


def test_one_set_of_resamples_serves_every_column():
    deltas = sample(40, 3)
    deltas[:, 1] = 2 * deltas[:, 0]
    deltas[:, 2] = -deltas[:, 0]
    many = many_differences(deltas)
    assert many.low[1] == pytest.approx(2 * many.low[0], rel=1e-12)
    assert many.low[2] == pytest.approx(-many.high[0], rel=1e-12)
    alone = many_differences(deltas[:, :1])
    assert (alone.low[0], alone.high[0], alone.p[0]) == (many.low[0], many.high[0], many.p[0])


def test_order_of_rows_and_names_of_clusters_do_not_matter():
    deltas = np.round(sample(40, 5) * 64) / 64  # exactly summable in any order
    clusters = np.random.default_rng(6).integers(0, 12, 40)
    order = np.random.default_rng(7).permutation(40)
    first = many_differences(deltas, clusters)
    second = many_differences(deltas[order], [f"c{c:02}" for c in clusters[order]])
    assert (first.low == second.low).all()
    assert (first.p == second.p).all()


def test_says_what_is_wrong():
    with pytest.raises(BadInput, match=r"expected \[rows, comparisons\]"):
        many_differences([1.0, 2.0])
    bad = sample(10, 2)
    bad[3, 1] = np.nan
    with pytest.raises(BadInput, match="row 3 of comparison 1 is nan"):
        many_differences(bad)
    with pytest.raises(BadInput, match="10 rows but 9 cluster labels"):
        many_differences(sample(10, 2), range(9))
    with pytest.raises(BadInput, match="weights must be 10 positive"):
        many_differences(sample(10, 2), weights=np.zeros(10))
    with pytest.raises(BadInput, match="draws is 20"):
        many_differences(sample(10, 2), draws=20)


def test_percentiles_as_a_loop_counts_them():
    rng = np.random.default_rng(8)
    values, groups = rng.integers(0, 6, 40).astype(float), rng.integers(0, 4, 40)
    found = percentile_within(values, groups)
    for value, group, percentile in zip(values, groups, found, strict=True):
        own = values[groups == group]
        assert percentile == pytest.approx(100 * sum(v <= value for v in own) / len(own))
    assert percentile_among([0, 2, 9], [1, 2, 3, 4]).tolist() == [0, 50, 100]


def test_false_discovery_is_scipys_and_leaves_gaps():
    p = np.array([0.001, np.nan, 0.02, 0.9])
    q = false_discovery(p)
    assert np.isnan(q[1])
    assert q[[0, 2, 3]] == pytest.approx(stats.false_discovery_control([0.001, 0.02, 0.9]))


def test_a_thousand_heads_in_seconds_and_bounded_memory():
    code = """
import numpy as np, resource
from whence.stats.many import many_differences
import scipy.stats
deltas = np.random.default_rng(0).normal(size=(200, 1000))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
many_differences(deltas, np.arange(200))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 500
    # Twice the promise, for a machine that does something else beside.
    assert time.perf_counter() - started < 10
