"""The search over pairs of thresholds, against one that looks at every pair and every row."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from whence.anchors.defer.thresholds import DEFER, NEGATIVE, POSITIVE, Thresholds, all_pairs


def by_looking(scores: np.ndarray, anchors: np.ndarray, grid: int) -> list[tuple[float, ...]]:
    """(t_neg, t_pos, deferral, error or nan) of every pair, from the definition alone."""
    cuts = {float(scores.min()) - 1e-6, float(scores.max()) + 1e-6}
    cuts |= {float(np.quantile(scores, q)) for q in np.linspace(0, 1, grid)}
    found = []
    for t_neg, t_pos in itertools.product(sorted(cuts), repeat=2):
        if t_neg > t_pos:
            continue
        wrong = accepted = 0
        for score, anchor in zip(scores.tolist(), anchors.tolist(), strict=True):
            if score >= t_pos:
                accepted, wrong = accepted + 1, wrong + (not anchor)
            elif score <= t_neg:
                accepted, wrong = accepted + 1, wrong + anchor
        error = wrong / accepted if accepted else float("nan")
        found.append((t_neg, t_pos, 1 - accepted / len(scores), error))
    return found


def best(found: list[tuple[float, ...]], objective: str, limit: float) -> tuple[float, float, bool]:
    some = [pair for pair in found if pair[3] == pair[3]]
    if objective == "budget":
        feasible = [pair for pair in some if pair[2] <= limit + 1e-12]
        key = lambda p: (p[3], round(p[2], 12), p[0], p[1])  # noqa: E731
    else:
        feasible = [pair for pair in some if pair[3] <= limit]
        key = lambda p: (round(p[2], 12), p[3], p[0], p[1])  # noqa: E731
    if not feasible:
        chosen = min(some, key=lambda p: (p[3], round(p[2], 12), p[0], p[1]))
        return chosen[0], chosen[1], False
    chosen = min(feasible, key=key)
    return chosen[0], chosen[1], True


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("tied", [False, True])
def test_the_search_finds_what_looking_at_every_pair_finds(seed: int, tied: bool):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=60).astype(np.float32)
    if tied:
        scores = np.round(scores).astype(np.float32)
    anchors = rng.random(60) < 1 / (1 + np.exp(-2 * scores - 1))
    pairs = all_pairs(scores, anchors, 13)
    looked = by_looking(scores, anchors, 13)
    assert len(pairs.t_neg) == len(looked)
    for budget in (0.0, 0.1, 0.35, 1.0):
        t_neg, t_pos, meets = best(looked, "budget", budget)
        chosen = pairs.choose("budget", budget)
        assert (chosen.thresholds, chosen.meets) == (Thresholds(t_neg, t_pos), meets)
    for target in (0.0, 0.05, 0.2, 0.9):
        t_neg, t_pos, meets = best(looked, "error", target)
        chosen = pairs.choose("error", target)
        assert (chosen.thresholds, chosen.meets) == (Thresholds(t_neg, t_pos), meets)


def test_counts_of_every_pair_are_those_of_its_decisions():
    rng = np.random.default_rng(3)
    scores = np.round(rng.random(80), 1).astype(np.float32)
    anchors = rng.random(80) < 0.3
    pairs = all_pairs(scores, anchors, 21)
    for t_neg, t_pos, accepted, wrong in zip(
        pairs.t_neg, pairs.t_pos, pairs.accepted, pairs.wrong, strict=True
    ):
        decisions = Thresholds(t_neg, t_pos).decide(scores)
        assert (decisions != DEFER).sum() == accepted
        assert ((decisions != DEFER) & ((decisions == POSITIVE) != anchors)).sum() == wrong


def test_a_score_at_both_thresholds_is_an_anchor():
    decisions = Thresholds(0.5, 0.5).decide(np.array([0.4, 0.5, 0.6], dtype=np.float32))
    assert decisions.tolist() == [NEGATIVE, POSITIVE, POSITIVE]


def test_an_error_that_no_pair_reaches_gives_the_least_error_and_says_so():
    # Scores say nothing: both classes at every score.
    scores = np.repeat(np.arange(5, dtype=np.float32), 2)
    anchors = np.tile([True, False], 5)
    chosen = all_pairs(scores, anchors).choose("error", 0.2)
    assert not chosen.meets
    decisions = chosen.thresholds.decide(scores)
    assert (decisions != DEFER).all()  # of the pairs with the least error, 1/2, the fullest


def test_one_row_is_enough_to_tune_on():
    chosen = all_pairs(np.array([0.3], dtype=np.float32), np.array([True])).choose("budget", 0.0)
    assert chosen.thresholds.decide(np.array([0.3])).tolist() == [POSITIVE]


def test_ten_thousand_rows_take_no_time():
    rng = np.random.default_rng(0)
    scores = rng.random(10_000).astype(np.float32)
    started = time.monotonic()
    all_pairs(scores, rng.random(10_000) < scores).choose("budget", 0.2)
    assert time.monotonic() - started < 2.0
