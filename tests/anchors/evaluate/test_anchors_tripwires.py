"""Tripwires trip over what they are there for, and over nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

from whence.anchors.evaluate.material import Material
from whence.anchors.evaluate.memorised import memorised
from whence.anchors.evaluate.settings import ProbingConfig
from whence.anchors.evaluate.shuffled import shuffle_labels, shuffled_labels
from whence.anchors.probes.data import Floats, Labels, ProbeData
from whence.anchors.probes.probe import Fitted, Fitting, Probe, Reads, State
from whence.anchors.probes.registry import PROBES
from whence.anchors.targets import target_of

Build = Callable[..., Material]
MakeTable = Callable[[int, int, np.random.Generator], pd.DataFrame]


@pytest.fixture
def build(tmp_path: Path, make_table: MakeTable) -> Build:
    """build(probe, seed=…): material whose labels are noise, and 16 activations that are too."""

    def make(
        probe: Probe, *, seed: int = 0, problems: int = 6, sentences: int = 25, **settings: Any
    ) -> Material:
        rng = np.random.default_rng(seed)
        frame = make_table(problems, sentences, rng)
        config = ProbingConfig(
            metadata=tmp_path / "none.parquet",
            output_dir=tmp_path / "none",
            **{"fixed": True, "shuffles": 8, **settings},
        )
        mean = rng.normal(size=(len(frame), 16)).astype(np.float32)
        y = target_of(frame, config.target)
        return Material(config, ProbeData(frame, mean=mean), y, (probe,), {})

    return make


def halves(material: Material) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    problems = material.frame["problem_id"].unique().tolist()
    return (
        material.rows_of(problems[:4], with_label=True),
        np.array([], dtype=np.int64),
        material.rows_of(problems[4:], with_label=True),
    )


class Reader(Fitted):
    """Scores are a column of the table."""

    notes: ClassVar[dict[str, Any]] = {}

    def __init__(self, column: str) -> None:
        self.column = column

    def score(self, data: ProbeData) -> Floats:
        return data.frame[self.column].to_numpy(dtype=np.float64)

    def state(self) -> State:
        return {}, {"column": self.column}

    @classmethod
    def from_state(cls, state: State) -> Reader:
        return cls(state[1]["column"])


class Leak(Probe):
    """A feature that is the label."""

    name = "leak"
    reads: ClassVar[frozenset[Reads]] = frozenset({"text"})
    fitted = Reader

    def fit(self, data: ProbeData, labels: Labels, fitting: Fitting) -> Reader:
        return Reader("importance_score")


class FaintLeak(Leak):
    """A feature that is mostly noise, and a little the label."""

    name = "faint_leak"

    def fit(self, data: ProbeData, labels: Labels, fitting: Fitting) -> Reader:
        class Noisy(Reader):
            def score(self, data: ProbeData) -> Floats:
                size = super().score(data)
                noise = np.random.default_rng(len(data)).normal(size=len(data))
                return size / size.std() + 1.5 * noise

        return Noisy("importance_score")


@pytest.mark.parametrize("target", ["anchor_binary", "importance_abs"])
@pytest.mark.parametrize("leak", [Leak(), FaintLeak()])
def test_a_feature_that_is_the_label_trips_the_wire(build: Build, leak: Probe, target: str) -> None:
    material = build(leak, target=target)
    found = shuffled_labels(material, *halves(material))
    assert found["passed"] is False
    assert found["p"] < 0.01
    assert found["mean"] > found["chance_interval"][1]
    assert "labels reach the scores" in found["sentence"]


def test_test_problems_among_the_training_rows_trip_the_wire(build: Build) -> None:
    material = build(PROBES["linear_probe"])
    train, none, test = halves(material)
    found = shuffled_labels(material, np.concatenate([train, test]), none, test)
    assert found["passed"] is False


@pytest.mark.parametrize("target", ["anchor_binary", "importance_abs"])
def test_an_honest_pipeline_passes_nearly_always(build: Build, target: str) -> None:
    passed = []
    for seed in range(40):
        material = build(PROBES["linear_probe"], seed=seed, target=target, shuffles=5)
        found = shuffled_labels(material, *halves(material), seed=seed)
        passed.append(found["passed"])
    assert np.mean(passed) >= 0.95


def test_a_set_that_trips_by_chance_is_followed_by_another(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("whence.anchors.evaluate.shuffled.ALPHA", 0.5)  # half of all sets trip
    found = []
    for seed in range(8):
        material = build(PROBES["linear_probe"], seed=seed, shuffles=5)
        found.append(shuffled_labels(material, *halves(material), seed=seed))
    again = [each for each in found if "first_p" in each]
    assert 0 < len(again) < len(found)
    assert all(each["first_p"] <= 0.5 for each in again)
    assert any(each["passed"] and each["p"] != each["first_p"] for each in again)
    assert all("a first set of shuffles had tripped" in each["sentence"] for each in again)


def test_labels_move_together_within_their_problem_and_missing_ones_stay(
    make_table: MakeTable,
) -> None:
    frame = make_table(3, 20, np.random.default_rng(0))
    frame.loc[[4, 25], ["importance_signed", "importance_score"]] = np.nan
    frame["importance_se"] = np.arange(len(frame), dtype=float)
    shuffled = shuffle_labels(frame, np.random.default_rng(1))
    fixed = ["problem_id", "chunk_idx", "chunk_text", "token_count", "relative_position"]
    pd.testing.assert_frame_equal(shuffled[fixed], frame[fixed])
    assert np.flatnonzero(shuffled["importance_signed"].isna()).tolist() == [4, 25]
    assert (shuffled["importance_signed"] != frame["importance_signed"]).sum() > 40
    labels = ["importance_signed", "importance_score", "importance_se"]
    for problem, own in frame.groupby("problem_id"):
        other = shuffled[shuffled["problem_id"] == problem]
        pd.testing.assert_frame_equal(
            own[labels].sort_values("importance_se", ignore_index=True),
            other[labels].sort_values("importance_se", ignore_index=True),
        )


def test_nothing_trained_is_nothing_checked(build: Build) -> None:
    material = build(PROBES["position_untrained"])
    found = shuffled_labels(material, *halves(material))
    assert found["passed"] is None
    assert found["sentence"] == "shuffled labels were not checked: no trained probe is evaluated"


@pytest.mark.parametrize("target", ["anchor_binary", "importance_signed"])
def test_more_activations_than_sentences_memorise_one_problem(build: Build, target: str) -> None:
    material = build(PROBES["linear_probe"], sentences=14, target=target)
    found = memorised(material, halves(material)[0])
    assert (found["outcome"], found["passed"]) == ("memorised", True)
    assert found["value"] == pytest.approx(1.0, abs=0.01)
    assert found["gradient"] < 1e-3
    assert found["features"] == "pooled activations"


def test_rows_that_repeat_with_other_labels_are_not_separable(build: Build) -> None:
    material = build(PROBES["linear_probe"], sentences=14)
    assert material.data.mean is not None
    anchor = int(np.flatnonzero(material.y[:14] == 1)[0])
    other = int(np.flatnonzero(material.y[:14] == 0)[0])
    material.data.mean[[other, other + 1]] = material.data.mean[anchor]
    found = memorised(material, halves(material)[0])
    assert (found["outcome"], found["passed"]) == ("not separable", None)
    assert found["clashing_rows"] == 3
    assert "3 rows repeat with other labels" in found["sentence"]


def test_activations_that_say_nothing_fail_at_a_proved_optimum(build: Build) -> None:
    material = build(PROBES["linear_probe"], sentences=16, anchor_percentile=60)
    assert material.data.mean is not None
    material.data.mean[:, 2:] = 0.0
    found = memorised(material, halves(material)[0])
    assert (found["outcome"], found["passed"]) == ("not memorised", False)
    assert found["optimum_reached"]
    material.data.mean[:] = 1.0
    assert memorised(material, halves(material)[0])["outcome"] == "not separable"


@pytest.mark.parametrize("target", ["anchor_binary", "importance_signed"])
def test_more_sentences_than_columns_prove_nothing(build: Build, target: str) -> None:
    """16 columns of noise cannot be told to hold any labels of 80 sentences: no alarm."""
    material = build(
        PROBES["linear_probe"], sentences=80, target=target, anchor_percentile=60, problems=6
    )
    found = memorised(material, halves(material)[0])
    assert (found["outcome"], found["passed"]) == ("too few columns", None)
    assert "has more sentences than the 16 columns" in found["sentence"]


@pytest.mark.parametrize("target", ["anchor_binary", "importance_abs"])
def test_labels_that_no_column_knows_of_are_not_a_division_by_zero(
    build: Build, target: str
) -> None:
    material = build(PROBES["linear_probe"], sentences=4, target=target, anchor_percentile=50)
    assert material.data.mean is not None
    place = material.frame["chunk_idx"].to_numpy()
    assert (material.frame["problem_id"] == material.frame["problem_id"][0]).sum() == 4
    frame = material.frame.assign(importance_signed=(place % 2).astype(float))
    material.data.mean[:] = (place // 2)[:, None]
    material = material.with_labels(frame)
    found = memorised(material, halves(material)[0])
    assert found["outcome"] == "not separable"
    assert np.isfinite(found["gradient"])


def test_without_activations_words_are_learnt_by_heart(build: Build) -> None:
    from dataclasses import replace

    material = build(PROBES["text_only_baseline"], sentences=20)
    material = replace(material, data=ProbeData(material.frame))
    found = memorised(material, halves(material)[0])
    assert (found["features"], found["outcome"]) == ("words", "memorised")
