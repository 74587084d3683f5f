"""Attention and MultiMax probes: the forward pass by hand, training, and one token in 200."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from probe_cases import case, sentences
from sklearn.metrics import auc, average_precision_score, precision_recall_curve

from whence.anchors.probes.data import Labels, ProbeData, Ragged
from whence.anchors.probes.inner import agreement
from whence.anchors.probes.probe import Fitting
from whence.anchors.probes.registry import PROBES
from whence.anchors.probes.settings import ProbeSettings
from whence.anchors.probes.token_network import logits, new_parameters
from whence.anchors.probes.token_probes import held_out
from whence.anchors.probes.token_training import (
    COOLEST,
    WARMEST,
    Watch,
    as_they_are,
    temperature,
    token_scale,
    train,
)
from whence.errors import BadInput
from whence.stats.paired import paired_difference

SMALL = ProbeSettings(token_probe_mlp_width=16, token_probe_max_epochs=8)
TOKEN_PROBES = ("attention_probe", "multimax_probe")


def by_hand(parameters, kind, tokens, lengths):
    """The definition, one sentence and one head at a time, in NumPy and float64."""
    arrays = {name: each.double().numpy() for name, each in parameters.items()}
    found, begin = [], 0
    for length in lengths:
        hidden = tokens[begin : begin + length].astype(np.float64)
        begin += length
        layer = 0
        while f"layers.{layer}.weight" in arrays:
            weight, bias = arrays[f"layers.{layer}.weight"], arrays[f"layers.{layer}.bias"]
            hidden = np.maximum(hidden @ weight.T + bias, 0)
            layer += 1
        pooled = []
        for head in range(arrays["mixer.weight"].shape[1]):
            if kind == "attention":
                score = np.exp(hidden @ arrays["query"][head])
                pooled.append((score / score.sum()) @ (hidden @ arrays["value"][head]))
            else:
                pooled.append(max(token @ arrays["direction"][head] for token in hidden))
        found.append(arrays["mixer.weight"][0] @ pooled + arrays["mixer.bias"][0])
    return np.array(found)


@pytest.mark.parametrize("kind", ["attention", "multimax"])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_forward_is_the_definition(kind, depth):
    generator = torch.Generator().manual_seed(0)
    parameters = new_parameters(kind, 12, width=7, depth=depth, heads=3, generator=generator)
    lengths = np.array([1, 5, 2, 9])
    tokens = np.random.default_rng(0).normal(size=(17, 12)).astype(np.float32)
    found = logits(parameters, kind, torch.from_numpy(tokens), lengths).numpy()
    np.testing.assert_allclose(found, by_hand(parameters, kind, tokens, lengths), atol=1e-5)


@pytest.mark.parametrize("heat", [0.01, 0.5, 100.0])
def test_soft_maximum_is_the_definition(heat):
    generator = torch.Generator().manual_seed(0)
    parameters = new_parameters("multimax", 12, width=7, depth=0, heads=3, generator=generator)
    lengths = np.array([1, 5, 2, 9])
    tokens = np.random.default_rng(0).normal(size=(17, 12)).astype(np.float32)
    own = {name: each.clone().requires_grad_(True) for name, each in parameters.items()}
    found = logits(own, "multimax", torch.from_numpy(tokens), lengths, heat)
    found.sum().backward()
    assert all(torch.isfinite(each.grad).all() for each in own.values())
    direction = parameters["direction"].double().numpy()
    ends = np.cumsum(lengths)
    for place, (end, length) in enumerate(zip(ends, lengths, strict=True)):
        said = tokens[end - length : end].astype(np.float64) @ direction.T
        weights = np.exp((said - said.max(0)) / heat)
        pooled = (weights / weights.sum(0) * said).sum(0)
        expected = pooled @ parameters["mixer.weight"][0].double().numpy()
        assert found[place].item() == pytest.approx(expected, abs=1e-5)


def test_temperature_falls_to_the_hard_maximum():
    assert temperature(0, 10) == WARMEST
    assert temperature(5, 10) == pytest.approx((WARMEST * COOLEST) ** 0.5)
    assert COOLEST < temperature(9.99, 10) < temperature(9, 10)
    assert temperature(10, 10) == temperature(0, 0) == 0


@pytest.mark.parametrize("name", TOKEN_PROBES)
@pytest.mark.parametrize("fixed", [False, True])
def test_scores_of_a_fitted_probe_are_the_definition(name, fixed):
    data, labels = case(problems=4, each=20)
    fitted = PROBES[name].fit(data, labels, Fitting(settings=SMALL, fixed=fixed))
    tokens = (data.tokens.values - fitted.scale.centre) / fitted.scale.scale
    expected = by_hand(fitted.parameters, fitted.kind, tokens, data.tokens.length)
    np.testing.assert_allclose(fitted.score(data), 1 / (1 + np.exp(-expected)), atol=1e-5)
    if fixed:
        assert (fitted.scale.centre == 0).all()
        assert (fitted.scale.scale == 1).all()
    else:
        np.testing.assert_allclose(fitted.scale.centre, data.tokens.values.mean(0), atol=1e-4)


@pytest.mark.parametrize("name", TOKEN_PROBES)
@pytest.mark.parametrize("continuous", [False, True])
def test_training_finds_the_signal(name, continuous):
    settings = ProbeSettings(token_probe_max_epochs=25)
    train, labels = case(problems=8, each=40, continuous=continuous, seed=1)
    test, truth = case(problems=8, each=40, continuous=continuous, seed=2)
    fitted = PROBES[name].fit(train, labels, Fitting(settings=settings))
    scores = fitted.score(test)
    if continuous:
        assert agreement(scores, truth, test.groups) > 0.6
        assert abs(scores.mean() - truth.y.mean()) < 0.5
        assert 0.5 < scores.std() / truth.y.std() < 1.5
    else:
        assert average_precision_score(truth.y, scores) > 0.55
        assert truth.y.mean() == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize("name", TOKEN_PROBES)
def test_seeds_and_nobody_elses_random_numbers(name):
    data, labels = case(problems=4, each=15)
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    fits = [
        PROBES[name].fit(data, labels, Fitting(settings=SMALL, seed=seed)).score(data)
        for seed in (0, 0, 1)
    ]
    assert torch.equal(torch.random.get_rng_state(), before)
    np.testing.assert_array_equal(fits[0], fits[1])
    assert np.abs(fits[0] - fits[2]).max() > 1e-4


@pytest.mark.parametrize("fixed", [False, True])
def test_validation_rows_are_what_stops(fixed):
    data, labels = case(problems=6, each=20, seed=1)
    settings = ProbeSettings(token_probe_max_epochs=30, token_probe_patience=2)
    noise = np.random.default_rng(0).random(len(data)) < 0.2
    held = (data.take(np.arange(60)), Labels(noise[:60].astype(float), False))
    fitted = PROBES["multimax_probe"].fit(
        data, labels, Fitting(settings=settings, fixed=fixed, validation=held)
    )
    assert fitted.notes["stopped_by"] == "validation"
    assert fitted.notes["epochs"] < 30
    good = fitted.notes["tried"][0]["agreement"]
    scores = fitted.score(held[0])
    if fixed:
        precision, recall, _ = precision_recall_curve(held[1].y, scores)
        assert good == pytest.approx(auc(recall, precision), abs=1e-6)
    else:
        best = max(each["agreement"] for each in fitted.notes["tried"])
        assert best == pytest.approx(agreement(scores, held[1], held[0].groups), abs=1e-6)


@pytest.mark.parametrize("annealed", [0, 6])
def test_patience_counts_once_the_maximum_is_hard(annealed):
    data, labels = case(problems=4, each=10)
    generator = torch.Generator().manual_seed(0)
    seen = []

    def never_better(scores):
        seen.append(scores)
        return 0.5

    trained = train(
        new_parameters("multimax", 16, width=8, depth=1, heads=2, generator=generator),
        "multimax",
        as_they_are(data.tokens),
        data,
        labels,
        ProbeSettings(token_probe_patience=3),
        weight_decay=0.0,
        epochs=30,
        annealed=annealed,
        watch=Watch(data, never_better),
        device="cpu",
        generator=generator,
        label="test",
    )
    assert trained.epochs == 1
    assert len(seen) == max(annealed, 1) + 3
    arrays = by_hand(trained.parameters, "multimax", data.tokens.values, data.tokens.length)
    np.testing.assert_allclose(seen[0], arrays, atol=1e-4)


def test_whole_problems_are_held_out():
    data, labels = case(problems=14, each=10)
    held = held_out(data, labels, seed=0)
    assert len(np.unique(data.groups[held])) == 2
    assert not set(data.groups[held]) & set(data.groups[~held])
    assert held_out(data, labels, seed=1).tolist() != held.tolist()
    one = data.groups == 0
    assert held_out(data.take(one), labels.take(one), seed=0) is None


def test_one_problem_trains_all_its_epochs():
    data, labels = case(problems=1, each=20)
    fitted = PROBES["attention_probe"].fit(data, labels, Fitting(settings=SMALL))
    assert fitted.notes["epochs"] == SMALL.token_probe_max_epochs
    assert "no problem could be held out" in fitted.notes["reason"]


def test_scale_of_large_and_constant_activations():
    rng = np.random.default_rng(0)
    values = (rng.normal(size=(500, 3)) * [1, 1e-3, 0] + [1e4, 5, 7]).astype(np.float32)
    scale = token_scale(Ragged(values, np.array([0, 200]), np.array([200, 300])))
    np.testing.assert_allclose(scale.centre, values.mean(0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(scale.scale[:2], values.std(0, dtype=np.float64)[:2], rtol=1e-3)
    assert scale.scale[2] == 1


def test_what_is_missing_is_named():
    data, labels = case(problems=2, each=10)
    with pytest.raises(BadInput, match="--pooling mean,tokens"):
        PROBES["attention_probe"].fit(ProbeData(data.frame), labels, Fitting())
    gone = Ragged(data.tokens.values, data.tokens.start, data.tokens.length.copy())
    gone.length[11] = 0
    with pytest.raises(BadInput, match="problem 1, sentence 1"):
        PROBES["attention_probe"].fit(ProbeData(data.frame, tokens=gone), labels, Fitting())


def planted(problems: int, each: int, seed: int, strength: float) -> tuple[ProbeData, Labels]:
    """Sentences of 200 tokens of noise; in anchors (1 in 5) one token carries the direction.

    Sentences differ a little as wholes, as real ones do, also along that direction.
    """
    rng = np.random.default_rng(seed)
    frame = sentences(problems, each, seed)
    rows, length, width = len(frame), 200, 32
    y = (rng.random(rows) < 0.2).astype(np.float64)
    tokens = rng.normal(size=(rows, length, width)).astype(np.float32)
    tokens += rng.normal(0, 0.3, size=(rows, 1, width)).astype(np.float32)
    for row in np.flatnonzero(y):
        tokens[row, rng.integers(length), 0] += strength
    return ProbeData(
        frame.assign(token_count=length),
        mean=tokens.mean(axis=1),
        tokens=Ragged(
            tokens.reshape(-1, width),
            np.arange(rows, dtype=np.int64) * length,
            np.full(rows, length, dtype=np.int64),
        ),
    ), Labels(y, False)


def precisions(name: str, **changes) -> np.ndarray:
    """Average precision of a probe on the planted signal, one a problem."""
    train, labels = planted(12, 40, 1, strength=8)
    test, truth = planted(10, 40, 2, strength=8)
    settings = ProbeSettings(token_probe_max_epochs=25)
    scores = PROBES[name].fit(train, labels, Fitting(settings=settings, **changes)).score(test)
    return np.array(
        [
            average_precision_score(truth.y[test.groups == g], scores[test.groups == g])
            for g in range(10)
        ]
    )


def test_one_token_in_two_hundred():
    linear = precisions("linear_probe")
    for name in TOKEN_PROBES:
        margin = paired_difference(precisions(name), linear)
        assert margin.interval is not None
        assert margin.interval.low > 0.4
        assert margin.effect > 0.5
