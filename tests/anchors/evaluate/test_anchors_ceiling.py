"""The noise ceiling against simulations where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score

from whence.anchors.evaluate.ceiling import draw_truth, noise_ceiling, share
from whence.anchors.targets import anchors_of


def simulated(
    problems: int, sentences: int, noise: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """problem, truth, observed, standard error."""
    rng = np.random.default_rng(seed)
    problem = np.repeat([f"p{i}" for i in range(problems)], sentences).astype(object)
    truth = rng.normal(0.02, 0.1, size=len(problem))
    error = noise * rng.uniform(0.6, 1.4, size=len(problem))
    return problem, truth, truth + error * rng.normal(size=len(problem)), error


@pytest.mark.parametrize("noise", [0.03, 0.08, 0.15])
def test_the_ceiling_is_what_the_truth_itself_reaches(noise: float) -> None:
    problem, truth, observed, error = simulated(30, 150, noise, seed=1)
    found = noise_ceiling(problem, observed, error, "anchor_binary", 90, [10], draws=60)
    anchor = anchors_of(np.abs(observed), problem, 90)
    areas, ranks = [], []
    for name in np.unique(problem):
        own = problem == name
        areas.append(average_precision_score(anchor[own], np.abs(truth[own])))
        ranks.append(stats.spearmanr(np.abs(truth[own]), np.abs(observed[own])).statistic)
    means = {
        metric: np.mean([own[metric] for own in found.per_problem.values()])
        for metric in ("pr_auc", "spearman")
    }
    assert means["pr_auc"] == pytest.approx(np.mean(areas), abs=0.035)
    assert means["spearman"] == pytest.approx(np.mean(ranks), abs=0.035)
    oracle = average_precision_score(anchor, np.abs(truth))
    assert found.pooled["pr_auc"] == pytest.approx(oracle, abs=0.035)


def test_signed_importance_is_judged_by_its_own_order() -> None:
    problem, truth, observed, error = simulated(20, 150, 0.1, seed=2)
    found = noise_ceiling(problem, observed, error, "importance_signed", 90, [10], draws=60)
    ranks = [
        stats.spearmanr(truth[problem == name], observed[problem == name]).statistic
        for name in np.unique(problem)
    ]
    assert found.pooled["spearman_mean"] == pytest.approx(np.mean(ranks), abs=0.03)


def test_without_noise_the_ceiling_is_perfect_and_with_noise_alone_it_is_chance() -> None:
    problem, truth, _, error = simulated(6, 80, 0.1, seed=3)
    truth *= np.repeat([1, 2, 3, 5, 8, 13], 80)  # problems whose thresholds differ
    exact = noise_ceiling(problem, truth, np.zeros_like(error), "anchor_binary", 90, [5], draws=5)
    assert exact.pooled["pr_auc"] == pytest.approx(1.0)
    assert exact.pooled["spearman_mean"] == pytest.approx(1.0)
    nothing = np.random.default_rng(0).normal(size=len(truth))
    alone = noise_ceiling(problem, nothing, np.full(len(truth), 1.3), "anchor_binary", 90, [5])
    assert alone.pooled["pr_auc"] < 0.16
    assert abs(alone.pooled["spearman_mean"]) < 0.05


def test_a_drawn_label_scatters_as_the_observed_ones_do() -> None:
    rng = np.random.default_rng(44)
    _, _, observed, error = simulated(1, 4000, 0.1, seed=4)
    truth, label = draw_truth(observed, error, rng)
    assert truth.std() == pytest.approx(0.1, rel=0.05)
    assert label.std() == pytest.approx(observed.std(), rel=0.05)
    flat, same = draw_truth(np.ones(5), np.zeros(5), rng)
    np.testing.assert_array_equal(flat, np.ones(5))
    np.testing.assert_array_equal(same, np.ones(5))


def test_without_standard_errors_there_is_no_ceiling_but_a_remedy() -> None:
    problem, _, observed, error = simulated(5, 20, 0.1, seed=5)
    for none in (None, np.full(len(error), np.nan)):
        found = noise_ceiling(problem, observed, none, "anchor_binary", 90, [5])
        assert "anchors labels" in (found.reason or "")
        assert found.to_dict(100) == {"reason": found.reason, "rows": 0, "left_out": 100}
    some = np.where(np.arange(100) % 10 == 0, np.nan, error)
    found = noise_ceiling(problem, observed, some, "anchor_binary", 90, [5], draws=10)
    assert (found.rows, found.left_out) == (90, 10)
    written = found.to_dict(1000)["mean"]["pr_auc"]
    assert written["interval"][0] < written["mean"] < written["interval"][1]


def test_shares() -> None:
    assert share(0.3, 0.6, 0.1) == (pytest.approx(0.5), pytest.approx(0.4))
    assert share(None, 0.6, 0.1) == (None, None)
    assert share(0.3, None, 0.1) == (None, None)
    assert share(0.1, 0.1, 0.1) == (pytest.approx(1.0), None)
    assert share(0.1, -0.2, 0.0) == (None, None)
    assert share(0.3, 0.6, None) == (pytest.approx(0.5), None)
