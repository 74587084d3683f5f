"""Residuals against plain scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from probe_cases import case
from scipy.sparse import hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from whence.anchors.probes.residual import Residual
from whence.anchors.sentences import POSITION
from whence.errors import BadInput


def test_position():
    train, labels = case(continuous=True, seed=1)
    test, truth = case(continuous=True, seed=2)
    place = StandardScaler().fit(train.frame[list(POSITION)])
    ridge = Ridge(alpha=1.0).fit(place.transform(train.frame[list(POSITION)]), labels.y)
    expected = truth.y - ridge.predict(place.transform(test.frame[list(POSITION)]))
    found = Residual("position").fit(train, labels.y).residual(test, truth.y)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("fixed", [False, True])
def test_position_and_text(fixed):
    train, labels = case(continuous=True, seed=1)
    test, truth = case(continuous=True, seed=2)
    way = {"max_features": 10_000} if fixed else {"min_df": 2}
    words = TfidfVectorizer(ngram_range=(1, 2), **way).fit(train.frame["chunk_text"])
    place = StandardScaler().fit(train.frame[list(POSITION)])

    def columns(data):
        return hstack(
            [words.transform(data.frame["chunk_text"]), place.transform(data.frame[list(POSITION)])]
        ).tocsr()

    ridge = Ridge(alpha=1.0).fit(columns(train), labels.y)
    expected = truth.y - ridge.predict(columns(test))
    found = Residual("position_plus_text", fixed=fixed).fit(train, labels.y)
    np.testing.assert_allclose(found.residual(test, truth.y), expected, atol=1e-6)


def test_what_the_place_explains_is_gone_and_gaps_stay():
    data, _ = case(seed=1)
    values = 3 - 2 * data.frame["relative_position"].to_numpy(np.float64)
    fitted = Residual("position").fit(data, values)
    assert np.abs(fitted.residual(data, values)).max() < 0.05
    values[4] = np.nan
    assert np.isnan(fitted.residual(data, values)[4])
    with pytest.raises(BadInput, match="a label in each"):
        Residual("position").fit(data, values)


def test_unknown_kind():
    with pytest.raises(BadInput, match="position or position_plus_text"):
        Residual("words")
