"""Statistics of whole tables against SciPy and scikit-learn, and their intervals against truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import roc_auc_score

from whence.errors import BadInput
from whence.stats.intervals import Interval, NoInterval
from whence.stats.whole import (
    auc,
    linear_correlation,
    rank_correlation,
    statistic_differences,
    statistic_interval,
    value_of,
    widened,
)


def test_values_equal_scipy_and_sklearn() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 9, 50), rng.normal(size=50)
    rows = rng.integers(0, 50, 80)
    assert rank_correlation(x, y)(rows) == pytest.approx(spearmanr(x[rows], y[rows]).statistic)
    assert linear_correlation(x, y)(rows) == pytest.approx(pearsonr(x[rows], y[rows]).statistic)
    assert auc(x, y > 0)(rows) == pytest.approx(roc_auc_score(y[rows] > 0, x[rows]))


def test_what_has_no_value_says_so() -> None:
    assert value_of(rank_correlation([1, 1, 1], [1, 2, 3]), 3) is None
    assert value_of(linear_correlation([0.1] * 7, np.arange(7)), 7) is None  # Σ(x − x̄)² is not 0
    assert value_of(auc([1, 2, 3], [1, 1, 1]), 3) is None
    with pytest.raises(BadInput, match="finite"):
        rank_correlation([1, float("nan")], [1, 2])
    found = statistic_interval(rank_correlation([1, 1, 1, 1, 1], [1, 2, 3, 4, 5]), 5)
    assert isinstance(found, NoInterval)


def test_one_cluster_has_no_interval() -> None:
    rng = np.random.default_rng(1)
    statistic = rank_correlation(rng.normal(size=40), rng.normal(size=40))
    found = statistic_interval(statistic, 40, ["a"] * 40)
    assert isinstance(found, NoInterval)
    assert "1 cluster" in found.reason


@pytest.mark.parametrize("clustered", [False, True])
def test_intervals_cover_the_truth(clustered: bool) -> None:
    """ρ = 0.5 between normals; clustered: every pair stands there four times."""
    truth = 6 / np.pi * np.arcsin(0.25)
    rng = np.random.default_rng(2)
    covered = 0
    for trial in range(120):
        x = rng.normal(size=60)
        y = 0.5 * x + np.sqrt(0.75) * rng.normal(size=60)
        labels = np.arange(60)
        if clustered:
            x, y, labels = (np.repeat(each, 4) for each in (x, y, labels))
        found = statistic_interval(rank_correlation(x, y), len(x), labels, draws=400, seed=trial)
        assert isinstance(found, Interval)
        covered += found.low <= truth <= found.high
    assert 0.88 <= covered / 120 <= 1.0


def test_differences_are_paired_and_judged() -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(size=150)
    good, bad = truth + rng.normal(size=150), rng.normal(size=150)
    statistics = {
        "good": rank_correlation(truth, good),
        "twin": rank_correlation(truth, good + 1e-3 * rng.normal(size=150)),
        "bad": rank_correlation(truth, bad),
    }
    better, same = statistic_differences(
        statistics, [("good", "bad"), ("good", "twin")], "spearman", 150
    )
    assert better.interval is not None
    assert better.interval[0] > 0.2
    assert better.q is not None
    assert better.q < 0.01
    assert better.sentence.startswith("good beats bad on spearman")
    assert same.interval is not None
    assert same.interval[1] - same.interval[0] < 0.02  # the same draws: paired
    assert better.seeds == 0


def test_no_difference_is_found_where_there_is_none() -> None:
    rng = np.random.default_rng(4)
    false = 0
    for trial in range(60):
        truth, a, b = rng.normal(size=(3, 50))
        found = statistic_differences(
            {"a": rank_correlation(truth, a), "b": rank_correlation(truth, b)},
            [("a", "b")],
            "spearman",
            50,
            draws=300,
            seed=trial,
        )[0]
        false += found.p is not None and found.p <= 0.05
    assert false <= 8


def test_widened_stretches_deviations_and_stays_within_what_can_be() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=40)
    plain = rank_correlation(x, x + rng.normal(size=40))
    wide = widened(plain, 40, 5, lowest=-1.0)
    whole, rows = value_of(plain, 40), rng.integers(0, 40, 40)
    assert whole is not None
    assert value_of(wide, 40) == whole
    assert wide(rows) == pytest.approx(whole + 1.5 * ((plain(rows) or 0.0) - whole))
    same = np.repeat(np.arange(8), 5)  # ρ = 1 of eight rows, far above the whole table's
    assert -1.0 <= (wide(same) or 0.0) <= 1.0
    assert wide(np.zeros(40, dtype=np.int64)) is None
