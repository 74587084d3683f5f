"""With nothing to find, nothing is found: how often, over many draws."""

from __future__ import annotations

import numpy as np
from extraction_folders import activations
from scipy.sparse import csr_array
from scipy.stats import spearmanr

from whence.sae.predict.design import Design, make_design
from whence.sae.predict.features import Features
from whence.sae.predict.fitting import Fold, fit, out_of_fold
from whence.sae.predict.judged import judge
from whence.stats import Interval
from whence.stats.holdout import hold_out
from whence.stats.whole import rank_correlation, statistic_interval

ROWS, TRIALS = 120, 60
GROUPS = [f"g{i // 2}" for i in range(ROWS)]
MEANS = activations(ROWS, 60, 5)


def design() -> Design:
    stats = np.random.default_rng(0).normal(size=(ROWS, 10))
    lengths = np.full(ROWS, 9, dtype=np.int32)
    return make_design([Features("a", {}, csr_array(MEANS), stats, lengths)], 30, seed=0)


def test_shuffled_scores_are_not_predicted() -> None:
    rng = np.random.default_rng(1)
    signal = MEANS[:, 3] + MEANS[:, 5] + MEANS[:, 8] + 0.2 * rng.normal(size=ROWS)
    columns = design().columns
    covered, seen_truth = 0, 0
    for trial in range(TRIALS):
        test = hold_out(GROUPS, "grouped", seed=trial)
        train = np.flatnonzero(~test)
        groups = np.array(GROUPS)[test]
        for target, count in ((rng.permutation(signal), 0), (signal, 1)):
            ridge = fit(columns, target, train, Fold(GROUPS, trial))
            statistic = rank_correlation(ridge.predict(columns)[test], target[test])
            got = statistic_interval(statistic, int(test.sum()), groups, draws=200)
            assert isinstance(got, Interval)
            if count:
                seen_truth += got.low > 0
            else:
                covered += got.low <= 0 <= got.high
    assert covered >= 0.9 * TRIALS
    assert seen_truth >= 0.5 * TRIALS  # the same test does see what is there


def test_out_of_fold_predictions_of_nothing_do_not_run_against_the_scores() -> None:
    rng = np.random.default_rng(2)
    made = design()
    found, naive = [], []
    for trial in range(30):
        target = rng.normal(size=ROWS)
        folds = Fold(GROUPS, trial)
        predicted, penalties = out_of_fold(made, target, folds, None)
        found.append(spearmanr(predicted, target).statistic)
        # With each fold's own intercept they would: a fold's mean is that of the others mirrored.
        fold = folds.inner(np.arange(ROWS))
        means = np.array([target[fold != number].mean() for number in range(len(penalties))])
        shifted = predicted - target.mean() + means[fold]
        naive.append(spearmanr(shifted, target).statistic)
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found)) < 3 * error + 0.05
    assert np.mean(naive) < np.mean(found) - 0.05


def test_intervals_out_of_fold_cover_nothing_where_there_is_nothing() -> None:
    """Resampling rows alone does not see that other rows would have given other fits."""
    rng = np.random.default_rng(3)
    made = design()
    covered = {None: 0, 5: 0}
    for trial in range(TRIALS):
        target = rng.normal(size=ROWS)
        predicted, penalties = out_of_fold(made, target, Fold(GROUPS, trial), None)
        assert len(penalties) == 5
        for folds in covered:
            low, high = judge(predicted, target, GROUPS, 20, folds=folds)["intervals"]["spearman"]
            covered[folds] += low <= 0 <= high
    assert covered[5] >= 0.9 * TRIALS
    assert covered[None] < 0.9 * TRIALS  # as it was
