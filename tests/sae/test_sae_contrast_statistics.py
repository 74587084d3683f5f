"""The statistics behind a contrast, each against a slow or independent computation."""

from __future__ import annotations

import statistics as python_statistics

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import fisher_exact as scipy_fisher
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from statsmodels.stats.multitest import multipletests

from whence.errors import BadInput
from whence.sae.contrast.design import Design
from whence.sae.contrast.enrichment import enrichment, group_p, with_q
from whence.sae.contrast.fisher import fisher_exact
from whence.sae.contrast.heldout import rate_differences
from whence.sae.contrast.order import fold_auc
from whence.sae.contrast.regression import judge, judge_alone, stat_differences
from whence.stats.holdout import grouped_folds
from whence.stats.whole import widened


def a_design(
    rows: int = 120, top: int = 30, per_group: int = 1, seed: int = 0, held: float = 0.25
) -> Design:
    rng = np.random.default_rng(seed)
    flags = np.zeros(rows, dtype=bool)
    flags[rng.choice(rows, top, replace=False)] = True
    groups = np.array([f"g{row // per_group}" for row in range(rows)])
    out = np.isin(groups, rng.permutation(np.unique(groups))[: int(held * rows / per_group)])
    fold = grouped_folds(list(groups), 4, labels=flags, seed=seed)
    return Design([f"r{i}" for i in range(rows)], flags, out, fold, groups, None, "none given")


@pytest.mark.parametrize("levels", [3, 1000])
def test_auc_is_that_of_scikit_learn_on_any_resample(levels: int) -> None:
    rng = np.random.default_rng(levels)
    scores, wanted = rng.integers(0, levels, 80) / 7, rng.random(80) < 0.3
    statistic = fold_auc(scores, wanted)
    for _ in range(20):
        rows = rng.integers(0, 80, 80)
        assert statistic(rows) == pytest.approx(roc_auc_score(wanted[rows], scores[rows]))
    assert statistic(np.flatnonzero(wanted)) is None


def test_auc_within_folds_counts_the_pairs_of_each() -> None:
    rng = np.random.default_rng(1)
    scores, wanted, folds = rng.integers(0, 6, 60), rng.random(60) < 0.4, rng.integers(0, 3, 60)
    won = pairs = 0.0
    for i in np.flatnonzero(wanted):
        for j in np.flatnonzero(~wanted & (folds == folds[i])):
            pairs += 1
            won += 1.0 if scores[i] > scores[j] else 0.5 if scores[i] == scores[j] else 0.0
    statistic = fold_auc(scores, wanted, folds)
    assert statistic(np.arange(60)) == pytest.approx(won / pairs)
    # a fold's scores may be shifted as a whole without a change
    shifted = fold_auc(scores + 100 * folds, wanted, folds)
    assert shifted(np.arange(60)) == pytest.approx(won / pairs)
    with pytest.raises(BadInput, match="1 of 60 scores are not finite"):
        fold_auc(np.where(np.arange(60) == 3, np.nan, scores), wanted)


def test_widening_keeps_the_value_and_stretches_what_differs() -> None:
    rng = np.random.default_rng(2)
    scores, wanted = rng.normal(size=50), np.arange(50) < 20
    plain = fold_auc(scores, wanted)
    wide = widened(plain, 50, 5)
    value, rows = plain(np.arange(50)), rng.integers(0, 50, 50)
    drawn = plain(rows)
    assert value is not None
    assert drawn is not None
    assert wide(np.arange(50)) == value
    assert wide(rows) == pytest.approx(value + 1.5 * (drawn - value))
    assert wide(np.flatnonzero(wanted)) is None


def test_fisher_is_that_of_scipy_for_every_small_table_and_for_large_ones() -> None:
    for top, rest in ((1, 1), (3, 5), (6, 6), (9, 2)):
        tables = [(hits, others) for hits in range(top + 1) for others in range(rest + 1)]
        hits, others = np.array(tables).T
        expected = [scipy_fisher([[a, b], [top - a, rest - b]]).pvalue for a, b in tables]
        np.testing.assert_allclose(
            fisher_exact(hits, hits + others, top, top + rest), expected, rtol=1e-9
        )
    rng = np.random.default_rng(3)
    hits, others = rng.integers(0, 101, 60), rng.integers(0, 4001, 60)
    expected = [scipy_fisher([[a, b], [100 - a, 4000 - b]]).pvalue for a, b in zip(hits, others)]  # noqa: B905
    np.testing.assert_allclose(
        fisher_exact(hits, hits + others, 100, 4100), expected, rtol=1e-6, atol=1e-250
    )


def test_enrichment_is_that_of_a_loop_over_features() -> None:
    design = a_design(rows=90, top=25, per_group=3)
    present = np.random.default_rng(4).random((90, 12)) < np.linspace(0.0, 1.0, 12)
    present[:, 5] = design.top  # no other row has it
    tested = enrichment(csr_array(present), design, 5)
    table = with_q(tested.table.assign(sae_id="a")[["sae_id", *tested.table.columns]])
    fitted = ~design.held
    expected, p_values = {}, []
    for feature in range(12):
        have = present[:, feature]
        if not 5 <= have[fitted].sum() <= fitted.sum() - 5:
            continue
        sides = [(fitted & design.top), (fitted & ~design.top)]
        (a, b), (n, m) = [int(have[s].sum()) for s in sides], [int(s.sum()) for s in sides]
        p_values.append(float(scipy_fisher([[a, b], [n - a, m - b]]).pvalue))
        out = [design.held & design.top, design.held & ~design.top]
        expected[feature] = (
            a / n - b / m,
            (a / n) / (b / m) if b else np.nan,
            ((a + 0.5) / (n - a + 0.5)) / ((b + 0.5) / (m - b + 0.5)),
            have[out[0]].mean() - have[out[1]].mean(),
        )
    assert table["feature"].tolist() == list(expected)
    assert len(expected) + sum(tested.untested.values()) == 12
    assert min(tested.untested.values()) >= 1
    np.testing.assert_allclose(
        table[["delta_rate", "lift", "odds_ratio", "heldout_delta_rate"]], list(expected.values())
    )
    assert table.set_index("feature")["lift"].isna().sum() == 1
    np.testing.assert_allclose(table["p"], p_values)
    np.testing.assert_allclose(table["q"], multipletests(p_values, method="fdr_bh")[1])


def test_p_by_groups_is_that_of_rows_with_groups_added_up() -> None:
    from scipy.stats import t

    rng = np.random.default_rng(5)
    groups = np.array([f"g{i}" for i in rng.integers(0, 15, 80)])
    own = {group: rng.random(6) < 0.4 for group in np.unique(groups)}
    present = np.stack([own[group] for group in groups]) ^ (rng.random((80, 6)) < 0.2)
    top, names = rng.random(80) < 0.3, np.unique(groups)
    nothing = np.zeros(6)
    found = group_p(csr_array(present), top, groups, nothing)
    effects = []
    for feature in range(6):
        x = present[:, feature].astype(float)
        rate, n, m = x.mean(), top.sum(), (~top).sum()
        parts = np.where(top, 1 / n, -1 / m) * (x - rate)
        between = sum(parts[groups == g].sum() ** 2 for g in names) * len(names) / (len(names) - 1)
        effects.append(between / ((parts**2).sum() * 80 / 79))
        error = np.sqrt(rate * (1 - rate) * (1 / n + 1 / m) * 80 / 79 * max(effects[-1], 1.0))
        expected = 2 * t.sf(abs(x[top].mean() - x[~top].mean()) / error, len(names) - 1)
        assert found[feature] == pytest.approx(expected)
    assert max(effects) > 1.5
    assert min(effects) < 1
    assert (group_p(csr_array(present), top, groups, np.ones(6)) == 1).all()
    alone = group_p(csr_array(present), top, np.arange(80).astype(str), nothing)
    assert np.isnan(alone).all()
    assert np.isnan(group_p(csr_array(present), top, np.repeat(["a", "b"], 40), nothing)).all()


def test_where_groups_share_everything_p_by_groups_holds_and_fishers_does_not() -> None:
    rng = np.random.default_rng(6)
    found: dict[str, list[NDArray[np.float64]]] = {"rows": [], "groups": []}
    groups = np.repeat(np.arange(150), 4)
    for _ in range(20):
        # 150 groups of 4 equal rows; features and labels are of the group, and unrelated
        top = np.repeat(rng.permutation(150) < 20, 4)
        present = np.repeat(rng.random((150, 2000)) < rng.beta(1, 3, 2000), 4, axis=0)
        total = present.sum(0)
        present = present[:, (total >= 5) & (total <= 595)]
        p = fisher_exact(present[top].sum(0), present.sum(0), int(top.sum()), 600)
        found["rows"].append(p)
        found["groups"].append(group_p(csr_array(present), top, groups.astype(str), p))
    rows, by_groups = (np.concatenate(found[name]) for name in ("rows", "groups"))
    assert (rows <= 0.05).mean() > 0.2
    assert (rows <= 0.001).mean() > 0.05
    assert 0.02 < (by_groups <= 0.05).mean() < 0.06
    assert (by_groups <= 0.001).mean() < 0.005


def test_held_out_intervals_are_those_of_resampled_rows() -> None:
    design = a_design(rows=60, top=25, per_group=2, seed=7)
    present = np.random.default_rng(7).random((60, 4)) < 0.4
    present[:, 3] = True
    found = rate_differences(present, design.top, design.groups, draws=400, seed=3)
    # the same resamples, row by row
    rng = np.random.default_rng(3)
    names = np.unique(design.groups)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=400)
    drawn = []
    for count in counts:
        rows = np.concatenate(
            [np.tile(np.flatnonzero(design.groups == g), c) for g, c in zip(names, count)]  # noqa: B905
        ).astype(int)
        top = design.top[rows]
        drawn.append(present[rows][top].mean(0) - present[rows][~top].mean(0))
    ordered = np.sort(drawn, axis=0)
    np.testing.assert_allclose(found.low[:3], ordered[9, :3], atol=1e-12)
    np.testing.assert_allclose(found.high[:3], ordered[-10, :3], atol=1e-12)
    assert found.reason == [None, None, None, "resampling sees no spread"]
    assert np.isnan(found.low[3])


@pytest.mark.parametrize(
    ("groups", "top", "reason"),
    [
        (np.repeat(["a", "b", "c"], 10), 10, "3 groups held out, and an interval needs at least 5"),
        (np.arange(30).astype(str), 2, "resamples have no top row or no other, too many"),
    ],
)
def test_too_little_held_out_gives_no_interval(
    groups: NDArray[np.str_], top: int, reason: str
) -> None:
    present = np.random.default_rng(8).random((30, 2)) < 0.5
    found = rate_differences(present, np.arange(30) < top, groups)
    assert np.isnan(found.low).all()
    assert all(why is not None and reason in why for why in found.reason)
    nothing = rate_differences(present[:, :0], np.arange(30) < top, groups)
    assert len(nothing.low) == 0


def test_the_regression_is_scikit_learns_in_every_fold() -> None:
    design = a_design(rows=160, top=50, per_group=2, seed=9)
    rng = np.random.default_rng(9)
    values = rng.normal(size=(160, 10)) * np.arange(1, 11) + design.top[:, None]
    values[:, 4] = 7.0
    judged, fitted = judge(values, design, seed=0)

    def pipeline() -> LogisticRegression:
        return make_pipeline(
            StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000)
        )

    top, held = design.top, design.held
    model = pipeline().fit(values[~held], top[~held])
    scores = model.decision_function(values)
    np.testing.assert_allclose(fitted.scores(values), scores, atol=1e-9)
    assert judged.train_auc == pytest.approx(roc_auc_score(top[~held], scores[~held]))
    assert judged.test_auc == pytest.approx(roc_auc_score(top[held], scores[held]))
    aucs, pairs = [], []
    for fold in np.unique(design.fold):
        own = design.fold == fold
        own_scores = pipeline().fit(values[~own], top[~own]).decision_function(values[own])
        aucs.append(roc_auc_score(top[own], own_scores))
        pairs.append(top[own].sum() * (~top[own]).sum())
    assert judged.oof_auc == pytest.approx(np.average(aucs, weights=pairs))
    assert fitted.coefficients[4] == 0


def test_a_number_alone_takes_its_better_direction() -> None:
    design = a_design(rows=100, top=30, seed=10)
    length = np.random.default_rng(10).normal(size=100) - design.top
    judged = judge_alone(length, design, seed=0)
    held = design.held
    assert judged.direction == "lower"
    assert judged.test_auc == pytest.approx(roc_auc_score(design.top[held], -length[held]))


def test_cohens_d_is_the_difference_in_pooled_deviations() -> None:
    design = a_design(rows=50, top=15, seed=11)
    values = np.random.default_rng(11).normal(size=(50, 2))
    values[:, 1] = 3.0
    first, constant = stat_differences(values, ["a", "b"], design)
    above, below = (values[~design.held & side, 0].tolist() for side in (design.top, ~design.top))
    n, m = len(above), len(below)
    pooled = (
        (n - 1) * python_statistics.variance(above) + (m - 1) * python_statistics.variance(below)
    ) / (n + m - 2)
    difference = python_statistics.mean(above) - python_statistics.mean(below)
    assert first["cohens_d"] == pytest.approx(difference / pooled**0.5)
    assert constant["cohens_d"] is None
    assert "no spread" in constant["reason"]
