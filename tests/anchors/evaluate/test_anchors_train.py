"""`whence anchors train`: the published figures, what it writes, what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import average_precision_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from whence.anchors.evaluate import fits
from whence.anchors.evaluate.train import TrainConfig, train
from whence.anchors.features.store import load
from whence.anchors.probes.saved import load_probe
from whence.anchors.sentences import read_sentences, write_sentences
from whence.anchors.targets import target_of
from whence.errors import BadInput
from whence.runs.jsonfile import read_json, write_json

MakeStudy = Callable[..., Any]
FAST = {"shuffles": 5, "draws": 1000}


@pytest.mark.parametrize(
    ("setting", "position", "text"),
    [("llama_correct", (0.1625, 0.5125), None), ("qwen_correct", (0.1801, 0.4799), 0.0961)],
)
def test_published_figures(
    shared_data: Path, tmp_path: Path, setting: str, position: tuple[float, float], text: Any
) -> None:
    folder = shared_data / "thought-anchors"
    result = train(
        TrainConfig(
            metadata=folder / setting / "sentence_metadata.parquet",
            splits=folder / "splits.json",
            probes=("position_baseline", "text_only_baseline"),
            fixed=True,
            output_dir=tmp_path / "A",
            **FAST,
        )
    )
    test = read_json(tmp_path / "A" / "metrics.json")["test"]
    found = test["position_baseline"]
    assert (found["pr_auc_trapezoid"], found["spearman_mean"]) == pytest.approx(position, abs=5e-5)
    if text is not None:
        assert test["text_only_baseline"]["pr_auc_trapezoid"] == pytest.approx(text, abs=5e-5)
    stored = pd.read_parquet(folder / setting / "predictions_seed_0.parquet")
    ours = pd.read_parquet(tmp_path / "A" / "predictions.parquet")
    both = stored.merge(ours, on=["problem_id", "chunk_idx", "split"], suffixes=("_stored", ""))
    assert len(both) == len(stored) == len(ours)
    np.testing.assert_allclose(
        both["score_position_baseline"], both["score_position_baseline_stored"], atol=1e-6
    )
    np.testing.assert_array_equal(both["anchor"], both["anchor_stored"])
    assert "3 test problems" in result.finding().headline
    comparison = result.metrics["comparisons"][0]
    assert (comparison["interval"], comparison["seeds"], comparison["items"]) == (None, 0, 3)
    assert "3 clusters, and an interval needs at least 5" in comparison["sentence"]
    assert result.metrics["tripwires"]["passed"] is True
    assert "importance_se" in result.metrics["noise_ceiling"]["reason"]


def test_metrics_are_those_of_an_independent_pipeline(make_study: MakeStudy, tmp_path: Path):
    study = make_study(8, 30, signal=1.0)
    config = TrainConfig(
        metadata=study.metadata,
        features=study.features,
        splits=study.splits,
        probes=("linear_probe", "position_untrained"),
        fixed=True,
        output_dir=tmp_path / "A",
        **FAST,
    )
    result = train(config)
    split = read_json(study.splits)
    inside = {
        part: study.frame["problem_id"].astype(int).isin(split[part]).to_numpy() for part in split
    }
    anchor = target_of(read_sentences(study.metadata), "anchor_binary")
    model = make_pipeline(
        StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000)
    )
    x = study.mean.astype(np.float32)
    model.fit(x[inside["train"]], anchor[inside["train"]])
    for part in ("val", "test"):
        scores = model.predict_proba(x[inside[part]])[:, 1]
        own = study.frame[inside[part]].assign(score=scores)
        expected = average_precision_score(anchor[inside[part]], scores)
        found = result.metrics[part]["linear_probe"]
        assert found["pr_auc"] == pytest.approx(expected, abs=1e-6)
        ranks = [
            stats.spearmanr(each["score"], each["importance_score"]).statistic
            for _, each in own.groupby("problem_id")
        ]
        assert found["spearman_mean"] == pytest.approx(np.mean(ranks), abs=1e-6)
        assert found["calibration"]["brier"] == pytest.approx(
            np.mean((scores - anchor[inside[part]]) ** 2), abs=1e-6
        )
        assert result.metrics[part]["position_untrained"].get("calibration") is None
    saved = load_probe(tmp_path / "A" / "probes" / "linear_probe")
    frame = read_sentences(study.metadata)
    again = saved.fitted.score(load(study.features).data(frame))
    predictions = pd.read_parquet(tmp_path / "A" / "predictions.parquet")
    shown = inside["val"] | inside["test"]
    np.testing.assert_allclose(predictions["score_linear_probe"], again[shown], atol=1e-6)
    assert saved.about["trained_on"] == [str(each) for each in split["train"]]
    assert (saved.about["layer"], saved.about["target"]) == (1, "anchor_binary")
    assert result.metrics["selected"]["probe"] == "linear_probe"
    assert train(config).done


def test_seeds_count_for_what_they_change(make_study: MakeStudy, tmp_path: Path) -> None:
    study = make_study(8, 20, signal=0.5)
    result = train(
        TrainConfig(
            metadata=study.metadata,
            features=study.features,
            splits=study.splits,
            probes=("linear_probe", "mlp_probe"),
            fixed=True,
            seeds=(0, 3),
            tripwires=False,
            output_dir=tmp_path / "A",
        )
    )
    test = result.metrics["test"]
    assert list(test["linear_probe"]["per_seed"]) == ["0"]
    seeds = test["mlp_probe"]["per_seed"]
    assert list(seeds) == ["0", "3"]
    assert seeds["0"] != seeds["3"]
    mean = np.mean([each["pr_auc"] for each in seeds.values()])
    assert test["mlp_probe"]["pr_auc"] == pytest.approx(mean)
    predictions = pd.read_parquet(tmp_path / "A" / "predictions.parquet")
    blocks = dict(list(predictions.groupby("seed")))
    assert list(blocks) == [0, 3]
    np.testing.assert_array_equal(blocks[0]["score_linear_probe"], blocks[3]["score_linear_probe"])
    assert {p.name for p in (tmp_path / "A" / "probes").iterdir()} == {
        "linear_probe",
        "mlp_probe",
        "mlp_probe_seed_3",
    }
    assert result.metrics["tripwires"] == {"passed": None, "reason": "--no-tripwires"}


@pytest.mark.parametrize("target", ["importance_abs", "importance_signed"])
def test_continuous_targets_and_what_position_leaves(
    make_study: MakeStudy, tmp_path: Path, target: str
) -> None:
    study = make_study(8, 30, signal=1.0)
    frame = study.frame.copy()
    frame["importance_signed"] -= 0.3 * frame["relative_position"]
    frame["importance_score"] = frame["importance_signed"].abs()
    write_sentences(frame, study.metadata)
    result = train(
        TrainConfig(
            metadata=study.metadata,
            features=study.features,
            splits=study.splits,
            probes=("position_baseline", "linear_probe"),
            target=target,
            residualize="position",
            fixed=True,
            output_dir=tmp_path / "A",
            **FAST,
        )
    )
    metrics = result.metrics
    assert metrics["primary_metric"] == "spearman"
    assert "calibration" not in metrics["test"]["linear_probe"]
    split = read_json(study.splits)
    ids = frame["problem_id"].astype(int)
    train_rows, test_rows = (ids.isin(split[part]).to_numpy() for part in ("train", "test"))
    value = frame["importance_signed" if target == "importance_signed" else "importance_score"]
    place = frame[["chunk_idx", "num_chunks", "relative_position", "token_count"]].to_numpy(float)
    fit = make_pipeline(StandardScaler(), Ridge(alpha=1.0)).fit(
        place[train_rows], value[train_rows]
    )
    left = value.to_numpy() - fit.predict(place)
    probe = make_pipeline(StandardScaler(), Ridge(alpha=1.0))
    probe.fit(study.mean[train_rows].astype(np.float32), left[train_rows])
    own = frame[test_rows].assign(
        score=probe.predict(study.mean[test_rows].astype(np.float32)), left=left[test_rows]
    )
    expected = np.mean(
        [stats.spearmanr(p["score"], p["left"]).statistic for _, p in own.groupby("problem_id")]
    )
    found = metrics["residual"]["test"]["linear_probe"]["residual_spearman"]
    assert found == pytest.approx(expected, abs=1e-4)
    assert abs(metrics["residual"]["test"]["position_baseline"]["residual_spearman"]) < 0.3
    predictions = pd.read_parquet(tmp_path / "A" / "predictions.parquet")
    assert "residual_score_linear_probe" in predictions.columns
    assert (tmp_path / "A" / "probes" / "linear_probe_residual" / "probe.json").is_file()


def test_sentences_without_a_label_are_scored_and_not_judged(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    study = make_study(8, 20)
    frame = study.frame.copy()
    frame.loc[frame["chunk_idx"] == 3, "importance_signed"] = np.nan
    write_sentences(frame, study.metadata)
    config = TrainConfig(
        metadata=study.metadata,
        splits=study.splits,
        probes=("position_baseline",),
        output_dir=tmp_path / "A",
        **FAST,
    )
    metrics = train(config).metrics
    predictions = pd.read_parquet(tmp_path / "A" / "predictions.parquet")
    assert predictions["anchor"].isna().sum() == 4
    assert predictions["score_position_baseline"].notna().all()
    assert metrics["rows"]["unlabelled"] == 8
    assert metrics["rows"]["test"] == (predictions["split"] == "test").sum() - 2
    assert "8 sentences have no label" in metrics["reasons"]["labels"]


def test_a_split_without_validation_selects_nothing(make_study: MakeStudy, tmp_path: Path) -> None:
    study = make_study(6, 20)
    ids = study.frame["problem_id"].unique().tolist()
    write_json(study.splits, {"train": ids[:4], "test": ids[4:]})
    result = train(
        TrainConfig(
            metadata=study.metadata,
            splits=study.splits,
            output_dir=tmp_path / "A",
            fixed=True,
            **FAST,
        )
    )
    assert result.metrics["selected"] is None
    assert "nothing was selected" in result.metrics["reasons"]["val"]
    assert list(result.metrics["test"]) == [
        "position_untrained",
        "position_baseline",
        "text_only_baseline",
        "length_tag_baseline",
    ]


def test_bad_input_is_named_and_leaves_nothing(make_study: MakeStudy, tmp_path: Path) -> None:
    study = make_study(6, 20)

    def run(**changes: Any) -> None:
        given = {"metadata": study.metadata, "splits": study.splits, "output_dir": tmp_path / "A"}
        train(TrainConfig(**(given | FAST | changes)))

    with pytest.raises(BadInput, match="did you mean position_baseline"):
        run(probes=("positon_baseline",))
    with pytest.raises(BadInput, match=r"linear_probe reads activations \(mean\): give --features"):
        run(probes=("linear_probe",))
    with pytest.raises(BadInput, match="no layer 7"):
        run(probes=("linear_probe",), features=study.features, layer=7)
    write_sentences(study.frame.drop(columns="token_count"), tmp_path / "spanless.parquet")
    with pytest.raises(BadInput, match=r"position_baseline reads token_count.*anchors spans"):
        run(metadata=tmp_path / "spanless.parquet", probes=("position_baseline",))
    bare = study.frame.drop(columns=["importance_signed", "importance_score"])
    write_sentences(bare, tmp_path / "bare.parquet")
    with pytest.raises(BadInput, match=r"bare.parquet.*importance_signed.*anchors labels"):
        run(metadata=tmp_path / "bare.parquet")
    empty = study.frame.assign(importance_signed=np.nan)
    write_sentences(empty, tmp_path / "empty.parquet")
    with pytest.raises(BadInput, match="missing in every row"):
        run(metadata=tmp_path / "empty.parquet")
    flat = study.frame.assign(importance_signed=0.0)
    write_sentences(flat, tmp_path / "flat.parquet")
    with pytest.raises(BadInput, match=r"train problems: .*are not anchors"):
        run(metadata=tmp_path / "flat.parquet", probes=("position_baseline",))
    assert not (tmp_path / "A").exists()
    assert not (tmp_path / "A.partial").exists()


def test_cut_off_and_run_again_fits_only_what_is_missing(
    make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_study(8, 20, signal=0.5)

    def config(folder: str) -> TrainConfig:
        return TrainConfig(
            metadata=study.metadata,
            features=study.features,
            splits=study.splits,
            probes=("position_baseline", "linear_probe", "mlp_probe"),
            fixed=True,
            seeds=(0, 1),
            tripwires=False,
            output_dir=tmp_path / folder / "A",
        )

    train(config("whole"))
    fitted: list[tuple[str, int]] = []
    real = fits.fit

    def counted(material: Any, probe: Any, given: Any, seed: int, where: str) -> Any:
        if len(fitted) == 2:
            raise KeyboardInterrupt
        fitted.append((probe.name, seed))
        return real(material, probe, given, seed, where)

    monkeypatch.setattr(fits, "fit", counted)
    with pytest.raises(KeyboardInterrupt):
        train(config("cut"))
    first, fitted = fitted, []
    train(config("cut"))
    assert first + fitted == [
        ("position_baseline", 0),
        ("linear_probe", 0),
        ("mlp_probe", 0),
        ("mlp_probe", 1),
    ]
    whole, cut = tmp_path / "whole" / "A", tmp_path / "cut" / "A"
    files = [p.relative_to(whole) for p in whole.rglob("*") if p.is_file()]
    same = [name for name in files if name.suffix in (".parquet", ".safetensors")]
    for name in [*same, "metrics.json", "probes/mlp_probe_seed_1/probe.json"]:
        assert (whole / name).read_bytes() == (cut / name).read_bytes(), name
    assert len(same) == 5
