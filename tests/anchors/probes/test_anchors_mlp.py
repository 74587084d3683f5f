"""The multilayer perceptron: the earlier study's, and one whose choices rest on whole problems."""

from __future__ import annotations

import numpy as np
import pytest
from probe_cases import case
from sklearn.decomposition import PCA
from sklearn.metrics import average_precision_score
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from whence.anchors.probes.data import Labels, ProbeData
from whence.anchors.probes.mlp import Mlp, _components
from whence.anchors.probes.probe import Fitting
from whence.anchors.probes.settings import ProbeSettings

EARLIER = {
    "hidden_layer_sizes": (100, 100),
    "alpha": 1e-4,
    "learning_rate_init": 1e-3,
    "max_iter": 300,
    "early_stopping": True,
    "n_iter_no_change": 20,
    "random_state": 3,
}


@pytest.mark.parametrize("continuous", [False, True])
def test_fixed_is_a_plain_pipeline(continuous):
    train, labels = case(seed=1, continuous=continuous)
    test, _ = case(seed=2)
    kind = MLPRegressor if continuous else MLPClassifier
    pipeline = make_pipeline(StandardScaler(), kind(**EARLIER)).fit(train.mean, labels.y)
    expected = (
        pipeline.predict(test.mean) if continuous else pipeline.predict_proba(test.mean)[:, 1]
    )
    fitted = Mlp().fit(train, labels, Fitting(fixed=True, seed=3))
    np.testing.assert_allclose(fitted.score(test), expected, atol=1e-5)
    assert fitted.notes["early_stopping"]


def test_a_lone_anchor_holds_nothing_out():
    data, _ = case(problems=1, each=12)
    y = np.zeros(12)
    y[3] = 1
    fitted = Mlp().fit(data, Labels(y, False), Fitting(fixed=True))
    assert not fitted.notes["early_stopping"]
    assert fitted.score(data).argmax() == 3


@pytest.mark.parametrize("continuous", [False, True])
def test_choices_are_noted_and_the_signal_is_found(continuous):
    train, labels = case(problems=8, continuous=continuous, seed=1)
    test, truth = case(problems=8, seed=2)
    fitted = Mlp().fit(train, labels, Fitting())
    tried = fitted.notes["tried"]
    best = max(each["agreement"] for each in tried)
    chosen = [
        each["agreement"]
        for each in tried
        if (each["alpha"], each["epochs"]) == (fitted.notes["alpha"], fitted.notes["epochs"])
    ]
    assert chosen == [best]
    assert average_precision_score(truth.y, fitted.score(test)) > 0.6
    assert truth.y.mean() == pytest.approx(0.2, abs=0.01)


def test_seeds_change_it_and_equal_seeds_do_not():
    data, labels = case(problems=4)
    first, again, other = (Mlp().fit(data, labels, Fitting(seed=s)).score(data) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-4


def test_what_is_remembered_is_what_would_be_computed():
    data, labels = case(problems=4)
    Mlp().fit(data, labels, Fitting(seed=0))
    remembered = Mlp().fit(data, labels, Fitting(seed=1))
    elsewhere = data.take(np.arange(len(data)))  # equal rows, another object
    fresh = Mlp().fit(elsewhere, Labels(labels.y.copy(), False), Fitting(seed=1))
    np.testing.assert_array_equal(remembered.score(data), fresh.score(data))
    flipped = Labels(1 - labels.y, False)
    assert Mlp().fit(data, flipped, Fitting()).notes["tried"] != fresh.notes["tried"]


def test_components_are_principal():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 40)) * np.linspace(5, 0.01, 40)
    x = (x - x.mean(axis=0)).astype(np.float32)
    inputs, basis, explained = _components(x)
    assert inputs.shape == (300, 40)
    np.testing.assert_allclose(inputs.var(axis=0).mean(), 1, rtol=1e-4)
    assert explained == pytest.approx(1, abs=1e-3)
    expected = PCA(3).fit(x).components_
    own = basis[:, :3].T / np.linalg.norm(basis[:, :3].T, axis=1, keepdims=True)
    np.testing.assert_allclose(np.abs((own * expected).sum(axis=1)), 1, atol=1e-4)


def test_one_problem_few_rows_and_constant_activations():
    data, labels = case(problems=1, each=9)
    fitted = Mlp().fit(data, labels, Fitting(settings=ProbeSettings(mlp_max_iter=2)))
    assert fitted.notes["epochs"] == 2
    assert "no problem" in fitted.notes["reason"]
    flat = ProbeData(data.frame, mean=np.ones((9, 4), dtype=np.float32))
    assert np.ptp(Mlp().fit(flat, labels, Fitting()).score(flat)) == 0


def test_epochs_deal_rows_to_other_batches(monkeypatch: pytest.MonkeyPatch):
    from sklearn.neural_network import _multilayer_perceptron as network

    deal, seen = network.shuffle, []

    def shuffle(rows, random_state):
        dealt = deal(rows, random_state=random_state)
        seen.append(tuple(dealt[:20]))
        return dealt

    monkeypatch.setattr(network, "shuffle", shuffle)
    data, labels = case(problems=1, each=30)
    Mlp().fit(data, labels, Fitting(settings=ProbeSettings(mlp_max_iter=6)))
    assert len(seen) == 6
    assert len(set(seen)) == 6
