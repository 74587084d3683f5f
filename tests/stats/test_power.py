"""Detectable effects against statsmodels, closed forms and simulated experiments."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from whence.errors import BadInput
from whence.stats import (
    Spread,
    hierarchical_bootstrap,
    minimum_detectable_effect,
    minimum_detectable_over_seeds,
    seeds_needed,
)


@pytest.mark.parametrize("n", [2, 3, 5, 20, 400])
@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
def test_matches_statsmodels_one_sample_power(n: int, power: float) -> None:
    ours = minimum_detectable_effect(2.0 / np.sqrt(n), n - 1, power=power)
    of_size = ours / 2.0
    one_side = TTestPower().power(of_size, nobs=n, alpha=0.025, alternative="larger")
    assert one_side == pytest.approx(power, abs=1e-6)
    if n > 3:  # below, statsmodels' far tail is NaN
        both_sides = TTestPower().power(of_size, nobs=n, alpha=0.05, alternative="two-sided")
        assert both_sides == pytest.approx(power, abs=1e-4)  # adds the far tail


def test_many_items_give_the_textbook_factor() -> None:
    assert minimum_detectable_effect(1.0, 100_000) == pytest.approx(1.959964 + 0.841621, rel=1e-4)


def test_seeds_needed_is_where_the_detectable_effect_passes_the_effect() -> None:
    found = Spread(seeds=3, items=200, seed=0.03**2, item=0.1**2, rest=0.2**2)
    for effect in (0.04, 0.06, 0.1):
        needed = seeds_needed(effect, found)
        assert needed is not None
        at = [
            minimum_detectable_over_seeds(Spread(s, 200, found.seed, found.item, found.rest))
            for s in (needed - 1, needed)
        ]
        assert at[1] <= effect < at[0]
        assert seeds_needed(-effect, found) == needed


def test_seeds_needed_where_only_seeds_vary_is_the_t_tests_sample_size() -> None:
    found = Spread(seeds=3, items=10_000, seed=0.05**2, item=0.0, rest=1e-9)
    n = TTestPower().solve_power(0.06 / 0.05, power=0.8, alpha=0.05)
    assert seeds_needed(0.06, found) == int(np.ceil(n))


def test_no_number_of_seeds_makes_up_for_too_few_items() -> None:
    found = Spread(seeds=5, items=20, seed=0.0, item=0.5**2, rest=0.1**2)
    assert seeds_needed(0.1, found) is None  # the items alone leave 2.8 · 0.5/√20 = 0.31
    assert seeds_needed(0.0, found) is None
    assert seeds_needed(10.0, found) == 2


@pytest.mark.parametrize("between", [0.0, 0.06])
def test_effects_of_the_detectable_size_are_found_as_often_as_promised(between: float) -> None:
    seeds, items = 4, 100
    effect = minimum_detectable_over_seeds(Spread(seeds, items, between**2, 0.3**2, 0.3**2))
    rng = np.random.default_rng(1)
    found, runs = 0, 250
    for run in range(runs):
        d = (
            effect
            + rng.normal(0, between, size=(seeds, 1))
            + rng.normal(0, 0.3, size=(1, items))
            + rng.normal(0, 0.3, size=(seeds, items))
        )
        p = hierarchical_bootstrap(d, draws=399, seed=run).p
        found += p is not None and p <= 0.05
    assert 0.7 <= found / runs <= 0.96


def test_bad_input_is_named() -> None:
    with pytest.raises(BadInput, match="df 0"):
        minimum_detectable_effect(1.0, 0)
    with pytest.raises(BadInput, match=r"power 0\.01"):
        minimum_detectable_effect(1.0, 5, power=0.01)
