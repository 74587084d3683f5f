"""The correction for having been chosen, where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from whence.sweep.summarize.winners_curse import winners_curse


def test_all_equal_naive_is_lucky_and_corrected_is_not() -> None:
    """50 rows, 60 units, nothing to choose between: the truth is 0 whoever wins."""
    rng = np.random.default_rng(0)
    found = [
        winners_curse(rng.normal(0, 1, (50, 60)), 1.0, draws=200, seed=at) for at in range(150)
    ]
    naive = np.array([each.naive for each in found])
    corrected = np.array([each.corrected for each in found], dtype=float)
    shrinkage = np.array([each.shrinkage for each in found], dtype=float)
    error = corrected.std() / np.sqrt(len(found))
    assert naive.mean() > 0.25
    assert abs(corrected.mean()) < 3 * error
    # What it says is lost is what is lost.
    assert shrinkage.mean() == pytest.approx(naive.mean(), abs=0.03)


def test_one_truly_best_is_hardly_corrected() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(0, 1, (20, 80))
    values[7] += 3
    found = winners_curse(values, 1.0, seed=0)
    assert found.won == 1
    assert found.distinct == 1
    assert found.corrected == pytest.approx(found.naive, abs=0.03)


def test_less_is_better_is_the_mirror() -> None:
    values = np.random.default_rng(2).normal(0, 1, (12, 30))
    more, less = winners_curse(values, 1.0, seed=5), winners_curse(-values, -1.0, seed=5)
    assert less.naive == -more.naive
    assert less.corrected == pytest.approx(-float(more.corrected or 0))
    assert less.shrinkage == pytest.approx(more.shrinkage)


def test_one_draw_by_hand() -> None:
    """Against a plain loop over the same resamples, with cells absent."""
    rng = np.random.default_rng(3)
    values = rng.normal(0, 1, (6, 15))
    values[rng.random((6, 15)) < 0.2] = np.nan
    draws, seed = 40, 9
    found = winners_curse(values, 1.0, draws=draws, seed=seed)
    counts = np.random.default_rng(seed).multinomial(15, np.full(15, 1 / 15), size=draws)
    outside = []
    for own in counts:
        means = [
            np.nansum(row * own) / own[~np.isnan(row)].sum() if own[~np.isnan(row)].sum() else -9e9
            for row in values
        ]
        left = values[int(np.argmax(means))][own == 0]
        if (~np.isnan(left)).any():
            outside.append(np.nanmean(left))
    assert found.corrected == pytest.approx(np.mean(outside))


def test_too_few_units() -> None:
    found = winners_curse(np.ones((3, 4)), 1.0, noun="problem")
    assert found.corrected is None
    assert found.reason == "4 problems, and resampling needs at least 5"
