"""What a sentence's place, or its place and words, leave of its importance.

A ridge regression (alpha 1) of the importance, fitted on training rows alone; the residual is the
importance minus its fit. A probe that predicts residuals knows something that the place does not.
"""

from __future__ import annotations

from typing import Any, Literal, Self, get_args

import numpy as np

from whence.anchors.probes.columns import position
from whence.anchors.probes.data import Floats, ProbeData
from whence.anchors.probes.text import fitted_vectorizer
from whence.errors import BadInput

Residualize = Literal["position", "position_plus_text"]
KINDS: tuple[Residualize, ...] = get_args(Residualize)


class Residual:
    """`Residual(kind).fit(train, values).residual(data, values)`.

    kind: position: the four position features, standardised; position_plus_text: TF-IDF of words
    and pairs beside them. fixed: the earlier study's 10,000 terms, whose cut scikit-learn makes in
    an order that depends on the platform; else the terms of two sentences or more.
    """

    def __init__(self, kind: Residualize, *, fixed: bool = False) -> None:
        if kind not in KINDS:
            raise BadInput(f"residualize {kind!r}: expected {' or '.join(KINDS)}")
        self.kind, self.fixed = kind, fixed
        self._model: Any = None

    def fit(self, data: ProbeData, values: Floats) -> Self:
        """Fit on these rows. values: finite, [rows]. Raises BadInput for rows without values."""
        from sklearn.linear_model import Ridge
        from sklearn.preprocessing import StandardScaler

        if not len(data) or not np.isfinite(values).all():
            raise BadInput("residuals need training rows, and a label in each of them")
        self._scaler = StandardScaler().fit(position(data))
        if self.kind == "position_plus_text":
            self._words = fitted_vectorizer(data.frame["chunk_text"].tolist(), fixed=self.fixed)
        self._model = Ridge(alpha=1.0).fit(self._columns(data), values)
        return self

    def residual(self, data: ProbeData, values: Floats) -> Floats:
        """values minus what place (and words) say of them, [rows]; NaN where values are NaN."""
        if self._model is None:
            raise ValueError("fit comes before residual")
        fitted = np.asarray(self._model.predict(self._columns(data)), dtype=np.float64)
        return values - fitted

    def _columns(self, data: ProbeData) -> Any:
        place = self._scaler.transform(position(data))
        if self.kind == "position":
            return place
        from scipy.sparse import csr_matrix, hstack

        words = self._words.transform(data.frame["chunk_text"].tolist())
        return hstack([words, csr_matrix(place)], format="csr")
