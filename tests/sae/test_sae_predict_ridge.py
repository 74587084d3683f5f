"""The predictor's ridge: by hand, against scikit-learn, folded into one weight a feature."""

from __future__ import annotations

import numpy as np
import pytest
from extraction_folders import activations
from scipy.sparse import csr_array
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from whence.sae.predict.design import make_design, random_projection
from whence.sae.predict.features import Features
from whence.sae.predict.fitting import Fold, as_predictor, out_of_fold
from whence.sae.predict.ridge import GRID, HIGHEST, LOWEST, Columns, fit_ridge


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_three_rows_by_hand() -> None:
    # x = 1, 2, 3: mean 2, deviation √⅔, so zᵀz = 3 and λ = 3 halves the slope 2.5 of least squares.
    columns = Columns([np.array([[1.0], [2.0], [3.0]])])
    found = fit_ridge(columns, np.array([0.0, 1.0, 5.0]), np.arange(3), l2=3.0)
    assert found.weights == pytest.approx([1.25])
    assert found.intercept == pytest.approx(-0.5)
    assert found.predict(columns) == pytest.approx([0.75, 2.0, 3.25])


@pytest.mark.parametrize("width", [15, 90])
@pytest.mark.parametrize("sparse", [False, True])
def test_equals_scikit_learn(width: int, sparse: bool, rng: np.random.Generator) -> None:
    dense = activations(60, width).astype(np.float64)
    dense[:, 4] = 0.1  # a constant, whose deviation in floating point is not 0
    y = dense[:, 0] * 3 + rng.normal(size=60)
    rows = np.arange(0, 60, 2)
    pipeline = make_pipeline(StandardScaler(), SklearnRidge(alpha=7.0)).fit(dense[rows], y[rows])
    parts = [dense[:, :6], csr_array(dense[:, 6:])] if sparse else [dense]
    columns = Columns(parts)
    found = fit_ridge(columns, y, rows, l2=7.0)
    np.testing.assert_allclose(found.predict(columns), pipeline.predict(dense), atol=1e-9)
    assert found.weights[4] == 0


@pytest.mark.parametrize("width", [12, 70])
def test_the_penalty_with_the_least_error_on_inner_folds(
    width: int, rng: np.random.Generator
) -> None:
    x = rng.normal(size=(50, width))
    y = x[:, 0] - x[:, 1] + rng.normal(size=50)
    folds = np.arange(50) % 5
    found = fit_ridge(Columns([x]), y, np.arange(50), folds=folds).search
    assert found is not None
    z = StandardScaler().fit_transform(x)
    for l2, error in zip(found.tried, found.errors, strict=True):
        squares = 0.0
        for fold in range(5):
            out = folds == fold
            predicted = SklearnRidge(alpha=l2).fit(z[~out], y[~out]).predict(z[out])
            squares += float(((predicted - y[out]) ** 2).sum())
        assert error == pytest.approx(squares / 50, rel=1e-6)
    assert found.l2 == found.tried[int(np.argmin(found.errors))]
    assert found.edge is None


def test_the_search_goes_on_past_the_grid_and_says_where_it_ends(rng: np.random.Generator) -> None:
    x = rng.normal(size=(80, 6))
    folds = np.arange(80) % 5
    exact = fit_ridge(Columns([x]), x @ np.ones(6), np.arange(80), folds=folds).search
    assert exact is not None
    assert exact.edge == "lowest"
    assert exact.l2 <= LOWEST < GRID[0]
    # Folds of which one's target runs against the others': any slope is worse than none.
    against = np.where(folds < 2, x[:, 0], -x[:, 0])
    empty = fit_ridge(Columns([x]), against, np.arange(80), folds=folds).search
    assert empty is not None
    assert (empty.edge, empty.l2) == ("highest", HIGHEST)
    assert min(empty.errors) == pytest.approx(empty.error_of_mean, rel=1e-3)


def layers(rows: int, *sizes: int) -> list[Features]:
    rng = np.random.default_rng(3)
    return [
        Features(
            sae_id=f"l{number}",
            facts={},
            active=csr_array(activations(rows, size, number)),
            stats=rng.normal(size=(rows, 10)) * 10.0 ** np.arange(-4, 6),
            seq_lens=np.full(rows, 9, dtype=np.int32),
        )
        for number, size in enumerate(sizes)
    ]


@pytest.mark.parametrize("dim", [0, 25])
def test_folded_weights_predict_what_the_columns_predict(
    dim: int, rng: np.random.Generator
) -> None:
    two = layers(70, 120, 20)  # the second has fewer features than the projection has columns
    y = two[0].active.toarray()[:, 3] + rng.normal(size=70) * 0.1
    rows = np.arange(50)
    design = make_design(two, dim, seed=11)
    predictor = as_predictor(design, fit_ridge(design.columns, y, rows, l2=5.0), two, rows)
    # The same by scikit-learn, column by column.
    first = two[0].active.toarray().astype(np.float64)
    if dim:
        first = first @ random_projection(120, dim, (11, 0)).astype(np.float64)
    x = np.concatenate([two[0].stats, first, two[1].stats, two[1].active.toarray()], axis=1)
    pipeline = make_pipeline(StandardScaler(), SklearnRidge(alpha=5.0)).fit(x[rows], y[rows])
    np.testing.assert_allclose(predictor.predict(two), pipeline.predict(x), atol=1e-6)
    assert [len(each.activation_weights) for each in predictor.layers] == [120, 20]


def test_the_projection_keeps_distances_and_hangs_on_its_seed() -> None:
    drawn = random_projection(400, 200, (1, 0))
    assert drawn.std() == pytest.approx(1 / np.sqrt(200), rel=0.02)
    x = activations(30, 400)
    before = np.linalg.norm(x[:1] - x[1:], axis=1)
    after = np.linalg.norm(x[:1] @ drawn - x[1:] @ drawn, axis=1)
    np.testing.assert_allclose(after, before, rtol=0.25)
    np.testing.assert_array_equal(drawn, random_projection(400, 200, (1, 0)))
    assert not np.array_equal(drawn, random_projection(400, 200, (1, 1)))


def test_out_of_fold_rows_have_no_say_in_their_own_prediction(rng: np.random.Generator) -> None:
    one = layers(60, 30)
    design = make_design(one, 0, seed=0)
    keys = [f"g{i // 2}" for i in range(60)]
    y = rng.normal(size=60)
    folds = Fold(keys, seed=4)
    before, penalties = out_of_fold(design, y, folds, l2=10.0)
    assert penalties == [10.0] * 5
    fold = folds.inner(np.arange(60))
    changed = np.where(fold == fold[0], y + rng.normal(size=60), y)
    after, _ = out_of_fold(design, changed, folds, l2=10.0)
    # But for the one constant: the mean of all rows.
    same = fold == fold[0]
    shift = changed.mean() - y.mean()
    np.testing.assert_allclose(after[same] - shift, before[same], atol=1e-12)
    assert np.abs(after[~same] - before[~same]).max() > 1e-3
