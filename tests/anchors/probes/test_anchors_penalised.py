"""Fits solved side by side are scikit-learn's fits, one by one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression, Ridge

from whence.anchors.probes.inner import balanced
from whence.anchors.probes.penalised import penalised_fits

ROWS, COLUMNS = 120, 30


def design(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(ROWS, COLUMNS)) * np.linspace(0.1, 4, COLUMNS)
    y = x[:, 0] + x[:, -1] / 4 + rng.normal(size=ROWS)
    return x, y, np.arange(ROWS) % 3


@pytest.mark.parametrize("layout", [np.asarray, sparse.csr_matrix])
def test_logistic_fits_of_folds_and_penalties(layout):
    x, y, fold = design()
    y = (y > 1).astype(float)
    penalties = [100.0, 1.0, 0.01]
    weights = np.zeros((ROWS, 9))
    for f in range(3):
        train = fold != f
        weights[train, 3 * f : 3 * f + 3] = balanced(y[train])[:, None]
    found, intercepts = penalised_fits(
        layout(x), y, weights, np.tile(penalties, 3), logistic=True, tolerance=1e-7
    )
    for f in range(3):
        for p, penalty in enumerate(penalties):
            train = fold != f
            expected = LogisticRegression(
                C=1 / penalty, class_weight="balanced", tol=1e-9, max_iter=20_000
            ).fit(x[train], y[train])
            k = 3 * f + p
            np.testing.assert_allclose(found[:, k], expected.coef_[0], atol=2e-4, rtol=1e-3)
            np.testing.assert_allclose(intercepts[k], expected.intercept_[0], atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("penalty", [1000.0, 1.0, 0.001])
def test_ridge_fits(penalty):
    x, y, fold = design(1)
    weights = np.stack([fold != f for f in range(3)], axis=1).astype(float)
    found, intercepts = penalised_fits(
        x, y, weights, np.full(3, penalty), logistic=False, tolerance=1e-9
    )
    for f in range(3):
        expected = Ridge(alpha=penalty).fit(x[fold != f], y[fold != f])
        np.testing.assert_allclose(found[:, f], expected.coef_, atol=1e-6)
        np.testing.assert_allclose(intercepts[f], expected.intercept_, atol=1e-6)


def test_separable_rows_and_a_constant_column_end_in_finite_numbers():
    x = np.array([[-1.0, 0], [-2, 0], [1, 0], [2, 0]], dtype=np.float32)
    y = np.array([0.0, 0, 1, 1])
    found, intercepts = penalised_fits(
        x, y, np.ones((4, 2)), np.array([1e-6, 1.0]), logistic=True, max_iterations=50
    )
    assert np.isfinite(found).all()
    assert np.isfinite(intercepts).all()
    assert (found[1] == 0).all()
    assert found[0, 0] > found[0, 1] > 0
