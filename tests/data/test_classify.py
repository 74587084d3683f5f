"""`whence data classify`: do words alone tell the top of a ranking from the rest?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

sys.path.append(str(Path(__file__).parents[1] / "text"))
from small_encoders import MARK, marked_texts, save_encoder

from whence.data.classify import ClassifyConfig, ClassifyResult, classify
from whence.data.classify.judged import baselines, judge
from whence.data.classify.material import read_material
from whence.data.classify.outputs import headline
from whence.errors import BadInput
from whence.runs.jsonfile import read_json, read_jsonl
from whence.runs.manifest import Split, load_manifest, write_manifest, write_split
from whence.runs.ranking import read_ranking
from whence.text.encoder import EncoderSettings, score_texts

N, TOP = 200, 40
FAST = {
    "learning_rate": 3e-3,
    "num_train_epochs": 6,
    "batch_size": 8,
    "device": "cpu",
    "test_fraction": 0.4,
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`manifest.json`, `scores/` of its pool whose best rows hold a word, and `encoder/`."""
    home = tmp_path_factory.mktemp("classify")
    texts, _ = marked_texts(N, share=0)
    rng = np.random.default_rng(4)
    top = rng.permutation(N) < TOP
    marked = top ^ (rng.random(N) < 0.06)
    pool = pd.DataFrame(
        {
            "row_id": [f"p{i:03d}" for i in range(N)],
            "prompt": [f"{MARK} it is" if mark else "it is" for mark in marked],
            "completion": texts,
            "source_split": "train",
            "group_id": [f"g{i // 2}" for i in range(N)],
            "game": [f"game {i // 4}" for i in range(N)],
            "reward": np.where(np.arange(N) == 7, np.nan, np.arange(N)),
        }
    )
    scores = pd.DataFrame(
        {
            "row_id": pool["row_id"],
            "score": top * 2.0 + rng.random(N),
            "length_tokens": [len(text.split()) + 2 for text in texts],
            "loss": rng.random(N),
        }
    )
    write_split(pool, home / "pool.parquet")
    write_split(scores.sample(frac=1, random_state=0), home / "scores/scores.parquet")
    other = np.random.default_rng(11).permutation(scores["score"])
    shuffled = scores.assign(score=other)
    write_split(shuffled, home / "shuffled/scores.parquet")
    split = Split("score_pool", home / "pool.parquet", N)
    write_manifest(home / "manifest.json", {"score_pool": split}, {})
    save_encoder(home / "encoder")
    return home


def config(home: Path, out: Path | str, **settings: Any) -> ClassifyConfig:
    given: dict[str, Any] = {
        "manifest": home / "manifest.json",
        "scores": home / "scores",
        "top_k": TOP,
        "encoder": str(home / "encoder"),
        "output_dir": home / out,
        **FAST,
        **settings,
    }
    return ClassifyConfig(**given)


@pytest.fixture(scope="module")
def result(home: Path) -> ClassifyResult:
    return classify(config(home, "result"))


@pytest.fixture(scope="module")
def rows(result: ClassifyResult) -> pd.DataFrame:
    return pd.DataFrame(read_jsonl(result.folder / "row_scores.jsonl"))


def test_a_word_in_the_prompt_is_enough(result: ClassifyResult, rows: pd.DataFrame) -> None:
    from sklearn.metrics import roc_auc_score

    found = result.summary
    test = rows[rows["part"] == "test"]
    assert found["test_auc"] == pytest.approx(roc_auc_score(test["label"], test["pred_value"]))
    train = rows[rows["part"] == "train"]
    assert found["train_auc"] == pytest.approx(roc_auc_score(train["label"], train["pred_value"]))
    assert found["test_auc"] > 0.85
    assert found["test_auc_interval"][0] > 0.5
    assert (found["n_rows"], found["train_size"], found["test_size"]) == (200, 120, 80)
    assert found["n_positive_labels"] == TOP == rows["label"].sum()
    assert found["n_positive_test"] == test["label"].sum()
    against = {c["control"]: c for c in found["comparisons"]}
    assert set(against) == {"length", "loss", "tfidf"}
    assert against["length"]["q"] < 0.05
    length = found["baselines"]["length"]["test_auc"]
    assert against["length"]["effect"] == pytest.approx(found["test_auc"] - length)
    assert "beats length on AUC" in found["headline"]


def test_overlap_counts_rows_and_says_which_were_trained_on(
    result: ClassifyResult, rows: pd.DataFrame
) -> None:
    everywhere = result.summary["topk_overlap_with_target"]
    assert everywhere["in_sample"]
    assert everywhere["note"] == "120 of these 200 rows were trained on"
    assert everywhere["k"] == TOP
    assert everywhere["overlap_count"] == rows.nlargest(TOP, "pred_value")["label"].sum()
    assert everywhere["overlap_fraction"] == everywhere["overlap_count"] / TOP
    test = rows[rows["part"] == "test"]
    k = int(test["label"].sum())
    held_out = result.summary["topk_overlap_test"]
    assert not held_out["in_sample"]
    assert held_out["k"] == k
    assert held_out["overlap_count"] == test.nlargest(k, "pred_value")["label"].sum()


def test_rows_are_those_of_the_pool_with_its_scores(
    home: Path, result: ClassifyResult, rows: pd.DataFrame
) -> None:
    assert list(rows) == [
        "rank", "row_id", "part", "label", "target_score_raw", "pred_value", "metadata",
    ]  # fmt: skip
    assert rows["rank"].tolist() == list(range(1, N + 1))
    assert (rows["pred_value"].diff().dropna() <= 0).all()
    scores = read_ranking(home / "scores").set_index("row_id")
    assert rows["target_score_raw"].tolist() == scores.loc[rows["row_id"], "score"].tolist()
    best = scores["score"].nlargest(TOP).index
    assert set(rows.loc[rows["label"] == 1, "row_id"]) == set(best)
    by_id = rows.set_index("row_id")
    assert by_id.loc["p007", "metadata"] == {
        "source_split": "train", "group_id": "g3", "game": "game 1", "reward": None,
    }  # fmt: skip
    assert by_id.loc["p008", "metadata"]["reward"] == 8.0
    ranking = read_ranking(result.folder)
    assert list(ranking) == ["row_id", "score", "rank", "part", "length_tokens", "loss"]
    assert ranking["row_id"].tolist() == rows["row_id"].tolist()
    assert ranking["score"].tolist() == rows["pred_value"].tolist()
    assert ranking["part"].tolist() == rows["part"].tolist()


def test_groups_are_on_one_side_unless_split_otherwise(home: Path, rows: pd.DataFrame) -> None:
    groups = rows["metadata"].map(lambda metadata: metadata["group_id"])
    assert groups.groupby(groups).transform("size").eq(2).all()
    assert rows.groupby(groups)["part"].nunique().max() == 1
    for mode, fields, both in (
        ("stratified", (), True),
        ("stratified", ("game",), True),
        ("grouped", ("game",), False),
    ):
        material = read_material(
            load_manifest(home / "manifest.json"), "score_pool", home / "scores", top_k=TOP,
            max_rows=None, split_mode=mode, group_key_fields=fields, test_fraction=0.25, seed=1,
        )  # fmt: skip
        assert (material.groups_on_both_sides > 0) == both
        if mode == "stratified":
            assert material.test.sum() == 50
            assert material.labels[material.test].sum() == 10


def material_of(home: Path, scores: str = "scores", **settings: Any) -> Any:
    given: dict[str, Any] = {
        "top_k": TOP, "max_rows": None, "split_mode": "grouped", "group_key_fields": (),
        "test_fraction": 0.4, "seed": 42,
    }  # fmt: skip
    manifest = load_manifest(home / "manifest.json")
    return read_material(manifest, "score_pool", home / scores, **{**given, **settings})


def test_baselines_know_the_training_rows_alone(home: Path) -> None:
    """Held-out labels turned round change no baseline; length is as good as its own AUC."""
    import dataclasses

    from sklearn.metrics import roc_auc_score

    material = material_of(home)
    found, missing = baselines(material)
    assert not missing
    other = dataclasses.replace(material, labels=material.labels ^ material.test)
    for name, scores in baselines(other)[0].items():
        np.testing.assert_array_equal(scores, found[name])
    test = material.test
    raw = roc_auc_score(material.labels[test], material.rows["length"][test])
    ours = roc_auc_score(material.labels[test], found["length"][test])
    assert ours == pytest.approx(raw) or ours == pytest.approx(1 - raw)
    assert roc_auc_score(material.labels[test], found["tfidf"][test]) > 0.85


def test_shuffled_scores_are_not_found(home: Path) -> None:
    found = classify(config(home, "none", scores=home / "shuffled")).summary
    low, high = found["test_auc_interval"]
    assert low < 0.5 < high
    assert found["headline"].startswith("The encoder shows no sign of telling the top 40 rows")


def test_scores_that_are_all_the_same_have_no_top(home: Path) -> None:
    scores = read_ranking(home / "scores")[["row_id"]].assign(score=1.0)
    write_split(scores, home / "same.parquet")
    with pytest.raises(BadInput, match="every row has the same score, so there is no top"):
        material_of(home, "same.parquet")


def test_what_is_not_known_is_said(home: Path) -> None:
    scores = read_ranking(home / "scores")[["row_id", "score"]]
    write_split(scores, home / "bare.parquet")
    material = material_of(home, "bare.parquet")
    assert material.length_unit == "words"
    values = np.random.default_rng(0).normal(size=N)
    found = judge(values, material)
    assert found["baselines"]["loss"] == {
        "what": "logistic regression on the model's loss on the row",
        "test_auc": None,
        "reason": "the scores have no loss",
    }
    assert {c["control"] for c in found["comparisons"]} == {"length", "tfidf"}
    # Few groups: a number, but no interval, and the reason.
    few = material_of(home, top_k=6, max_rows=16, test_fraction=0.5)
    assert few.labels.sum() == 6
    best = read_ranking(home / "scores").set_index("row_id")["score"]
    first = best.loc[[f"p{i:03d}" for i in range(16)]]
    assert set(few.rows["row_id"][few.labels]) == set(first.nlargest(6).index)
    found = judge(values[:16], few)
    assert found["test_auc"] is not None
    assert found["test_auc_interval"] is None
    assert "4 clusters" in found["reason"]


def test_the_same_again_is_done_and_the_model_is_kept(
    home: Path, result: ClassifyResult, rows: pd.DataFrame
) -> None:
    again = classify(config(home, "result"))
    assert again.done_before
    assert again.finding().headline.startswith("Already done: Words alone tell")
    assert [row[0] for row in result.finding().rows] == ["encoder", "length", "loss", "tfidf"]
    with pytest.raises(BadInput, match=r"holds another run: .*top_k"):
        classify(config(home, "result", top_k=30))
    pool = pd.read_parquet(home / "pool.parquet").set_index("row_id").loc[rows["row_id"]]
    texts = [f"{p}\n\n{c}" for p, c in zip(pool["prompt"], pool["completion"], strict=True)]
    found = score_texts(result.folder / "model", texts, EncoderSettings(device="cpu"))
    np.testing.assert_allclose(found, rows["pred_value"], atol=1e-4)
    assert sorted(path.name for path in (result.folder / "model").iterdir()) == [
        "config.json", "encoder.json", "model.safetensors", "tokenizer.json",
        "tokenizer_config.json",
    ]  # fmt: skip


def test_tiny_and_one_epoch(home: Path) -> None:
    found = classify(
        config(home, "tiny", encoder="tiny", num_train_epochs=1, max_rows=48, top_k=12)
    )
    assert found.summary["steps"] == 4
    assert 0 <= found.summary["test_auc"] <= 1


def test_killed_midway_and_again(
    home: Path, result: ClassifyResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`tests/text/test_encoder.py` kills a process; here the whole command is cut off."""
    import functools

    from whence.models import watch
    from whence.text import encoder

    often = functools.partial(encoder.tune_encoder, checkpoint_seconds=0.0)
    monkeypatch.setattr(encoder, "tune_encoder", often)
    advance = watch.Progress.advance

    def killed(progress: Any, n: int = 1) -> None:
        if progress.label == "text encoder" and progress.done == 40:
            raise KeyboardInterrupt
        advance(progress, n)

    with monkeypatch.context() as patch:
        patch.setattr(watch.Progress, "advance", killed)
        with pytest.raises(KeyboardInterrupt):
            classify(config(home, "killed"))
    assert len(list((home / "killed.partial").rglob("whole"))) == 1
    assert not (home / "killed").exists()
    again = classify(config(home, "killed"))
    assert not again.done_before
    for name in ("summary.json", "row_scores.jsonl", "scores.parquet", "model/model.safetensors"):
        assert (home / "killed" / name).read_bytes() == (result.folder / name).read_bytes()
    assert read_json(home / "killed/whence.json")["attempts"] == 2
    assert not (home / "killed.partial").exists()


def test_every_top_row_first_is_no_open_question(result: ClassifyResult) -> None:
    perfect = {**result.summary, "test_auc": 1.0, "test_auc_interval": None, "reason": "no spread"}
    assert headline(perfect).startswith("Words alone put the top 40 rows before every other of 80")
    few = {**perfect, "test_auc": 0.9, "reason": "4 clusters"}
    assert "is open: AUC 0.90 on 80 held-out rows, no interval (4 clusters)" in headline(few)
    unsure = {**result.summary, "test_auc": 0.6, "test_auc_interval": [0.4, 0.8]}
    assert "yet words do tell them apart: TF-IDF, AUC" in headline(unsure)
    worse = {**result.summary, "test_auc": 0.2, "test_auc_interval": [0.1, 0.3]}
    assert "puts the top 40 rows behind the rest on rows that it has not seen" in headline(worse)
    assert "7 of 200 texts were cut" in headline({**worse, "truncated_texts": 7})
    assert "3 groups have rows on both sides" in headline({**worse, "groups_on_both_sides": 3})


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"top_k": N}, "--top-k 200: there are 200 rows, and some must be left as the rest"),
        ({"top_k": 1}, "the (held-out|fitted) rows are all of one class"),
        ({"top_k": 1, "split_mode": "stratified"}, "a class has one row"),
        ({"pool_split": "pool"}, 'no split "pool"; did you mean "score_pool"'),
        ({"group_key_fields": "gmae"}, "--group-key-fields gmae: the rows have no such field"),
        ({"encoder": "./nowhere"}, r'no model folder "\./nowhere"'),
        ({"max_rows": 1}, "--max-rows 1: two rows and more"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(
    home: Path, settings: dict[str, Any], says: str
) -> None:
    before = sorted(home.iterdir())
    with pytest.raises(BadInput, match=says):
        classify(config(home, "bad", **settings))
    assert sorted(home.iterdir()) == before


def test_scores_of_another_split(home: Path) -> None:
    write_split(read_ranking(home / "scores").iloc[1:], home / "short.parquet")
    with pytest.raises(BadInput, match=r"not of the split score_pool .*1 of its 200 rows"):
        classify(config(home, "bad", scores=home / "short.parquet"))
