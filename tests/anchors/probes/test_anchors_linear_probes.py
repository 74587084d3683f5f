"""Probes on place, words, length and activations against plain scikit-learn pipelines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from probe_cases import case
from scipy.stats import spearmanr
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import average_precision_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from whence.anchors.probes.data import Labels, ProbeData
from whence.anchors.probes.probe import Fitting
from whence.anchors.probes.registry import BASELINES, PROBES, probe_named
from whence.anchors.sentences import POSITION, as_id, read_sentences
from whence.anchors.targets import target_of
from whence.errors import BadInput

FIXED = Fitting(fixed=True)
LINEAR = [
    "position_baseline",
    "linear_probe",
    "activations_plus_position",
    "vertical_attention_baseline",
    "vertical_attention_plus_position",
]


def columns_of(name: str, data: ProbeData) -> np.ndarray:
    """The columns that the issue says a probe reads."""
    place = data.frame[list(POSITION)].to_numpy(np.float64)
    return {
        "position_baseline": place,
        "linear_probe": data.mean,
        "activations_plus_position": np.concatenate([data.mean, place], axis=1).astype(np.float32),
        "vertical_attention_baseline": data.vertical,
        "vertical_attention_plus_position": np.concatenate([data.vertical, place], axis=1),
    }[name]


def logistic() -> LogisticRegression:
    return LogisticRegression(class_weight="balanced", max_iter=1000)


@pytest.mark.parametrize("name", LINEAR)
def test_fixed_probes_are_plain_pipelines(name):
    train, labels = case(seed=1)
    test, _ = case(seed=2)
    pipeline = make_pipeline(StandardScaler(), logistic())
    pipeline.fit(columns_of(name, train), labels.y)
    expected = pipeline.predict_proba(columns_of(name, test))[:, 1]
    fitted = PROBES[name].fit(train, labels, FIXED)
    np.testing.assert_allclose(fitted.score(test), expected, atol=2e-6)
    assert fitted.notes["C"] == 1


@pytest.mark.parametrize("name", LINEAR)
def test_fixed_probes_of_continuous_targets_are_ridges(name):
    train, labels = case(continuous=True, seed=1)
    test, _ = case(seed=2)
    pipeline = make_pipeline(StandardScaler(), Ridge(alpha=1.0))
    pipeline.fit(columns_of(name, train).astype(np.float64), labels.y)
    expected = pipeline.predict(columns_of(name, test).astype(np.float64))
    scores = PROBES[name].fit(train, labels, FIXED).score(test)
    np.testing.assert_allclose(scores, expected, atol=1e-4)


@pytest.mark.parametrize("continuous", [False, True])
def test_fixed_text_probe_is_a_plain_pipeline(continuous):
    train, labels = case(continuous=continuous, seed=1)
    test, _ = case(seed=2)
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=1, max_features=10_000)
    pipeline = make_pipeline(words, Ridge(alpha=1.0) if continuous else logistic())
    pipeline.fit(train.frame["chunk_text"], labels.y)
    texts = test.frame["chunk_text"]
    expected = pipeline.predict(texts) if continuous else pipeline.predict_proba(texts)[:, 1]
    scores = PROBES["text_only_baseline"].fit(train, labels, FIXED).score(test)
    np.testing.assert_allclose(scores, expected, atol=1e-9)


def test_fixed_length_and_tag_probe_is_a_plain_pipeline():
    train, labels = case(seed=1)
    test, _ = case(seed=2)
    tags = OneHotEncoder(sparse_output=False).fit(train.frame[["function_tag"]])

    def columns(data: ProbeData) -> np.ndarray:
        own = tags.transform(data.frame[["function_tag"]])
        return np.column_stack([data.frame["token_count"], own])

    pipeline = make_pipeline(StandardScaler(), logistic()).fit(columns(train), labels.y)
    expected = pipeline.predict_proba(columns(test))[:, 1]
    scores = PROBES["length_tag_baseline"].fit(train, labels, FIXED).score(test)
    np.testing.assert_allclose(scores, expected, atol=2e-6)


def test_length_is_characters_where_there_are_no_token_counts_and_unknown_tags_add_nothing():
    train, labels = case(seed=1)
    bare = ProbeData(train.frame.drop(columns="token_count"))
    fitted = PROBES["length_tag_baseline"].fit(bare, labels, FIXED)
    assert fitted.notes["length"] == "characters"
    other = ProbeData(bare.frame.assign(function_tag="unheard"))
    longer = ProbeData(other.frame.assign(chunk_text=other.frame["chunk_text"] + " and on"))
    gain = fitted.score(longer) - fitted.score(other)
    assert (np.sign(gain) == np.sign(fitted.weights[0])).all()


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("continuous", [False, True])
def test_the_chosen_penalty_is_what_a_loop_over_problems_finds(name, continuous):
    data, labels = case(problems=4, each=25, continuous=continuous, seed=3)
    fitted = PROBES[name].fit(data, labels, Fitting())
    values = columns_of(name, data).astype(np.float64)
    values = StandardScaler().fit_transform(values)
    key = next(key for key in fitted.notes["tried"][0] if key != "penalty (1/C)" and key != "alpha")
    penalty_key = "alpha" if continuous else "penalty (1/C)"
    for tried in fitted.notes["tried"]:
        goods = []
        for group in range(4):
            inside, out = data.groups != group, data.groups == group
            if continuous:
                model = Ridge(alpha=tried[penalty_key]).fit(values[inside], labels.y[inside])
                goods.append(spearmanr(model.predict(values[out]), labels.y[out]).statistic)
            else:
                model = LogisticRegression(
                    C=1 / tried[penalty_key], class_weight="balanced", max_iter=5000, tol=1e-6
                ).fit(values[inside], labels.y[inside])
                score = model.decision_function(values[out])
                goods.append(average_precision_score(labels.y[out], score))
        assert tried[key] == pytest.approx(np.mean(goods), abs=0.02)
    best = max(tried[key] for tried in fitted.notes["tried"])
    chosen = fitted.notes["alpha"] if continuous else 1 / fitted.notes["C"]
    assert next(t[key] for t in fitted.notes["tried"] if t[penalty_key] == chosen) == best


def test_a_saved_direction_is_in_the_space_of_activations():
    data, labels = case(continuous=True, seed=4)
    fitted = PROBES["linear_probe"].fit(data, labels, Fitting())
    direction = fitted.state()[0]["coefficients.mean"]
    assert direction.shape == (16,)
    shifted = ProbeData(data.frame, mean=data.mean + np.eye(16, dtype=np.float32)[0])
    np.testing.assert_allclose(fitted.score(shifted) - fitted.score(data), direction[0], atol=1e-5)
    assert direction[0] > 0.5
    assert direction[1] < -0.5
    assert direction[-1] == 0  # the constant one


def test_untrained_position_is_minus_the_relative_position():
    data, labels = case()
    scores = PROBES["position_untrained"].fit(data, labels, FIXED).score(data)
    np.testing.assert_array_equal(scores, -data.frame["relative_position"].to_numpy(np.float64))


@pytest.mark.parametrize("name", PROBES)
def test_scores_do_not_depend_on_the_rows_beside_them(name):
    data, labels = case(problems=3, each=20)
    fitted = PROBES[name].fit(data, labels, FIXED)
    together = fitted.score(data)
    apart = [fitted.score(data.take(np.array([row])))[0] for row in (0, 7, 59)]
    np.testing.assert_allclose(together[[0, 7, 59]], apart, atol=1e-6)


@pytest.mark.parametrize("name", PROBES)
@pytest.mark.parametrize("continuous", [False, True])
def test_states_give_equal_scores(name, continuous):
    data, labels = case(problems=3, each=20, continuous=continuous)
    probe = PROBES[name]
    fitted = probe.fit(data, labels, FIXED)
    again = probe.fitted.from_state(fitted.state())
    np.testing.assert_array_equal(again.score(data), fitted.score(data))
    assert again.notes == fitted.notes


@pytest.mark.parametrize("name", [name for name in PROBES if PROBES[name].trained])
def test_one_class_is_refused(name):
    data, _ = case(problems=2, each=5)
    with pytest.raises(BadInput, match="are not anchors"):
        PROBES[name].fit(data, Labels(np.zeros(10), False), FIXED)


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("linear_probe", "--pooling mean"),
        ("vertical_attention_baseline", "--vertical light"),
        ("position_baseline", "token_count"),
    ],
)
def test_what_is_missing_is_named_with_its_flag(name, flag):
    data, labels = case(problems=2, each=10)
    bare = ProbeData(data.frame.drop(columns="token_count"))
    with pytest.raises(BadInput, match=flag):
        PROBES[name].fit(bare, labels, FIXED)


def test_features_that_are_not_finite_are_refused_by_row():
    data, labels = case(problems=2, each=10)
    data.mean[13, 3] = np.inf
    with pytest.raises(BadInput, match="problem 1, sentence 3"):
        PROBES["linear_probe"].fit(data, labels, FIXED)


def test_another_width_is_refused():
    data, labels = case(problems=2, each=10)
    fitted = PROBES["linear_probe"].fit(data, labels, FIXED)
    with pytest.raises(BadInput, match="16 where the probe was"):
        fitted.score(ProbeData(data.frame, mean=data.mean[:, :5]))


def test_more_columns_than_rows():
    data, labels = case(problems=3, each=8, width=200)
    scores = PROBES["linear_probe"].fit(data, labels, Fitting()).score(data)
    assert np.isfinite(scores).all()


def test_names():
    assert probe_named("linear_probe") is PROBES["linear_probe"]
    with pytest.raises(BadInput, match="did you mean linear_probe"):
        probe_named("linaer_probe")
    assert "position_untrained" in BASELINES
    assert "linear_probe" not in BASELINES


@pytest.mark.parametrize("model", ["llama_correct", "qwen_correct"])
def test_scores_of_the_earlier_study(shared_data: Path, model: str):
    import json

    folder = shared_data / "thought-anchors"
    frame = read_sentences(folder / model / "sentence_metadata.parquet")
    stored = pd.read_parquet(folder / model / "predictions_seed_0.parquet")
    stored["problem_id"] = [as_id(each) for each in stored["problem_id"]]
    ids = {as_id(each) for each in json.loads((folder / "splits.json").read_text())["train"]}
    inside = frame["problem_id"].isin(ids).to_numpy()
    data, labels = ProbeData(frame), Labels(target_of(frame, "anchor_binary"), False)
    probes = ["position_baseline", *(["text_only_baseline"] if model == "qwen_correct" else [])]
    for name in probes:
        fitted = PROBES[name].fit(data.take(inside), labels.take(inside), FIXED)
        own = frame.assign(score=fitted.score(data))
        both = stored.merge(own, on=["problem_id", "chunk_idx"], validate="one_to_one")
        assert len(both) == len(stored)
        np.testing.assert_allclose(both["score"], both[f"score_{name}"], atol=1e-6)


def test_a_sentence_without_a_token_count_is_named_by_the_length_baseline() -> None:
    data, labels = case()
    counts = data.frame["token_count"].astype("Int64")
    counts.iloc[3] = pd.NA
    bare = ProbeData(data.frame.assign(token_count=counts))
    with pytest.raises(BadInput, match="problem 0, sentence 3: token_count is missing"):
        PROBES["length_tag_baseline"].fit(bare, labels, FIXED)
