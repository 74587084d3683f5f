"""Rank statistics against SciPy, statsmodels and planted rankings."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from whence.errors import BadInput
from whence.stats import overlap_at_k, precision_at_k, spearman


def test_spearman_is_scipys_also_with_ties() -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(0, 20, size=200)
    y = x + rng.normal(0, 5, size=200)
    found = spearman(x, y)
    assert found.value == pytest.approx(stats.spearmanr(x, y).statistic)
    assert found.interval is not None
    assert found.interval.low < found.value < found.interval.high


def test_spearman_interval_covers_the_true_rho() -> None:
    rng = np.random.default_rng(2)
    true = 6 / np.pi * np.arcsin(0.6 / 2)  # of a bivariate normal with r = 0.6
    inside = 0
    for _ in range(500):
        x = rng.normal(size=60)
        interval = spearman(x, 0.6 * x + 0.8 * rng.normal(size=60)).interval
        assert interval is not None
        inside += interval.low <= true <= interval.high
    assert 0.92 <= inside / 500 <= 0.99


def test_spearman_without_a_value_or_interval_says_why() -> None:
    constant = spearman(np.ones(10), np.arange(10))
    assert constant.value is None
    assert constant.reason == "x is the same in all 10 rows"
    reverse = spearman(np.arange(10), -np.arange(10))
    assert reverse.value == pytest.approx(-1)
    assert reverse.interval is None
    assert spearman([1, 2, 3], [1, 3, 2]).interval is None


@pytest.mark.parametrize(("hits", "k"), [(0, 20), (7, 20), (20, 20), (50, 200)])
def test_precision_counts_the_top_and_has_wilsons_interval(hits: int, k: int) -> None:
    rng = np.random.default_rng(3)
    wanted = np.r_[np.arange(k) < hits, np.ones(30, bool), np.zeros(270, bool)]
    scores = -np.arange(len(wanted)).astype(float)
    order = rng.permutation(len(wanted))
    found = precision_at_k(scores[order], wanted[order], k)
    assert found.value == pytest.approx(hits / k)
    assert found.chance == pytest.approx(wanted.mean())
    assert found.interval is not None
    ends = (found.interval.low, found.interval.high)
    scipys = stats.binomtest(hits, k).proportion_ci(method="wilson")
    assert ends == pytest.approx((scipys.low, scipys.high))
    assert ends == pytest.approx(proportion_confint(hits, k, method="wilson"), abs=1e-12)


def test_ties_at_the_cut_count_by_their_share_whatever_the_order() -> None:
    scores = np.array([3.0, 1.0, 1.0, 1.0, 1.0, 0.0])
    wanted = np.array([True, True, False, False, False, True])
    expected = (1 + 1 * (1 / 4)) / 2  # one place left for four tied rows, one of them wanted
    assert precision_at_k(scores, wanted, 2).value == pytest.approx(expected)
    assert precision_at_k(scores[::-1], wanted[::-1], 2).value == pytest.approx(expected)
    nothing_known = precision_at_k(np.zeros(6), wanted, 3)
    assert nothing_known.value == pytest.approx(nothing_known.chance)


def test_overlap_of_the_same_opposite_and_unrelated_lists() -> None:
    rng = np.random.default_rng(4)
    a = rng.normal(size=500)
    assert overlap_at_k(a, 3 * a + 1, 50).value == 1.0
    assert overlap_at_k(a, -a, 50).value == 0.0
    apart = overlap_at_k(a, rng.normal(size=500), 50)
    assert apart.chance == 0.1
    assert apart.interval is not None
    assert apart.interval.low < 0.1 < apart.interval.high
    top = set(np.argsort(-a)[:50])
    b = a + rng.normal(size=500)
    assert overlap_at_k(a, b, 50).value == pytest.approx(len(top & set(np.argsort(-b)[:50])) / 50)


def test_few_rows_at_the_top_give_no_interval() -> None:
    found = precision_at_k(np.arange(10), np.arange(10) > 4, 4)
    assert found.value == 1.0
    assert found.interval is None
    assert found.reason == "4 rows at the top, and an interval needs at least 5"


def test_bad_input_is_named() -> None:
    with pytest.raises(BadInput, match="k is 11"):
        precision_at_k(np.arange(10), np.ones(10), 11)
    with pytest.raises(BadInput, match="scores row 0 is nan"):
        precision_at_k([np.nan, 1.0], [1, 0], 1)
    with pytest.raises(BadInput, match="true or false"):
        precision_at_k([2.0, 1.0], [0.5, 0], 1)
    with pytest.raises(BadInput, match="a has 2 rows and b has 3"):
        overlap_at_k([2.0, 1.0], [1.0, 2.0, 3.0], 1)
