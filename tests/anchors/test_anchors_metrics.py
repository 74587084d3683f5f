"""Metrics against scikit-learn, SciPy, pandas, and the numbers that the earlier study stored."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import auc, average_precision_score, brier_score_loss, precision_recall_curve

from whence.anchors.metrics import (
    average_precision,
    average_precisions,
    calibration,
    chance_average_precision,
    position_bins,
    spearman,
    spearmans,
    top_k_recall,
    trapezoid,
)
from whence.anchors.sentences import read_sentences
from whence.anchors.targets import target_of
from whence.runs.jsonfile import read_json


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_precision_recall_areas_are_scikit_learns(seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    labels = (rng.random(80) < 0.2).astype(float)
    scores = rng.normal(size=80) + labels
    if ties:
        scores = np.round(scores)
    precision, recall, _ = precision_recall_curve(labels, scores)
    assert average_precision(labels, scores) == pytest.approx(
        average_precision_score(labels, scores), abs=1e-12
    )
    assert trapezoid(labels, scores) == pytest.approx(auc(recall, precision), abs=1e-12)


def test_many_labellings_at_once_are_the_same_one_by_one() -> None:
    rng = np.random.default_rng(1)
    labels = rng.permuted(np.tile(np.arange(40) < 6, (30, 1)), axis=1).astype(float)
    scores, values = np.round(rng.normal(size=40), 1), rng.normal(size=(30, 40))
    one_by_one = [average_precision_score(each, scores) for each in labels]
    np.testing.assert_allclose(average_precisions(labels, scores), one_by_one, atol=1e-12)
    ranks = [stats.spearmanr(scores, each).statistic for each in values]
    np.testing.assert_allclose(spearmans(scores, values), ranks, atol=1e-12)


def test_what_does_not_exist_is_none() -> None:
    for labels in (np.zeros(4), np.ones(4), np.zeros(0)):
        scores = np.arange(len(labels), dtype=float)
        assert average_precision(labels, scores) is None
        assert trapezoid(labels, scores) is None
    assert spearman(np.ones(5), np.arange(5.0)) is None
    assert spearman(np.arange(5.0), np.ones(5)) is None
    assert spearman(np.ones(1), np.ones(1)) is None
    assert top_k_recall(np.zeros(0), np.zeros(0), 5) is None


@pytest.mark.parametrize(("rows", "positives"), [(5, 1), (6, 2), (6, 5), (4, 4)])
def test_chance_is_the_mean_over_all_orders(rows: int, positives: int) -> None:
    labels = (np.arange(rows) < positives).astype(float)
    scores = np.arange(rows, dtype=float)
    found = [
        average_precision_score(labels[list(order)], scores)
        for order in itertools.permutations(range(rows))
    ]
    assert chance_average_precision(rows, positives) == pytest.approx(np.mean(found), abs=1e-12)


@pytest.mark.parametrize("k", [1, 5, 10, 50])
def test_top_k_is_that_of_nlargest(k: int) -> None:
    rng = np.random.default_rng(k)
    scores, values = np.round(rng.normal(size=30)), np.round(rng.normal(size=30))
    wanted = set(pd.Series(values).nlargest(k).index)
    found = set(pd.Series(scores).nlargest(k).index)
    expected = len(wanted & found) / min(k, 30)
    assert top_k_recall(scores, values, k) == pytest.approx(expected)


def test_calibration_of_scores_that_are_probabilities_and_of_some_that_are_not() -> None:
    rng = np.random.default_rng(0)
    chance = rng.random(20_000)
    labels = (rng.random(20_000) < chance).astype(float)
    honest, shifted = calibration(labels, chance), calibration(labels, np.sqrt(chance))
    assert honest["ece"] < 0.01 < 0.1 < shifted["ece"]
    assert shifted["brier"] == pytest.approx(brier_score_loss(labels, np.sqrt(chance)))
    assert sum(each["count"] for each in honest["bins"]) == 20_000
    by_hand = calibration(np.array([0.0, 1, 1, 0]), np.array([0.0, 1.0, 0.55, 0.55]))
    assert by_hand["ece"] == pytest.approx(0.5 * 0.05)
    assert [each["left"] for each in by_hand["bins"]] == pytest.approx([0, 0.5, 0.9])


@pytest.mark.parametrize("setting", ["llama_correct", "qwen_correct"])
def test_stored_scores_give_the_stored_metrics(shared_data: Path, setting: str) -> None:
    folder = shared_data / "thought-anchors" / setting
    predictions = read_sentences_of_predictions(folder)
    stored = read_json(folder / "metrics_seed_0.json")
    checked = 0
    for split, probe in itertools.product(("val", "test"), stored["test"]):
        expected = stored[split][probe]
        rows = predictions[predictions["split"] == split]
        scores = rows[f"score_{probe}"].to_numpy(dtype=np.float64)
        anchor = rows["anchor"].to_numpy(dtype=np.float64)
        assert trapezoid(anchor, scores) == pytest.approx(expected["pr_auc"], abs=1e-9)
        per_problem = [own for _, own in rows.groupby("problem_id")]
        pairs = [
            (own[f"score_{probe}"].to_numpy(float), own["importance_score"].to_numpy(float))
            for own in per_problem
        ]
        ranks = [spearman(*pair) for pair in pairs]
        assert np.mean(ranks) == pytest.approx(expected["spearman_mean"], abs=1e-9)
        for k in (5, 10):
            recalls = [top_k_recall(*pair, k) for pair in pairs]
            assert np.mean(recalls) == pytest.approx(expected[f"top_{k}_recall"], abs=1e-9)
        position = rows["relative_position"].to_numpy(dtype=np.float64)
        bins = stored["position_bin_metrics"][split][probe]
        for found, wanted in zip(position_bins(position, anchor, scores, 5), bins, strict=True):
            assert found["count"] == wanted["count"]
            assert found["prevalence"] == pytest.approx(wanted["prevalence"], abs=1e-12)
            if math.isnan(wanted["pr_auc"]):
                assert found["pr_auc_trapezoid"] is None
            else:
                assert found["pr_auc_trapezoid"] == pytest.approx(wanted["pr_auc"], abs=1e-9)
            checked += 1
    assert checked == 50


def read_sentences_of_predictions(folder: Path) -> pd.DataFrame:
    frame = pd.read_parquet(folder / "predictions_seed_0.parquet")
    table = read_sentences(folder / "sentence_metadata.parquet")
    made = table.assign(made=target_of(table, "anchor_binary"))[["problem_id", "chunk_idx", "made"]]
    joined = frame.assign(problem_id=frame["problem_id"].astype(str)).merge(made)
    assert len(joined) == len(frame)
    np.testing.assert_array_equal(joined["made"], joined["anchor"])
    return joined


@pytest.mark.parametrize(
    ("setting", "area", "rank"), [("llama_correct", 0.249, 0.396), ("qwen_correct", 0.300, 0.541)]
)
def test_untrained_position_on_every_problem(
    shared_data: Path, setting: str, area: float, rank: float
) -> None:
    table = read_sentences(shared_data / "thought-anchors" / setting / "sentence_metadata.parquet")
    table["made"] = target_of(table, "anchor_binary")
    areas, ranks = [], []
    for _, own in table.groupby("problem_id", sort=False):
        score = -own["relative_position"].to_numpy(dtype=np.float64)
        areas.append(trapezoid(own["made"].to_numpy(), score))
        ranks.append(spearman(score, own["importance_score"].to_numpy()))
    assert len(areas) == 20
    assert np.mean(areas) == pytest.approx(area, abs=5e-4)
    assert np.mean(ranks) == pytest.approx(rank, abs=5e-4)
