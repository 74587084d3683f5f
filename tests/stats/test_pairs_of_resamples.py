"""Intervals over pairs of resamples: the jackknife by hand, and coverage over fresh ones."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import spearmanr
from scipy.stats import t as student

from whence.stats.agreement import agreement
from whence.stats.intervals import Interval, NoInterval
from whence.stats.pairs_of_resamples import pairs_within, two_chances, without_each


def rankings(rng: np.random.Generator, rows: int, count: int, noise: float) -> np.ndarray:
    """Scores [count, rows]: what rows are worth, and what each resample adds by chance."""
    worth = rng.standard_normal(rows)
    return worth + noise * rng.standard_normal((count, rows))


def test_without_each_leaves_one_resample_out_of_every_block() -> None:
    rng = np.random.default_rng(0)
    scores = rankings(rng, 50, 8, 0.5)
    found = agreement({str(i): each for i, each in enumerate(scores)}, [10], draws=40)
    blocks = [[0, 1, 2, 3], [4, 5, 6, 7]]
    for left_out, value in enumerate(without_each(found, "spearman", blocks)):
        by_hand = [
            spearmanr(scores[i], scores[j]).statistic
            for block in blocks
            for i, j in combinations([b for at, b in enumerate(block) if at != left_out], 2)
        ]
        assert value == pytest.approx(np.mean(by_hand))
    assert len(pairs_within(found, blocks)) == 12


def test_the_two_variances_add() -> None:
    draws = np.random.default_rng(1).normal(0.5, 0.02, 500)
    without = np.array([0.48, 0.5, 0.53, 0.49, 0.5])
    interval, p = two_chances(0.5, draws, without, 100)
    jackknife = 4 / 5 * ((without - without.mean()) ** 2).sum()
    error = np.sqrt(jackknife + draws.var(ddof=1))
    assert isinstance(interval, Interval)
    assert interval.high - 0.5 == pytest.approx(student.ppf(0.975, 4) * error)
    assert p == pytest.approx(2 * student.sf(0.5 / error, 4))


def test_an_interval_ends_where_the_value_must() -> None:
    draws = np.random.default_rng(1).normal(0.1, 0.1, 500)
    without = np.array([0.0, 0.2, 0.1, 0.05, 0.15])
    free, _ = two_chances(0.1, draws, without, 100)
    share, _ = two_chances(0.1, draws, without, 100, bounds=(0.0, 0.3))
    assert isinstance(free, Interval)
    assert isinstance(share, Interval)
    assert free.low < 0
    assert free.high > 0.3
    assert (share.low, share.high) == (0.0, 0.3)


def test_too_few_of_either_kind() -> None:
    draws, without = np.array([0.4, 0.5]), np.array([0.4, 0.5, 0.45, 0.5])
    for clusters, said in ((4, "4 clusters of rows"), (50, "4 resamples")):
        found, p = two_chances(0.5, draws, without, clusters)
        assert isinstance(found, NoInterval)
        assert said in found.reason
        assert p is None


def test_intervals_cover_and_a_difference_of_nothing_is_seldom_found() -> None:
    rng = np.random.default_rng(2)
    truth = np.mean([spearmanr(*rankings(rng, 80, 2, 0.7)).statistic for _ in range(1_000)])
    covered = false = 0
    for seed in range(120):
        worth = rng.standard_normal(80)
        scores = worth + 0.7 * rng.standard_normal((10, 80))
        found = agreement(
            {str(i): each for i, each in enumerate(scores)}, [20], draws=60, seed=seed
        )
        one, two = [[0, 1, 2, 3, 4]], [[5, 6, 7, 8, 9]]
        own, other = pairs_within(found, one), pairs_within(found, two)
        alone = without_each(found, "spearman", one)
        interval, _ = two_chances(
            found.value("spearman", own), found.draws("spearman", own), alone, 80
        )
        assert isinstance(interval, Interval)
        covered += interval.low <= truth <= interval.high
        _, p = two_chances(
            found.value("spearman", own) - found.value("spearman", other),
            found.draws("spearman", own) - found.draws("spearman", other),
            alone - without_each(found, "spearman", two),
            80,
        )
        false += p is not None and p <= 0.05
    assert covered / 120 >= 0.9
    assert false / 120 <= 0.08
