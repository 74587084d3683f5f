"""`whence sae predict`: a planted signal, its files, its refusals, and runs that were cut off."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from extraction_folders import write_extraction
from predictable import Pool, make_pool
from safetensors.numpy import load_file
from scipy.stats import pearsonr, rankdata, spearmanr

from whence.__main__ import main
from whence.cli.parse import Usage, parse
from whence.errors import BadInput
from whence.runs.jsonfile import read_json, read_jsonl, write_json
from whence.runs.ranking import read_ranking
from whence.runs.tables import read_table, write_parquet
from whence.sae.extract import ExtractConfig
from whence.sae.predict import PredictConfig, PredictResult, judged, predict
from whence.sae.predict.features import regenerating_command
from whence.sae.predict.material import target_values
from whence.sae.store import open_extraction
from whence.stats.intervals import Interval
from whence.stats.whole import rank_correlation, statistic_interval

DRAWS = 200


@pytest.fixture(autouse=True)
def _fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("statistic_interval", "statistic_differences"):
        monkeypatch.setattr(judged, name, partial(getattr(judged, name), draws=DRAWS))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    return make_pool(tmp_path_factory.mktemp("pool"), columns={"loss": np.arange(150) % 11 / 7})


@pytest.fixture(scope="module")
def found(pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> PredictResult:
    return predict(pool.config(tmp_path_factory.mktemp("found") / "p", top_k=30))


def written(result: PredictResult) -> pd.DataFrame:
    return pd.DataFrame(read_jsonl(result.folder / "row_scores.jsonl"))


def test_a_planted_signal_is_found_and_beats_length(found: PredictResult) -> None:
    summary = found.summary
    assert summary["test_metrics"]["spearman"] > 0.5
    assert summary["test_metrics"]["intervals"]["spearman"][0] > 0.2
    assert summary["oof_metrics"]["spearman"] > 0.6
    by_control = {each["control"]: each for each in summary["comparisons"]}
    assert list(by_control) == ["length", "loss", "stats_only"]
    assert by_control["length"]["arm"] == "sae_features"
    assert by_control["length"]["interval"][0] > 0
    assert by_control["length"]["q"] < 0.05
    best = [each["feature"] for each in summary["strongest"][0]["features"][:2]]
    assert sorted(best) == [3, 5]
    assert summary["strongest_note"] is None
    said = found.finding()
    assert said.headline.startswith("SAE features predict attribution rank at Spearman 0.")
    assert "better than length (+" in said.headline
    assert [row[0] for row in said.rows] == ["sae_features", *summary["baselines"]]


def test_rows_and_metrics_say_the_same(found: PredictResult, pool: Pool) -> None:
    rows = written(found)
    assert list(rows["rank"]) == list(range(1, 151))
    assert rows["pred_value"].is_monotonic_decreasing
    assert {"index", "row_id", "category", "difficulty", "group_id", "tokens"} <= set(rows)
    assert "prompt" not in rows
    examples = read_table(pool.features / "examples.jsonl").to_pandas()
    by_index = rows.sort_values("index")
    assert list(by_index["row_id"]) == list(examples["row_id"])
    np.testing.assert_allclose(by_index["target_score_raw"], pool.score)
    np.testing.assert_allclose(by_index["target_value"], (rankdata(pool.score) - 1) / 149)
    test = rows[rows["part"] == "test"]
    assert not set(test["group_id"]) & set(rows.loc[rows["part"] == "train", "group_id"])
    for part, metrics in ((test, "test_metrics"), (rows, "all_metrics")):
        said = found.summary[metrics]
        assert said["rows"] == len(part)
        pair = part["pred_value"], part["target_value"]
        assert said["spearman"] == pytest.approx(spearmanr(*pair).statistic)
        assert said["pearson"] == pytest.approx(pearsonr(*pair).statistic)
        errors = part["abs_error"]
        assert said["rmse"] == pytest.approx(np.sqrt((errors**2).mean()))
        assert said["mae"] == pytest.approx(errors.mean())
    oof = spearmanr(rows["pred_out_of_fold"], rows["target_value"]).statistic
    assert found.summary["oof_metrics"]["spearman"] == pytest.approx(oof)
    low, high = found.summary["oof_metrics"]["intervals"]["spearman"]
    groups = rows["group_id"].tolist()
    plain = rank_correlation(rows["pred_out_of_fold"], rows["target_value"])
    narrow = statistic_interval(plain, len(rows), groups)
    assert isinstance(narrow, Interval)
    assert high - low > 1.3 * (narrow.high - narrow.low)  # the spread between fits is in it
    top = set(rows.head(30)["row_id"]) & set(rows.nlargest(30, "target_value")["row_id"])
    overlap = found.summary["topk_overlap_with_target"]
    assert (overlap["k"], overlap["overlap_count"]) == (30, len(top))
    assert overlap["overlap_fraction"] == pytest.approx(len(top) / 30)
    assert overlap["in_sample_rows"] == found.summary["train_rows"] == 120
    assert found.summary["test_metrics"]["topk_overlap"]["k"] == 6  # 30 of 150, of 30 rows


def test_the_ranking_can_be_selected_by(found: PredictResult) -> None:
    rows = written(found).set_index("row_id")
    ranking = read_ranking(found.folder).set_index("row_id")
    assert (ranking["score"] == rows.loc[ranking.index, "pred_value"]).all()
    assert (ranking["rank"] == rows.loc[ranking.index, "rank"]).all()
    assert (ranking["length_tokens"] == rows.loc[ranking.index, "tokens"]).all()
    assert set(ranking["part"]) == {"train", "test"}
    honest = read_ranking(found.folder / "scores_out_of_fold.parquet").set_index("row_id")
    assert (honest["score"] == rows.loc[honest.index, "pred_out_of_fold"]).all()


def test_what_is_saved_needs_no_pickle(found: PredictResult, pool: Pool) -> None:
    arrays = load_file(found.folder / "predictor" / "predictor.safetensors")
    examples = read_table(pool.features / "examples.jsonl").to_pandas()
    with np.load(pool.features / "a.npz", allow_pickle=False) as stored:
        means = stored["feature_activation_mean"].astype(float)
        stats = stored["sample_stats"].astype(float)
    by_hand = (
        means @ arrays["a.activation_weights"]
        + stats @ arrays["a.stat_weights"]
        + arrays["intercept"]
    )
    said = written(found).set_index("row_id").loc[examples["row_id"], "pred_value"]
    np.testing.assert_allclose(by_hand, said, rtol=1e-10)
    about = read_json(found.folder / "predictor" / "predictor.json")
    assert about["target"]["type"] == "rank"
    assert about["extraction"]["a.fingerprint"] == "aaa"
    assert len(about["trained_on"]) == 120
    assert not list(found.folder.rglob("*.pkl"))


def test_targets() -> None:
    scores = np.array([5.0, -1.0, 2.0, 2.0, 9.0])
    np.testing.assert_allclose(target_values(scores, "rank"), [0.75, 0, 0.375, 0.375, 1])
    np.testing.assert_array_equal(target_values(scores, "score"), scores)


def test_scores_two_layers_projection_and_random_rows(tmp_path: Path) -> None:
    lengths = [30 + 5 * (i % 7) for i in range(90)]  # longer than the tokens read, and alike
    pool = make_pool(
        tmp_path, sizes={"a": 40, "b c": 60}, rows=90, columns={"length_tokens": lengths}
    )
    both = predict(
        pool.config(
            tmp_path / "both",
            target_type="score",
            sae_projection_dim=50,
            split_mode="random",
            sae_ridge_l2=3.0,
        )
    )
    assert both.summary["columns"] == 2 * 10 + 40 + 50
    assert both.summary["regularisation"] == {
        "l2": 3.0,
        "given": True,
        "search": None,
        "out_of_fold_l2": [3.0] * 5,
    }
    rows = written(both).sort_values("index")
    np.testing.assert_allclose(rows["target_value"], pool.score)
    assert list(rows["length_tokens"]) == lengths
    test, train = (set(rows.loc[rows["part"] == part, "group_id"]) for part in ("test", "train"))
    assert test & train  # of one group on both sides, as random says
    assert "projected" in both.summary["strongest_note"]
    assert both.summary["topk_overlap_with_target"]["k"] == 22  # a quarter
    one = predict(pool.config(tmp_path / "one", sae_id=["b_c"], sae_projection_dim=0, max_rows=60))
    assert [each["sae_id"] for each in one.summary["strongest"]] == ["b c"]
    assert (one.summary["rows"], one.summary["columns"]) == (60, 70)
    # The second SAE knows nothing of the planted features of the first.
    assert one.summary["oof_metrics"]["spearman"] < both.summary["oof_metrics"]["spearman"] - 0.3


def test_groups_are_by_the_fields_given(pool: Pool, tmp_path: Path) -> None:
    found = predict(pool.config(tmp_path / "p", group_key_fields=["category,difficulty"]))
    rows = written(found)
    key = rows["category"] + rows["difficulty"].fillna(-1).astype(str)
    assert not set(key[rows["part"] == "test"]) & set(key[rows["part"] == "train"])
    assert found.summary["test_metrics"]["groups"] == key[rows["part"] == "test"].nunique()
    # Four groups held out: no interval, and the reason.
    few = predict(pool.config(tmp_path / "few", group_key_fields=["difficulty"], test_fraction=0.5))
    metrics = few.summary["test_metrics"]
    assert metrics["intervals"] == dict.fromkeys(("pearson", "spearman", "rmse", "mae"))
    assert "3 clusters, and an interval needs at least 5" in metrics["reasons"]["spearman"]
    assert isinstance(metrics["spearman"], float)
    assert "no verdict against" in few.finding().headline


def without(folder: Path, name: str, **arrays: Any) -> None:
    """A layer's file with some arrays replaced, None for left out."""
    with np.load(folder / name) as stored:
        kept = {**stored, **arrays}
    np.savez(folder / name, **{key: value for key, value in kept.items() if value is not None})


def test_what_cannot_be_is_one_line(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, rows=30)

    def refused(match: str, **more: Any) -> None:
        with pytest.raises(BadInput, match=match) as error:
            predict(pool.config(tmp_path / "p", **more))
        assert "\n" not in str(error.value)
        assert not (tmp_path / "p").exists()

    refused("--top-k 30: there are 30 rows", top_k=30)
    refused("--group-key-fields game: the rows have no such field", group_key_fields=["game"])
    refused("rows to fit on are of one group", group_key_fields=["category"])
    refused('no SAE "z"', sae_id=["z"])
    refused("9 rows, and a predictor needs at least 10", max_rows=9)
    with pytest.raises(BadInput, match="--scores was expected"):
        pool.config(tmp_path / "p", scores=None)
    table = read_table(pool.scores)
    write_parquet(table.slice(3), pool.scores)
    refused("no score for 3 of 30 rows")
    write_parquet(table.set_column(1, "score", [[0.25] * 30]), pool.scores)
    refused("every row has the same score, so there is nothing to predict")
    write_parquet(table, pool.scores)
    means = pool.means["a"].copy()
    means[4, 7] = np.nan
    without(pool.features, "a.npz", feature_activation_mean=means)
    refused(r"the activation of feature 7 in row_id .* is nan")
    stats = np.zeros((30, 10), np.float32)
    stats[2, 1] = np.inf
    without(pool.features, "a.npz", feature_activation_mean=pool.means["a"], sample_stats=stats)
    refused("active_entry_fraction of row_id .* is Infinity")
    without(pool.features, "a.npz", feature_activation_mean=None)
    refused(
        "no feature_activation_mean.*make it again with: whence sae extract --model-name tiny "
        "--sae-release RELEASE --sae-id a --dataset-path ROWS.jsonl --text aligned --max-tokens 64 "
        "--activation-threshold 0.0 --no-count-bos --output-dir FOLDER"
    )


def test_a_folder_of_the_earlier_system_is_refused_with_the_command(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, rows=30, sizes={"layer_17": 20}, summary=False, means=False)
    with pytest.raises(BadInput, match=r"extract --model-name MODEL .* --sae-id layer_17 "):
        predict(pool.config(tmp_path / "p"))


def test_the_command_that_makes_features_again_can_be_run(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, rows=12, sizes={"a": 9, "b": 8})
    summary = read_json(pool.features / "summary.json")
    layers = [{**each, "path": f"/saes/my {each['sae_id']}"} for each in summary["layers"]]
    dataset = {"manifest": "m.json", "split": "score_pool", "path": None}
    model = {"source": "/models/gemma", "adapter": "/adapter"}
    write_json(
        pool.features / "summary.json",
        {**summary, "layers": layers, "dataset": dataset, "model": model},
    )
    words = shlex.split(regenerating_command(open_extraction(pool.features)))
    assert words[:3] == ["whence", "sae", "extract"]
    config = parse(ExtractConfig, words[3:], Usage("sae extract", "", ""))
    assert list(config.sae_path) == ["/saes/my a", "/saes/my b"]
    assert (config.model_name, str(config.adapter_path)) == ("/models/gemma", "/adapter")
    assert (str(config.manifest), config.split) == ("m.json", "score_pool")
    assert (config.max_tokens, config.count_bos, config.text) == (64, False, "aligned")


def test_again_changed_and_cut_off(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from whence.sae.predict import baselines

    config = pool.config(tmp_path / "p")
    whole = baselines.run_baselines
    with monkeypatch.context() as cut:
        cut.setattr(baselines, "run_baselines", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            predict(config)
    assert not (tmp_path / "p").exists()
    assert baselines.run_baselines is whole
    first = predict(config)
    assert not first.done
    files = {path: path.read_bytes() for path in first.folder.rglob("*") if path.is_file()}
    again = predict(config)
    assert again.done
    assert again.finding().headline == f"Already done: {first.finding().headline}"
    assert all(path.read_bytes() == before for path, before in files.items())
    with pytest.raises(BadInput, match="holds another run: seed: 42 → 1"):
        predict(pool.config(tmp_path / "p", seed=1))
    repeated = predict(pool.config(tmp_path / "elsewhere"))
    for path, before in files.items():
        if path.name != "whence.json":
            assert (repeated.folder / path.relative_to(first.folder)).read_bytes() == before


def test_the_command_line(pool: Pool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        f"sae predict --scores {pool.scores} --sae-dir {pool.features} --output-dir {tmp_path}/p"
    )
    assert main([*words.split(), "--embedding-model", "none", "--max-rows", "60"]) == 0
    assert "SAE features" in capsys.readouterr().out
    summary = read_json(tmp_path / "p" / "summary.json")
    for name in ("pearson", "spearman", "rmse"):
        assert isinstance(summary["test_metrics"][name], float)
    assert set(summary["topk_overlap_with_target"]) >= {"k", "overlap_count", "overlap_fraction"}


def test_config_of_an_old_folder_without_groups(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    means = {"layer_17": rng.random((40, 12)).astype(np.float32)}
    folder = write_extraction(
        tmp_path / "old", [{"row_id": f"r{i}"} for i in range(40)], means, summary=False
    )
    table = pd.DataFrame({"row_id": [f"r{i}" for i in range(40)], "score": means["layer_17"][:, 2]})
    table.to_parquet(tmp_path / "scores.parquet")
    found = predict(
        PredictConfig(scores=tmp_path / "scores.parquet", sae_dir=folder, output_dir=tmp_path / "p")
    )
    assert found.summary["test_metrics"]["spearman"] > 0.8
    assert found.summary["extraction"]["layer_17.fingerprint"] is None
