"""Thousands of means over seeds × units say what the one-at-a-time functions say."""

from __future__ import annotations

import numpy as np
import pytest

from whence.errors import BadInput
from whence.stats.hierarchical import hierarchical_bootstrap, over_clusters
from whence.stats.many_over_seeds import joined, many_over_seeds, within


def _table(rows: int, seeds: int, units: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    unit = rng.normal(0, 0.3, (rows, 1, units))
    of_seed = rng.normal(0, 0.1, (rows, seeds, 1))
    return 0.1 + unit + of_seed + rng.normal(0, 0.4, (rows, seeds, units))


@pytest.mark.parametrize("seeds", [1, 2, 5])
def test_as_one_at_a_time(seeds: int) -> None:
    values = _table(4, seeds, 30)
    found = many_over_seeds(values)
    for row, own in enumerate(values):
        alone = over_clusters(own) if seeds == 1 else hierarchical_bootstrap(own)
        assert alone.interval is not None
        assert alone.p is not None
        width = alone.interval.high - alone.interval.low
        assert found.effect[row] == pytest.approx(alone.effect, abs=1e-12)
        # Other draws: up to Monte-Carlo error.
        assert found.low[row] == pytest.approx(alone.interval.low, abs=0.03 * width)
        assert found.high[row] == pytest.approx(alone.interval.high, abs=0.03 * width)
        assert found.p[row] == pytest.approx(alone.p, abs=0.03)
        assert found.standard_error[row] == pytest.approx(alone.standard_error, rel=0.05)
        assert (found.seeds[row], found.units[row]) == (seeds, 30)


def test_cells_that_are_absent() -> None:
    values = _table(1, 4, 25)
    values[0, 1, :6] = values[0, 2, 9] = np.nan
    found = many_over_seeds(values)
    there = ~np.isnan(values[0])
    alone = hierarchical_bootstrap(np.where(there, values[0], 0.0), there.astype(float))
    assert alone.interval is not None
    width = alone.interval.high - alone.interval.low
    assert found.effect[0] == pytest.approx(np.nanmean(values[0]))
    assert found.low[0] == pytest.approx(alone.interval.low, abs=0.03 * width)
    assert found.high[0] == pytest.approx(alone.interval.high, abs=0.03 * width)


def test_a_row_does_not_depend_on_the_others() -> None:
    values = _table(40, 3, 20)
    values[7, 0, 3] = np.nan
    together = many_over_seeds(values, draws=500)
    apart = joined([many_over_seeds(values[at : at + 1], draws=500) for at in range(40)])
    for name in ("effect", "low", "high", "p", "standard_error"):
        assert getattr(together, name) == pytest.approx(getattr(apart, name), rel=1e-12), name


def test_p_and_interval_agree() -> None:
    values = _table(300, 1, 12, seed=3)
    found = many_over_seeds(values, draws=999)
    outside = (found.low > 0) | (found.high < 0)
    assert np.array_equal(outside, found.p <= 0.05)
    assert 10 < outside.sum() < 250


def test_far_from_zero_p_goes_on_by_t() -> None:
    rng = np.random.default_rng(0)
    values = 5 + rng.normal(0, 0.1, (1, 1, 40))
    assert many_over_seeds(values, draws=999).p[0] < 1e-20


def test_coverage_of_few_units() -> None:
    """Seven units of normal noise: the bootstrap alone would cover 0.87."""
    rng = np.random.default_rng(1)
    found = many_over_seeds(rng.normal(0, 1, (1500, 1, 7)), draws=999)
    covered = ((found.low <= 0) & (found.high >= 0)).mean()
    assert 0.935 < covered < 0.975


def test_too_little() -> None:
    values = np.full((3, 2, 6), np.nan)
    values[0, 0, :4] = [1.0, 2, 3, 4]
    values[1] = 0.5
    found = many_over_seeds(values, noun="problem")
    assert found.reason[0] == "4 problems, and an interval needs at least 5"
    assert found.reason[1] == "all problems show the same value, so resampling sees no spread"
    assert found.reason[2] == "no value"
    assert found.effect[0] == 2.5
    assert found.effect[1] == 0.5
    assert np.isnan(found.effect[2])
    assert np.isnan(found.low).all()
    assert np.isnan(found.p).all()


def test_intervals_end_where_values_do() -> None:
    values = np.array([[[1.0, 1, 1, 1, 0.0]]])
    found = many_over_seeds(values)
    assert found.high[0] > 1
    assert within(found, 0.0, 1.0).high[0] == 1


def test_what_cannot_be() -> None:
    with pytest.raises(BadInput, match="expected \\[rows, seeds, units\\]"):
        many_over_seeds(np.zeros((3, 4)))
    with pytest.raises(BadInput, match="infinite"):
        many_over_seeds(np.full((1, 1, 6), np.inf))
    with pytest.raises(BadInput, match="too few"):
        many_over_seeds(np.zeros((1, 1, 6)), draws=10)
