"""`whence sae predict --apply`: another pool scored without gradients, or refused by name."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from extraction_folders import activations, write_extraction
from predictable import Pool, make_pool
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from whence.data.select import SelectConfig, select
from whence.errors import BadInput
from whence.runs.jsonfile import read_json, read_jsonl, write_json, write_jsonl
from whence.runs.manifest import Split, write_manifest, write_split
from whence.runs.ranking import read_ranking
from whence.sae.predict import PredictConfig, PredictResult, judged, predict

SIZES = {"a": 40, "b": 25}


@pytest.fixture(autouse=True)
def _fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("statistic_interval", "statistic_differences"):
        monkeypatch.setattr(judged, name, partial(getattr(judged, name), draws=100))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    return make_pool(tmp_path_factory.mktemp("pool"), sizes=SIZES, rows=300)


@pytest.fixture(scope="module")
def fitted(pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> PredictResult:
    return predict(pool.config(tmp_path_factory.mktemp("fitted") / "p", sae_ridge_l2=50.0))


@pytest.fixture
def new(tmp_path: Path) -> Pool:
    return make_pool(tmp_path / "new", sizes=SIZES, rows=90, seed=1)


def apply(fitted: PredictResult, pool: Pool, output: Path, **more: Any) -> PredictResult:
    named = {"apply": fitted.folder, "sae_dir": pool.features, **more}
    return predict(PredictConfig(output_dir=output, **named))


def lines(result: PredictResult) -> pd.DataFrame:
    return pd.DataFrame(read_jsonl(result.folder / "row_scores.jsonl")).set_index("row_id")


def test_the_same_rows_get_the_same_predictions(
    fitted: PredictResult, pool: Pool, tmp_path: Path
) -> None:
    found = apply(fitted, pool, tmp_path / "q")
    before, after = lines(fitted), lines(found)
    assert (after["pred_value"] == before.loc[after.index, "pred_value"]).all()
    assert (after["rank"] == before.loc[after.index, "rank"]).all()
    assert found.summary["rows_also_trained_on"] == fitted.summary["train_rows"]
    assert "were trained on" in found.finding().headline
    # The first rows alone: a prediction does not hang on which others are there.
    few = lines(apply(fitted, pool, tmp_path / "few", max_rows=7))
    assert len(few) == 7
    assert (few["pred_value"] == before.loc[few.index, "pred_value"]).all()


def test_a_new_pool_is_predicted_as_a_refit_would(
    fitted: PredictResult, pool: Pool, new: Pool, tmp_path: Path
) -> None:
    found = apply(fitted, new, tmp_path / "q")

    def matrix(of: Pool) -> np.ndarray:
        parts = []
        for sae_id in SIZES:
            with np.load(of.features / f"{sae_id}.npz") as stored:
                parts += [stored["sample_stats"], stored["feature_activation_mean"]]
        return np.concatenate(parts, axis=1).astype(np.float64)

    rows = lines(fitted).sort_values("index")
    train = (rows["part"] == "train").to_numpy()
    refit = make_pipeline(StandardScaler(), Ridge(alpha=50.0))
    refit.fit(matrix(pool)[train], rows["target_value"][train])
    got = lines(found).sort_values("index")["pred_value"]
    np.testing.assert_allclose(got, refit.predict(matrix(new)), atol=1e-9)
    assert "target_value" not in lines(found)
    assert "metrics" not in found.summary
    rho = spearmanr(got, lines(found).sort_values("index")["tokens"]).statistic
    assert found.summary["length_correlation"]["spearman"] == pytest.approx(rho)
    again = apply(fitted, new, tmp_path / "q")
    assert again.done


def test_scores_judge_the_predictions(fitted: PredictResult, new: Pool, tmp_path: Path) -> None:
    found = apply(fitted, new, tmp_path / "q", scores=new.scores, top_k=20)
    rows = lines(found)
    metrics = found.summary["metrics"]
    assert (metrics["rows"], metrics["topk_overlap"]["k"]) == (90, 20)
    rho = spearmanr(rows["pred_value"], rows["target_score_raw"]).statistic
    assert metrics["spearman"] == pytest.approx(rho)
    assert rho > 0.5
    assert metrics["intervals"]["spearman"][0] > 0.3
    np.testing.assert_allclose(rows.sort_values("index")["target_score_raw"], new.score)
    assert "on all 90 rows" in found.finding().headline


def test_how_far_the_new_rows_are(fitted: PredictResult, new: Pool, tmp_path: Path) -> None:
    near = apply(fitted, new, tmp_path / "near").summary
    assert near["outside_training_predictions"]["share"] < 0.2
    assert near["features"][0]["share_of_activation_unseen"] == 0
    far_means = {name: means.copy() for name, means in new.means.items()}
    far_means["a"][:45, 3] = 40.0
    examples = read_jsonl(new.features / "examples.jsonl")
    summary = read_json(new.features / "summary.json")
    shutil.rmtree(new.features)
    write_extraction(new.features, examples, far_means)
    write_json(new.features / "summary.json", summary)
    far = apply(fitted, new, tmp_path / "far").summary["outside_training_predictions"]
    assert far["rows"] >= 45
    highest = lines(fitted).query("part == 'train'")["pred_value"].max()
    assert far["training_max"] == highest
    assert far["rows"] == int(
        (lines(apply(fitted, new, tmp_path / "far"))["pred_value"] > highest).sum()
    ) + int((lines(apply(fitted, new, tmp_path / "far"))["pred_value"] < far["training_min"]).sum())


def test_features_that_no_training_row_had(tmp_path: Path) -> None:
    first = make_pool(tmp_path / "first", sizes={"a": 20})
    silent = first.means["a"].copy()
    silent[:, 9] = 0
    with np.load(first.features / "a.npz") as stored:
        np.savez(
            first.features / "a.npz",
            **{**stored, "feature_activation_mean": silent, "feature_presence": silent > 0},
        )
    fitted = predict(first.config(tmp_path / "p"))
    second = make_pool(tmp_path / "second", sizes={"a": 20}, rows=60, seed=2)
    said = apply(fitted, second, tmp_path / "q").summary["features"][0]
    share = second.means["a"][:, 9].sum() / second.means["a"].sum()
    assert said["features_unseen"] == 1
    assert said["share_of_activation_unseen"] == pytest.approx(share, rel=1e-5)


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("text", "joined", "text is joined, and the predictor was fitted on features with aligned"),
        ("count_bos", True, "count_bos is True, .* with False"),
        ("activation_threshold", 0.5, "activation_threshold is 0.5, .* with 0.0"),
        ("model", {"source": "other"}, "model.source is other, .* with tiny"),
        ("model", {"source": "tiny", "adapter": "x"}, "model.adapter is x, .* with not recorded"),
    ],
)
def test_other_features_are_refused_by_name(
    fitted: PredictResult, new: Pool, tmp_path: Path, key: str, value: Any, match: str
) -> None:
    summary = read_json(new.features / "summary.json")
    write_json(new.features / "summary.json", {**summary, key: value})
    with pytest.raises(BadInput, match=match):
        apply(fitted, new, tmp_path / "q")


def test_a_model_that_was_moved_is_the_same_model(tmp_path: Path) -> None:
    pools = [
        make_pool(
            tmp_path / name, sizes={"a": 20}, texts=[(f"{name} {i}", "yes") for i in range(150)]
        )
        for name in "xy"
    ]
    for pool, source in zip(pools, ("/here", "/there"), strict=True):
        summary = read_json(pool.features / "summary.json")
        summary["model"] = {"source": source, "revision": source, "fingerprint": "f1"}
        write_json(pool.features / "summary.json", summary)
    fitted = predict(pools[0].config(tmp_path / "p"))
    found = apply(fitted, pools[1], tmp_path / "q")
    assert found.summary["rows_also_trained_on"] == 0  # the same ids, other texts
    summary["model"]["fingerprint"] = "f2"
    write_json(pools[1].features / "summary.json", summary)
    with pytest.raises(BadInput, match=r"model\.fingerprint is f2, .* with f1"):
        apply(fitted, pools[1], tmp_path / "r")


def test_another_sae_is_refused(fitted: PredictResult, new: Pool, tmp_path: Path) -> None:
    summary = read_json(new.features / "summary.json")

    def changed(**values: Any) -> None:
        second = {**summary["layers"][1], **values}
        layers = [summary["layers"][0], second]
        write_json(new.features / "summary.json", {**summary, "layers": layers})

    for name in ("fingerprint", "hook_name"):
        changed(**{name: "other"})
        with pytest.raises(BadInput, match=rf"b\.{name} is other, .* with "):
            apply(fitted, new, tmp_path / "q")
    changed(sae_id="c")
    with pytest.raises(BadInput, match='no SAE "b"; it has a, c'):
        apply(fitted, new, tmp_path / "q")
    changed()
    with np.load(new.features / "b.npz") as stored:
        wider = {**stored, "feature_activation_mean": activations(90, 31)}
    wider["feature_presence"] = wider["feature_activation_mean"] > 0
    np.savez(new.features / "b.npz", **wider)
    with pytest.raises(BadInput, match="b has 31 features, and the predictor was fitted on 25"):
        apply(fitted, new, tmp_path / "q")


def test_damaged_and_absent_predictors(fitted: PredictResult, new: Pool, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no predictor/predictor.json in it"):
        predict(PredictConfig(apply=tmp_path, sae_dir=new.features, output_dir=tmp_path / "q"))
    copy = tmp_path / "copy"
    shutil.copytree(fitted.folder, copy)
    arrays = copy / "predictor" / "predictor.safetensors"
    arrays.write_bytes(arrays.read_bytes()[:-1] + b"\x07")
    with pytest.raises(BadInput, match=r"is not the file that predictor\.json was written for"):
        predict(PredictConfig(apply=copy, sae_dir=new.features, output_dir=tmp_path / "q"))
    described = copy / "predictor" / "predictor.json"
    described.write_text(json.dumps({**json.loads(described.read_text()), "format": "x"}))
    with pytest.raises(BadInput, match="its format is not"):
        predict(PredictConfig(apply=copy, sae_dir=new.features, output_dir=tmp_path / "q"))


def test_settings_that_are_for_fitting_are_refused(fitted: PredictResult, new: Pool) -> None:
    for more in ({"seed": 1}, {"sae_id": ["a"]}, {"target_type": "score"}):
        flag = next(iter(more)).replace("_", "-")
        with pytest.raises(BadInput, match=f"--{flag} is for fitting"):
            apply(fitted, new, Path("never"), **more)


def test_the_new_pool_can_be_selected_from(
    fitted: PredictResult, new: Pool, tmp_path: Path
) -> None:
    examples = pd.DataFrame(read_jsonl(new.features / "examples.jsonl"))
    rows = examples[["row_id", "category"]].assign(prompt="USER: ?", completion="yes")
    for name, part in (("score_pool", rows), ("eval", rows[:2])):
        write_split(part, tmp_path / f"{name}.parquet")
    write_manifest(
        tmp_path / "manifest.json",
        {
            name: Split(name, tmp_path / f"{name}.parquet", count)
            for name, count in (("score_pool", 90), ("eval", 2))
        },
        {},
    )
    found = apply(fitted, new, tmp_path / "q")
    drawn = select(
        SelectConfig(
            scores=found.folder,
            manifest=tmp_path / "manifest.json",
            arm=["predictor=top:20", "control=matched_random:of=predictor"],
            output_dir=tmp_path / "arms",
        )
    )
    assert drawn.arms["predictor"]["rank"] == {"min": 1, "max": 20, **_rest(drawn.arms)}
    best = read_ranking(found.folder).nsmallest(20, "rank")["score"]
    assert drawn.arms["predictor"]["score"]["mean"] == pytest.approx(best.mean())


def _rest(arms: Any) -> dict[str, Any]:
    return {name: v for name, v in arms["predictor"]["rank"].items() if name not in ("min", "max")}


def test_rows_of_no_examples_are_refused(fitted: PredictResult, new: Pool, tmp_path: Path) -> None:
    examples = read_jsonl(new.features / "examples.jsonl")
    write_jsonl(new.features / "examples.jsonl", examples[:80])
    with pytest.raises(BadInput, match="they are not of one extraction"):
        apply(fitted, new, tmp_path / "q")
