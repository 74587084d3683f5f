"""Kurtoses against SciPy and loops, a control that knows what distance explains, the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import zoo
from scipy import stats

from whence.anchors.receivers import ReceiversConfig, receivers
from whence.anchors.receivers import matrix as matrix_module
from whence.anchors.receivers.kurtosis import (
    by_distance_alone,
    kurtosis,
    received,
    split_half,
)
from whence.anchors.receivers.matrix import sentence_matrices
from whence.anchors.receivers.table import heads_table
from whence.anchors.spans.locate import Span
from whence.errors import BadInput
from whence.models.anatomy import find_anatomy
from whence.runs.fingerprint import hash_folder
from whence.tiny.make import MakeConfig, make

RNG = np.random.default_rng(0)


def test_kurtosis_is_scipys() -> None:
    values = RNG.exponential(size=(3, 4, 17))
    assert np.allclose(kurtosis(values), stats.kurtosis(values, axis=-1, fisher=True, bias=True))
    assert np.isnan(kurtosis(np.zeros((2, 5)))).all()
    assert np.isnan(kurtosis(np.full(5, 0.1))).all()


@pytest.mark.parametrize("proximity", [1, 2, 4])
def test_scores_are_means_over_later_sentences(proximity: int) -> None:
    matrices = RNG.random((2, 9, 9))
    scores = received(matrices, proximity)
    assert scores.shape == (2, 9 - proximity)
    for head in range(2):
        for j in range(9 - proximity):
            later = [matrices[head, i, j] for i in range(9) if i >= j + proximity]
            assert np.isclose(scores[head, j], np.mean(later))


@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt2", "falcon", "bloom"])
@pytest.mark.parametrize("at_once", [4, 128])
def test_matrices_are_sums_and_means_of_the_pattern(
    name: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrix_module, "QUERIES_AT_ONCE", at_once)
    model = zoo.make(name, attn_implementation="eager")
    ids = torch.randint(3, zoo.VOCABULARY, (20,), generator=torch.Generator().manual_seed(3))
    spans = [Span(2, 5), Span(5, 9), Span(8, 12), Span(14, 20)]
    with torch.no_grad():
        patterns = model(input_ids=ids[None], output_attentions=True, use_cache=False).attentions
    found = sentence_matrices(find_anatomy(model), ids.tolist(), spans, [0, 2])
    for at, layer in enumerate((0, 2)):
        pattern = patterns[layer][0].double().numpy()
        for i, (q0, q1) in enumerate(spans):
            for j, (k0, k1) in enumerate(spans):
                expected = pattern[:, q0:q1, k0:k1].sum(axis=2).mean(axis=1)
                assert np.abs(found[at, :, i, j] - expected).max() <= 1e-6


def test_the_control_takes_away_what_distance_explains() -> None:
    """A head that looks three sentences back has no excess; one that looks at sentence 6 has."""
    count = 30
    i, j = np.indices((count, count))
    distance = np.where(i >= j, 1.0 / (1 + np.abs(i - j - 3)), 0)
    receiver = np.where(i >= j, 0.1 + RNG.random((count, count)) / 50, 0)
    receiver[6:, 6] = 1
    both = np.stack([distance, receiver])
    own = kurtosis(received(both, 4))
    control = by_distance_alone(both, 4, 20, np.random.default_rng(1))
    assert np.isclose(own[0], control[0])
    assert own[1] > 20
    assert own[1] > control[1] + 10
    # Every value is where one of its distance was: the sums over each distance stay.
    again = by_distance_alone(both, 4, 20, np.random.default_rng(1))
    assert np.array_equal(control, again)


def test_heads_taken_a_few_at_a_time_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    matrices = RNG.random((2, 3, 12, 12)).astype(np.float32)
    whole = by_distance_alone(matrices, 4, 3, np.random.default_rng(1))
    monkeypatch.setattr("whence.anchors.receivers.kurtosis.NUMBERS_AT_ONCE", 2 * 12 * 12)
    assert whole.shape == (2, 3)
    assert np.array_equal(whole, by_distance_alone(matrices, 4, 3, np.random.default_rng(1)))


def test_noise_has_no_excess() -> None:
    """Over 200 heads whose values are drawn alike for each distance, the mean excess is about 0."""
    count = 20
    matrices = np.tril(RNG.exponential(size=(200, count, count)))
    excess = kurtosis(received(matrices, 4)) - by_distance_alone(
        matrices, 4, 20, np.random.default_rng(2)
    )
    assert abs(excess.mean()) < 3 * excess.std() / np.sqrt(200)


def test_halves_agree_where_heads_differ_and_not_where_they_do_not() -> None:
    heads = np.linspace(0, 5, 40)
    planted = heads + RNG.normal(size=(10, 40)) / 4
    rng = np.random.default_rng(0)
    high = split_half(planted, rng, 50)
    assert high is not None
    assert high > 0.95
    noise = [split_half(RNG.normal(size=(10, 40)), rng, 10) for _ in range(60)]
    assert abs(np.mean([value or 0 for value in noise])) < 3 * np.std(noise) / np.sqrt(60)
    assert split_half(planted[:3], rng, 50) is None
    undefined = np.where(np.arange(40) < 38, np.nan, planted)
    assert split_half(undefined, rng, 50) is None


def test_the_table_leaves_out_what_is_undefined() -> None:
    values = RNG.normal(3, 1, size=(8, 1, 3))
    values[:, 0, 1] = np.nan
    values[:5, 0, 2] = np.nan
    numbers = {"kurtosis": values, "by_distance": values - 1, "first": np.ones_like(values)}
    full, never, few = heads_table(numbers, [7], seed=0)
    assert full["traces"] == 8
    assert np.isclose(full["kurtosis"], values[:, 0, 0].mean())
    assert full["low"] < full["kurtosis"] < full["high"]
    assert np.isclose(full["excess"], 1)
    assert full["excess_low"] is None  # equal in every trace: resampling sees no spread
    assert never["kurtosis"] is never["low"] is never["percentile_in_layer"] is None
    assert few["traces"] == 3
    assert few["low"] is None
    assert {full["percentile_in_layer"], few["percentile_in_layer"]} == {0, 100}
    assert full["layer"] == 7


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("traces")
    make(MakeConfig(kind="traces", out=folder, count=9))
    return folder / "traces.jsonl"


def settings(traces: Path, output: Path, **more: Any) -> ReceiversConfig:
    given = {"traces": traces, "model": "tiny", "device": "cpu", "dtype": "float32"}
    return ReceiversConfig(output_dir=output, **{**given, "proximity": 1, **more})


def test_the_command(traces: Path, tmp_path: Path) -> None:
    result = receivers(settings(traces, tmp_path / "R"))
    facts = json.loads((tmp_path / "R" / "receivers.json").read_text())
    lengths = [len(json.loads(line)["sentences"]) for line in traces.read_text().splitlines()]
    assert facts["traces"] == sum(length >= 5 for length in lengths)
    assert facts["left_out"] == sum(length < 5 for length in lengths)
    table = pd.read_parquet(tmp_path / "R" / "receivers.parquet")
    assert table[["layer", "head"]].values.tolist() == [[n, h] for n in range(6) for h in range(4)]
    best = table.sort_values("kurtosis", ascending=False).iloc[0]
    assert (facts["top"][0]["layer"], facts["top"][0]["head"]) == (best["layer"], best["head"])
    assert best["low"] < best["kurtosis"] < best["high"]
    finding = result.finding()
    assert finding.rows[0][0] == f"{best['layer']:.0f}.{best['head']:.0f}"
    assert "between halves" in finding.headline


def test_too_short_traces_and_too_few(traces: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no trace has 34 sentences.*lower --proximity"):
        receivers(settings(traces, tmp_path / "R", proximity=30))
    few = tmp_path / "few.jsonl"
    lines = [x for x in traces.read_text().splitlines() if len(json.loads(x)["sentences"]) > 4]
    few.write_text("\n".join(lines[:3]))
    receivers(settings(few, tmp_path / "few", layers=("2",)))
    facts = json.loads((tmp_path / "few" / "receivers.json").read_text())
    assert facts["split_half"] is None
    assert "too few" in facts["split_half_reason"]
    assert facts["top"][0]["low"] is None


def test_cut_off_and_started_again(
    traces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receivers(settings(traces, tmp_path / "whole"))
    calls: list[int] = []
    matrices = sentence_matrices

    def cut_off(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return matrices(*args)

    monkeypatch.setattr(matrix_module, "sentence_matrices", cut_off)
    with pytest.raises(KeyboardInterrupt):
        receivers(settings(traces, tmp_path / "cut"))
    result = receivers(settings(traces, tmp_path / "cut"))
    assert len(calls) == 3 + result.facts["traces"] - 2
    assert hash_folder(tmp_path / "cut") == hash_folder(tmp_path / "whole")
