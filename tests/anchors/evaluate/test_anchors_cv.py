"""`whence anchors cv`: out-of-fold scores, intervals over problems, resuming."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import started
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from whence.anchors.evaluate.cv import CvConfig, cv
from whence.anchors.evaluate.folds import outer_folds
from whence.anchors.sentences import read_sentences, write_sentences
from whence.anchors.targets import target_of
from whence.errors import BadInput

MakeStudy = Callable[..., Any]
FAST = {"shuffles": 5, "draws": 1000}
POSITION = ["chunk_idx", "num_chunks", "relative_position", "token_count"]


@pytest.mark.parametrize(
    ("setting", "area", "rank"), [("llama_correct", 0.249, 0.396), ("qwen_correct", 0.300, 0.541)]
)
def test_published_figures_of_untrained_position(
    shared_data: Path, tmp_path: Path, setting: str, area: float, rank: float
) -> None:
    result = cv(
        CvConfig(
            metadata=shared_data / "thought-anchors" / setting / "sentence_metadata.parquet",
            folds="problems",
            probes=("position_untrained", "position_baseline"),
            fixed=True,
            output_dir=tmp_path / "A",
            **FAST,
        )
    )
    found = result.metrics["cv"]["position_untrained"]
    assert found["pr_auc_trapezoid"]["mean"] == pytest.approx(area, abs=5e-4)
    assert found["spearman"]["mean"] == pytest.approx(rank, abs=5e-4)
    assert len(found["spearman"]["per_problem"]) == 20
    first = result.metrics["comparisons"][0]
    assert (first["arm"], first["control"]) == ("position_baseline", "position_untrained")
    assert (first["metric"], first["seeds"], first["items"]) == ("pr_auc", 0, 20)
    assert "no seed changes either, 20 problems" in first["sentence"]


def test_out_of_fold_scores_are_those_of_plain_scikit_learn(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    study = make_study(6, 25)
    result = cv(
        CvConfig(
            metadata=study.metadata,
            probes=("position_untrained", "position_baseline"),
            fixed=True,
            output_dir=tmp_path / "A",
            **FAST,
        )
    )
    frame = read_sentences(study.metadata)
    anchor = target_of(frame, "anchor_binary")
    x = frame[POSITION].to_numpy(dtype=np.float32)
    expected = np.empty(len(frame))
    for train, test in LeaveOneGroupOut().split(x, groups=frame["problem_id"]):
        model = make_pipeline(
            StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000)
        )
        expected[test] = model.fit(x[train], anchor[train]).predict_proba(x[test])[:, 1]
    predictions = pd.read_parquet(tmp_path / "A" / "predictions.parquet")
    np.testing.assert_allclose(predictions["score_position_baseline"], expected, atol=1e-6)
    assert set(predictions["split"]) == {"test"}
    assert predictions.groupby("problem_id")["fold"].nunique().eq(1).all()
    assert predictions["fold"].nunique() == 6

    found = result.metrics["cv"]["position_baseline"]
    for problem, own in frame.assign(score=expected, anchor=anchor).groupby("problem_id"):
        area = average_precision_score(own["anchor"], own["score"])
        rank = stats.spearmanr(own["score"], own["importance_score"]).statistic
        assert found["pr_auc"]["per_problem"][problem] == pytest.approx(area, abs=1e-6)
        assert found["spearman"]["per_problem"][problem] == pytest.approx(rank, abs=1e-6)
    areas = list(found["pr_auc"]["per_problem"].values())
    assert found["pr_auc"]["mean"] == pytest.approx(np.mean(areas))
    low, high = found["pr_auc"]["interval"]
    assert low < found["pr_auc"]["mean"] < high


def test_a_probe_that_knows_beats_position_and_is_said_to(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    study = make_study(10, 30, signal=1.0)
    metrics = cv(
        CvConfig(
            metadata=study.metadata,
            features=study.features,
            probes=("position_untrained", "position_baseline", "linear_probe"),
            output_dir=tmp_path / "A",
            **FAST,
        )
    ).metrics
    against = {
        (each["control"], each["metric"]): each
        for each in metrics["comparisons"]
        if each["arm"] == "linear_probe"
    }
    assert set(against) == {
        (control, metric)
        for control in ("position_untrained", "position_baseline")
        for metric in ("pr_auc", "spearman")
    }
    for each in against.values():
        assert each["interval"][0] > 0
        assert each["q"] < 0.05
        assert each["sentence"].startswith(f"linear_probe beats {each['control']}")
    assert metrics["probes"]["linear_probe"]["notes"]["seed 0, fold 0"]["tried"]


def test_seeds_deal_the_folds_and_change_what_is_trained(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    study = make_study(9, 20, signal=0.3)
    given = {
        "metadata": study.metadata,
        "features": study.features,
        "probes": ("position_untrained", "linear_probe", "mlp_probe"),
        "fixed": True,
        "seeds": (0, 1),
        "tripwires": False,
    }
    dealt = cv(CvConfig(**given, folds="3", output_dir=tmp_path / "three")).metrics
    assert dealt["probes"]["position_untrained"]["seeds"] == [0]
    assert dealt["probes"]["linear_probe"]["seeds"] == [0, 1]
    assert dealt["cv"]["linear_probe"]["pr_auc"]["sd_over_seeds"] > 0
    by_pair = {(each["arm"], each["metric"]): each for each in dealt["comparisons"]}
    assert by_pair["linear_probe", "pr_auc"]["seeds"] == 2
    alone = cv(CvConfig(**given, folds="problems", output_dir=tmp_path / "alone")).metrics
    assert alone["probes"]["linear_probe"]["seeds"] == [0]
    assert alone["probes"]["mlp_probe"]["seeds"] == [0, 1]
    by_pair = {(each["arm"], each["metric"]): each for each in alone["comparisons"]}
    assert by_pair["linear_probe", "pr_auc"]["seeds"] == 0
    assert by_pair["mlp_probe", "pr_auc"]["seeds"] == 2
    predictions = pd.read_parquet(tmp_path / "three" / "predictions.parquet")
    folds = predictions.pivot_table(index="problem_id", columns="seed", values="fold")
    assert (folds[0] != folds[1]).any()
    per_seed = alone["per_seed"]["mlp_probe"]
    mean = np.mean([per_seed[seed]["pr_auc"] for seed in ("0", "1")])
    assert alone["cv"]["mlp_probe"]["pr_auc"]["mean"] == pytest.approx(mean)


def test_few_problems_have_no_interval_and_undefined_metrics_are_counted(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    study = make_study(5, 20)
    frame = study.frame.copy()
    frame.loc[frame["problem_id"] == "101", "importance_signed"] = 0.0
    frame.loc[frame["problem_id"] == "104", "importance_signed"] = np.nan
    write_sentences(frame, study.metadata)
    metrics = cv(
        CvConfig(
            metadata=study.metadata,
            probes=("position_untrained", "position_baseline"),
            output_dir=tmp_path / "A",
            **FAST,
        )
    ).metrics
    assert metrics["problems"] == ["100", "101", "102", "103"]
    assert metrics["reasons"]["problems"] == "1 problems have no label and were left out"
    found = metrics["cv"]["position_untrained"]["pr_auc"]
    assert found["per_problem"]["101"] is None
    assert found["undefined"] == 1
    assert found["interval"] is None
    assert "3 problems, and an interval needs at least 5" in found["reason"]
    assert "1 problem has no such metric" in found["reason"]
    comparison = metrics["comparisons"][0]
    assert (comparison["interval"], comparison["items"]) == (None, 3)


def test_outer_folds_hold_every_problem_out_once() -> None:
    problems = [str(number) for number in range(11)]
    for seed in range(5):
        folds = outer_folds(problems, "4", seed)
        assert sorted((each for fold in folds for each in fold), key=int) == problems
        assert {len(fold) for fold in folds} <= {2, 3}
    assert outer_folds(problems, "4", 0) != outer_folds(problems, "4", 1)
    assert outer_folds(problems, "problems", 7) == [[each] for each in problems]
    with pytest.raises(BadInput, match="--folds 12: only 11 problems"):
        outer_folds(problems, "12", 0)
    with pytest.raises(BadInput, match="two at least"):
        outer_folds(["a"], "problems", 0)


def test_what_position_leaves_is_judged_in_every_fold(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    study = make_study(6, 30)
    frame = study.frame.copy()
    frame["importance_signed"] = (1.2 - frame["relative_position"]).astype(float)
    frame["importance_signed"] += np.random.default_rng(0).normal(0, 0.02, len(frame))
    write_sentences(frame, study.metadata)
    metrics = cv(
        CvConfig(
            metadata=study.metadata,
            probes=("position_baseline",),
            target="importance_abs",
            residualize="position",
            fixed=True,
            output_dir=tmp_path / "A",
            **FAST,
        )
    ).metrics
    found = metrics["cv"]["position_baseline"]
    assert found["spearman"]["mean"] > 0.95
    assert abs(found["residual_spearman"]["mean"]) < 0.3
    assert set(found["residual_pr_auc"]["per_problem"]) == set(metrics["problems"])


def test_killed_and_run_again_gives_the_same_bytes(make_study: MakeStudy, tmp_path: Path) -> None:
    study = make_study(6, 15, signal=0.5)

    def command(output: Path) -> list[str]:
        return [
            *("anchors", "cv"),
            *("--metadata", str(study.metadata), "--features", str(study.features)),
            *("--probes", "position_untrained,linear_probe,mlp_probe", "--fixed"),
            *("--seeds", "0", "1", "--no-tripwires", "--draws", "1000"),
            *("--mlp-max-iter", "60"),
            *("--output-dir", str(output)),
        ]

    whole, cut = tmp_path / "whole" / "A", tmp_path / "cut" / "A"
    assert started.whence(*command(whole)).wait() == 0
    scores = tmp_path / "cut" / "A.partial" / ".scratch" / "scores"
    for wanted in (2, 10):
        process = started.whence(*command(cut))
        there = lambda: len(list(scores.glob("score_*.json"))) >= wanted  # noqa: B023, E731
        assert process.kill_when(there) == -signal.SIGKILL
        assert not cut.exists()
    again = started.whence(*command(cut))
    assert again.wait() == 0
    assert "continuing the unfinished run" in again.said()
    for name in ("metrics.json", "predictions.parquet", "report.md"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes(), name


def test_two_problems_of_one_sentence_are_enough_to_say_that_nothing_can_be_said(
    tmp_path: Path,
) -> None:
    rows = [
        {"problem_id": "1", "chunk_idx": 0, "chunk_text": "so it is", "importance_signed": 0.3},
        {"problem_id": "2", "chunk_idx": 0, "chunk_text": "so it was", "importance_signed": 0.1},
    ]
    write_sentences(pd.DataFrame(rows), tmp_path / "two.parquet")
    config = CvConfig(
        metadata=tmp_path / "two.parquet",
        probes=("position_untrained",),
        output_dir=tmp_path / "A",
        **FAST,
    )
    metrics = cv(config).metrics
    found = metrics["cv"]["position_untrained"]
    assert (found["pr_auc"]["mean"], found["spearman"]["mean"]) == (None, None)
    assert found["top_5_recall"]["mean"] == 1.0
    assert metrics["tripwires"]["passed"] is None
    assert "not checked" in metrics["tripwires"]["memorisation"]["sentence"]
