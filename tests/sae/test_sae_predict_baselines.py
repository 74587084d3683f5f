"""What words, length and loss can predict, and what is said where they cannot be asked."""

from __future__ import annotations

import logging
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from predictable import Pool, make_pool

sys.path.append(str(Path(__file__).parents[1] / "text"))
from small_encoders import MARK, WORDS, save_encoder

from whence.errors import BadInput
from whence.runs.jsonfile import read_jsonl, write_jsonl
from whence.runs.manifest import Split, write_manifest, write_split
from whence.sae.predict import PredictConfig, PredictResult, baselines, judged, predict
from whence.sae.predict.baselines import Baseline, run_baselines
from whence.sae.predict.material import Material, load_material
from whence.sae.store import open_extraction
from whence.text import encoder
from whence.text.bm25 import bm25_scores

ROWS = 150


class Fast(encoder.EncoderSettings):
    learning_rate: float = 3e-3
    num_train_epochs: float = 6
    batch_size: int = 8


@pytest.fixture(autouse=True)
def _fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("statistic_interval", "statistic_differences"):
        monkeypatch.setattr(judged, name, partial(getattr(judged, name), draws=100))


def marked_pool(home: Path, **more: Any) -> Pool:
    """The score is how often MARK is in the row, and a little noise; features know nothing."""
    rng = np.random.default_rng(3)
    marks = rng.integers(0, 4, ROWS)
    texts = [
        (" ".join(rng.choice(WORDS, 8)), " ".join([*rng.choice(WORDS, 3), *[MARK] * count]))
        for count in marks
    ]
    pool = make_pool(home, rows=ROWS, planted=False, texts=texts, seed=4, **more)
    score = marks + 0.2 * rng.normal(size=ROWS)
    ids = [each["row_id"] for each in read_jsonl(pool.features / "examples.jsonl")]
    pd.DataFrame({"row_id": ids, "score": score}).to_parquet(pool.scores)
    return Pool(pool.scores, pool.features, score, pool.means)


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    return marked_pool(tmp_path_factory.mktemp("marked"))


def asked(config: PredictConfig, work: Path) -> tuple[dict[str, Baseline], Material]:
    material = load_material(config, open_extraction(config.sae_dir))
    return {each.name: each for each in run_baselines(config, material, work)}, material


def spearman(result: PredictResult, name: str) -> float:
    return float(result.summary["baselines"][name]["test_metrics"]["spearman"])


def test_words_know_what_features_do_not(marked: Pool, tmp_path: Path) -> None:
    found = predict(marked.config(tmp_path / "p", embedding_model="tfidf"))
    assert spearman(found, "bm25") > 0.4
    assert spearman(found, "embedding") > 0.6
    by_control = {each["control"]: each for each in found.summary["comparisons"]}
    assert by_control["bm25"]["interval"][1] < 0
    assert "worse than" in found.finding().headline
    said = found.summary["baselines"]
    assert said["loss"] == {
        "what": "loss of the model on the row",
        "not_run": "the scores have no loss",
    }
    assert said["text_encoder"]["not_run"] == "no --text-encoder given"
    for name in ("spearman", "pearson"):
        assert said["mean"]["test_metrics"][name] is None
        assert "do not vary" in said["mean"]["test_metrics"]["reasons"][name]
    assert said["mean"]["test_metrics"]["topk_overlap"]["overlap_fraction"] == pytest.approx(
        said["mean"]["test_metrics"]["topk_overlap"]["chance"]
    )
    assert list(found.summary["comparisons_left_out"]) == ["mean"]
    rows = {row[0]: row for row in found.finding().rows}
    assert rows["loss"][-1] == "not run: the scores have no loss"
    assert "prompt" not in read_jsonl(found.folder / "row_scores.jsonl")[0]


def test_length_and_loss(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 500, ROWS)
    pool = make_pool(
        tmp_path,
        rows=ROWS,
        planted=False,
        columns={"length_tokens": lengths, "loss": rng.random(ROWS), "other": rng.random(ROWS)},
    )
    listing = pool.features / "examples.jsonl"
    rows = zip(read_jsonl(listing), lengths.tolist(), strict=True)
    write_jsonl(listing, [{**row, "tokens": length} for row, length in list(rows)])
    table = pd.read_parquet(pool.scores)
    table.assign(score=-np.log(table["length_tokens"])).to_parquet(pool.scores)
    found, material = asked(pool.config(tmp_path / "p", target_type="score"), tmp_path)
    for name, wanted in (("length", 0.99), ("loss", None)):
        predicted = found[name].predicted
        assert predicted is not None
        if wanted:
            held = material.test
            assert np.corrcoef(predicted[held], material.target[held])[0, 1] > wanted
    # A loss that is missing somewhere is not guessed.
    table.assign(loss=np.where(np.arange(ROWS) < 2, np.nan, 1.0)).to_parquet(pool.scores)
    found, _ = asked(pool.config(tmp_path / "p"), tmp_path)
    assert found["loss"].reason == "the scores have no loss of 2 rows"
    assert found["loss"].predicted is None
    for name in ("bm25", "embedding"):
        reason = found[name].reason
        assert reason is not None
    assert found["bm25"].reason == "the examples have no prompt and completion; extract again"
    assert found["embedding"].reason == "--embedding-model none"


def test_baselines_are_fitted_on_training_rows_alone(marked: Pool, tmp_path: Path) -> None:
    config = marked.config(tmp_path / "p", embedding_model="tfidf")
    found, material = asked(config, tmp_path)
    changed = np.where(material.test, 1 - material.target, material.target)
    other = Material(
        material.rows, material.layers, changed, material.test, material.groups, material.folds,
        material.top_k,
    )  # fmt: skip
    for each in run_baselines(config, other, tmp_path):
        if each.predicted is not None:
            before = found[each.name].predicted
            assert before is not None
            np.testing.assert_array_equal(each.predicted, before)


def test_bm25_by_the_top_rows_never_asks_a_row_for_itself(marked: Pool, tmp_path: Path) -> None:
    config = marked.config(tmp_path / "p", top_k=30)
    _, material = asked(config, tmp_path)
    texts = list(material.rows["prompt"] + "\n\n" + material.rows["completion"])
    got = baselines._bm25_by_top(texts, material)
    train = material.train_rows
    top = train[np.argsort(-marked.score[train])[: round(30 * len(train) / ROWS)]]
    by_all = bm25_scores(texts, [texts[row] for row in top])
    np.testing.assert_allclose(got[material.test], by_all[material.test])
    fold = material.folds.inner(train)
    row = int(top[0])
    others = [texts[each] for each in top if fold[train == each] != fold[train == row]]
    assert got[row] == pytest.approx(bm25_scores(texts, others)[row])
    assert got[row] < by_all[row]


def test_bm25_by_the_queries_of_a_manifest(marked: Pool, tmp_path: Path) -> None:
    queries = pd.DataFrame(
        {"row_id": ["q0", "q1"], "prompt": "sun moon", "completion": f"{MARK} {MARK}"}
    )
    write_split(queries, tmp_path / "query.parquet")
    write_manifest(
        tmp_path / "manifest.json",
        {"attr_query": Split("attr_query", tmp_path / "query.parquet", 2)},
        {},
    )
    config = marked.config(tmp_path / "p", manifest=tmp_path / "manifest.json")
    found, material = asked(config, tmp_path)
    assert found["bm25"].what == "BM25 by the texts of the queries (attr_query)"
    assert found["bm25"].predicted is not None
    counts = np.array([text.split().count(MARK) for text in material.rows["completion"]])
    assert np.corrcoef(found["bm25"].predicted, counts)[0, 1] > 0.4
    with pytest.raises(BadInput, match='no split "queries"'):
        predict(marked.config(tmp_path / "p", manifest=tmp_path, query_split="queries"))


def test_bm25_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        bm25_scores(["red fox"], ["fox"])
    assert not caplog.records


def test_many_rows_see_fewer_directions(
    marked: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines, "ALL_WORD_PARTS", 10)
    monkeypatch.setattr(baselines, "TFIDF_DIMENSIONS", 20)
    found, material = asked(marked.config(tmp_path / "p", embedding_model="tfidf"), tmp_path)
    predicted = found["embedding"].predicted
    assert predicted is not None
    assert np.corrcoef(predicted[material.test], material.target[material.test])[0, 1] > 0.6


def test_embeddings_of_a_model(
    marked: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_counting(name: str, device: str) -> Any:
        assert (name, device) == ("tiny", "cpu")
        return lambda texts: np.array([[text.count(MARK), 1.0, len(text)] for text in texts])

    monkeypatch.setattr(baselines, "open_embedder", open_counting)
    found = predict(marked.config(tmp_path / "p", embedding_model="tiny", device="cpu"))
    embedding = found.summary["baselines"]["embedding"]
    assert embedding["what"] == "ridge on sentence embeddings (tiny)"
    assert embedding["test_metrics"]["spearman"] > 0.8


@pytest.mark.slow
def test_embeddings_of_a_real_model(marked: Pool, tmp_path: Path) -> None:
    found = predict(marked.config(tmp_path / "p", embedding_model="tiny", device="cpu"))
    assert found.summary["baselines"]["embedding"]["test_metrics"]["spearman"] is not None
    with pytest.raises(BadInput, match="--embedding-model no/such: cannot be loaded"):
        predict(marked.config(tmp_path / "q", embedding_model="no/such"))


def test_a_text_encoder_is_asked_for_the_target(
    marked: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_for: dict[str, Any] = {}

    def tuned(name: str, texts: Any, targets: Any, train: Any, **more: Any) -> Any:
        asked_for.update(name=name, train=train, **more)
        assert not np.isnan(targets[train]).any()
        return np.array([text.count(MARK) / 3 for text in texts])

    monkeypatch.setattr(encoder, "fine_tune", tuned)
    found = predict(marked.config(tmp_path / "p", text_encoder="tiny", device="cpu"))
    assert spearman(found, "text_encoder") > 0.8
    assert "text_encoder" in [each["control"] for each in found.summary["comparisons"]]
    assert (asked_for["name"], asked_for["task"]) == ("tiny", "regression")
    assert (asked_for["settings"].seed, asked_for["settings"].device) == (42, "cpu")
    assert asked_for["train"].sum() == found.summary["train_rows"]


@pytest.mark.slow
def test_a_real_text_encoder(marked: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "EncoderSettings", Fast)
    folder = save_encoder(tmp_path / "bert", "bert")
    found = predict(marked.config(tmp_path / "p", text_encoder=str(folder), device="cpu"))
    assert spearman(found, "text_encoder") > 0.5
    assert "text_encoder" in [each["control"] for each in found.summary["comparisons"]]
