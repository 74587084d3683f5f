"""Regularisation is chosen on whole problems."""

from __future__ import annotations

import numpy as np
import pytest
from probe_cases import case
from sklearn.metrics import average_precision_score

from whence.anchors.probes.data import Labels
from whence.anchors.probes.inner import agreement, check_labels, choose, inner_folds
from whence.errors import BadInput


def test_no_problem_is_cut_and_each_is_held_out_once():
    data, labels = case(problems=7, each=9)
    folds = inner_folds(labels, data.groups)
    held = np.concatenate([each for _, each in folds])
    assert sorted(held) == list(range(63))
    for train, out in folds:
        assert not set(data.groups[train]) & set(data.groups[out])


def test_agreement_is_the_mean_over_problems_that_have_both_classes():
    groups = np.array([0, 0, 0, 1, 1, 1, 2, 2])
    y = np.array([1.0, 0, 0, 0, 1, 0, 0, 0])
    scores = np.array([0.9, 0.1, 0.2, 0.9, 0.5, 0.1, 0.4, 0.4])
    expected = (
        average_precision_score(y[:3], scores[:3]) + average_precision_score(y[3:6], scores[3:6])
    ) / 2
    assert agreement(scores, Labels(y, False), groups) == pytest.approx(expected)
    assert expected == pytest.approx(0.75)


def test_constant_scores_agree_with_nothing():
    groups = np.zeros(4, dtype=int)
    assert agreement(np.ones(4), Labels(np.arange(4.0), True), groups) == 0


def test_ties_go_to_the_stronger_and_better_ones_win():
    data, labels = case(problems=4, each=10)

    def score(folds, values):
        good, bad = labels.y, -labels.y
        return np.stack([bad, good, good])

    choice = choose((100.0, 10.0, 1.0), labels, data.groups, score, "penalty")
    assert choice.value == 10.0
    assert choice.notes["inner_folds"] == 4


def test_one_problem_leaves_the_fixed_constant():
    data, labels = case(problems=1, each=10)
    choice = choose((1.0,), labels, data.groups, lambda f, v: np.zeros((1, 10)), "penalty")
    assert choice.value is None
    assert "fewer than two problems" in choice.notes["reason"]


def test_one_class_is_refused():
    with pytest.raises(BadInput, match="all 5 training rows are not anchors"):
        check_labels(Labels(np.zeros(5), False), "linear_probe")
    with pytest.raises(BadInput, match="no training rows"):
        check_labels(Labels(np.zeros(0), True), "linear_probe")
