"""Paired differences against SciPy and statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from whence.errors import BadInput
from whence.stats import mcnemar_exact, paired_difference


def test_interval_matches_scipy_bootstrap_of_the_differences() -> None:
    rng = np.random.default_rng(1)
    b = rng.normal(size=100)
    a = b + rng.normal(0.1, 0.3, size=100)
    ours = paired_difference(a, b)
    theirs = stats.bootstrap(
        (a, b),
        lambda x, y, axis: (x - y).mean(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=10_000,
        method="percentile",
        rng=3,
    ).confidence_interval
    assert ours.interval is not None
    assert ours.interval.low == pytest.approx(theirs.low, abs=0.004)
    assert ours.interval.high == pytest.approx(theirs.high, abs=0.004)
    assert ours.effect == pytest.approx((a - b).mean())
    assert ours.standard_error == pytest.approx(stats.sem(a - b))


def test_standard_error_over_clusters_is_the_cluster_robust_one() -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 30, size=400)
    a = rng.normal(size=30)[labels] + rng.normal(size=400)
    fit = sm.OLS(a, np.ones(400)).fit(cov_type="cluster", cov_kwds={"groups": labels})
    ours = paired_difference(a, np.zeros(400), labels)
    assert ours.effect == pytest.approx(fit.params[0])
    assert ours.standard_error == pytest.approx(fit.bse[0])
    assert (ours.clusters, ours.items) == (30, 400)


def test_p_agrees_with_the_interval() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 50))
    for shift in np.linspace(-0.8, 0.8, 33):
        found = paired_difference(a + shift, b, draws=999)
        assert found.interval is not None
        assert found.p is not None
        outside = found.interval.low > 0 or found.interval.high < 0
        assert outside == (found.p <= 0.05)


def test_without_enough_clusters_effect_stays_and_the_rest_says_why() -> None:
    found = paired_difference([1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0])
    assert found.effect == 2.5
    assert (found.interval, found.p, found.standard_error) == (None, None, None)
    assert found.reason == "4 clusters, and an interval needs at least 5"


@pytest.mark.parametrize("a_only", range(0, 12, 3))
@pytest.mark.parametrize("b_only", range(0, 12, 3))
def test_mcnemar_matches_scipy_and_statsmodels(a_only: int, b_only: int) -> None:
    a = np.r_[np.ones(a_only), np.zeros(b_only), np.ones(7), np.zeros(4)]
    b = np.r_[np.zeros(a_only), np.ones(b_only), np.ones(7), np.zeros(4)]
    p = mcnemar_exact(a, b)
    assert p == pytest.approx(mcnemar([[7, a_only], [b_only, 4]], exact=True).pvalue)
    if a_only + b_only:
        assert p == pytest.approx(stats.binomtest(a_only, a_only + b_only).pvalue)
    else:
        assert p == 1.0


def test_bad_input_is_named() -> None:
    with pytest.raises(BadInput, match="a has 2 rows and b has 3"):
        paired_difference([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(BadInput, match="b row 1 is inf"):
        paired_difference([1.0, 2.0], [1.0, np.inf])
    with pytest.raises(BadInput, match="0 or 1"):
        mcnemar_exact([0.5, 1.0], [0.0, 1.0])
