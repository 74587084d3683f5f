"""What a design could have seen: the smallest detectable effect, and the seeds to settle one.

Planning numbers, not evidence: `seeds_needed` plugs in the effect and the spread as observed, both
noisy (Hoenig & Heisey 2001, The American Statistician 55:19).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from whence.errors import BadInput
from whence.stats.hierarchical import Spread
from whence.stats.intervals import CONFIDENCE

POWER = 0.8
MAX_SEEDS = 1000


def minimum_detectable_effect(
    standard_error: float, df: int, *, confidence: float = CONFIDENCE, power: float = POWER
) -> float:
    """Smallest |true effect| that a two-sided t test finds with probability `power`.

    standard_error: of the estimated effect, in its unit; df: its degrees of freedom. Solved on the
    noncentral t (Cohen 1988, ch. 2): (z₀.₉₇₅ + z₀.₈)·SE = 2.80·SE for many degrees of freedom.

    Raises BadInput for a negative standard error, df < 1, or a power not above 1 − confidence.
    """
    if not standard_error >= 0 or df < 1:
        raise BadInput(f"standard error {standard_error}, df {df}: expected ≥ 0 and ≥ 1")
    if not 0 < 1 - confidence < power < 1:
        raise BadInput(f"power {power}: expected more than {1 - confidence:.4g} and less than 1")
    return _detectable_in_errors(df, confidence, power) * standard_error


def minimum_detectable_over_seeds(
    spread: Spread, *, confidence: float = CONFIDENCE, power: float = POWER
) -> float:
    """The same for the seeds × items design behind `spread` (two seeds or more).

    `hierarchical_bootstrap` calls a difference only when both of its intervals leave out 0, so the
    larger of the two tests' detectable effects counts.
    """
    return max(
        minimum_detectable_effect(error, df, confidence=confidence, power=power)
        for error, df in _errors(spread, spread.seeds)
    )


def seeds_needed(
    effect: float, spread: Spread, *, confidence: float = CONFIDENCE, power: float = POWER
) -> int | None:
    """Fewest seeds (at least 2, same items) at which a true effect of this size would be found.

    "Found": with probability `power`, by the test of `hierarchical_bootstrap`. None when effect is
    0 or 1,000 seeds would not do: the spread between *items* stays however many seeds are run, so
    the evaluation set is what is too small.
    """
    if effect == 0:
        return None

    def enough(seeds: int) -> bool:
        return all(
            _detectable_in_errors(df, confidence, power) * error <= abs(effect)
            for error, df in _errors(spread, seeds)
        )

    if not enough(MAX_SEEDS):
        return None
    low, high = 1, MAX_SEEDS  # never 1: one seed is not a finding
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _errors(spread: Spread, seeds: int) -> tuple[tuple[float, int], tuple[float, int]]:
    """Expected (standard error, df) with this many seeds: t over seed means; crossed bootstrap.

    The bootstrap's own variance is [MS_seed(1−1/S) + MS_item(1−1/I) + MS_rest(1−1/S)(1−1/I)]/(S·I)
    with the mean squares of the two-way layout (Owen 2007).
    """
    items = spread.items
    of_seeds = (spread.seed + spread.rest / items) / seeds
    ms_seed = items * spread.seed + spread.rest
    ms_item = seeds * spread.item + spread.rest
    per_seed, per_item = 1 - 1 / seeds, 1 - 1 / items
    crossed = ms_seed * per_seed + ms_item * per_item + spread.rest * per_seed * per_item
    return (
        (float(np.sqrt(of_seeds)), seeds - 1),
        (float(np.sqrt(crossed / (seeds * items))), items - 1),
    )


@lru_cache(maxsize=4096)
def _detectable_in_errors(df: int, confidence: float, power: float) -> float:
    """Noncentrality at which the two-sided t test with df reaches `power`, in standard errors.

    Only the tail on the effect's own side: a call in the wrong direction finds nothing (and SciPy's
    far tail is NaN for one or two degrees of freedom).
    """
    from scipy.optimize import brentq
    from scipy.stats import nct, t

    critical = float(t.ppf((1 + confidence) / 2, df))

    def lacking(noncentrality: float) -> float:
        return float(nct.sf(critical, df, noncentrality) - power)

    return float(brentq(lacking, 0.0, 4 * critical + 10, xtol=1e-10))
