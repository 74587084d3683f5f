"""Ridge regression with its penalty chosen by cross-validation, on few columns or on many.

    minimise  |y − b − Z w|² + λ |w|²       Z: columns standardised on the rows fitted on

One eigendecomposition a fold serves every λ (Hastie, Tibshirani & Friedman 2009, §3.4.1): of ZᵀZ
where there are fewer columns than rows, of ZZᵀ where there are more, so that no matrix of
columns × columns is ever made. Inner folds keep the standardisation of all rows fitted on, and are
centred anew. λ is scikit-learn's `alpha`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

GRID = tuple(10.0 ** (half / 2) for half in range(-4, 13))
"""Penalties tried first: 0.01 to a million, two a decade."""
LOWEST, HIGHEST = 1e-6, 1e10
"""How far the search goes on where the best penalty is at an end of what was tried."""
WIDTH = 2048
"""Columns that are dense at once."""


class Columns:
    """Columns side by side, some dense, some sparse; read in dense float64 blocks."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self.parts = [part if hasattr(part, "tocsc") else np.asarray(part) for part in parts]
        self.rows = int(self.parts[0].shape[0])
        self.width = sum(int(part.shape[1]) for part in self.parts)

    def blocks(self, rows: NDArray[np.int64]) -> Iterator[tuple[slice, Floats]]:
        """(columns, their values in `rows`, float64 [rows, up to WIDTH]), left to right."""
        start = 0
        for part in self.parts:
            chosen = part[rows]
            if hasattr(chosen, "tocsc"):
                chosen = chosen.tocsc()
            for at in range(0, part.shape[1], WIDTH):
                block = chosen[:, at : at + WIDTH]
                dense = block.toarray() if hasattr(block, "toarray") else block
                yield slice(start + at, start + at + dense.shape[1]), dense.astype(np.float64)
            start += int(part.shape[1])

    def dot(self, weights: Floats) -> Floats:
        """Columns times weights, [rows]."""
        total = np.zeros(self.rows)
        start = 0
        for part in self.parts:
            total += part @ weights[start : start + part.shape[1]]
            start += int(part.shape[1])
        return total


@dataclass(frozen=True)
class Search:
    """How a penalty was chosen: mean squared error of each over the rows left out of inner folds.

    error_of_mean: of the mean of the other folds alone. edge: "lowest" or "highest" where the best
    is at the end of all that was tried, after going on as far as LOWEST or HIGHEST.
    """

    l2: float
    tried: tuple[float, ...]
    errors: tuple[float, ...]
    error_of_mean: float
    edge: str | None


@dataclass(frozen=True)
class Ridge:
    """target ≈ intercept + columns · weights, in the columns' own units.

    mean: of the target in the rows fitted on. search: None where the penalty was given.
    """

    weights: Floats
    intercept: float
    mean: float
    l2: float
    search: Search | None

    def predict(self, columns: Columns) -> Floats:
        return columns.dot(self.weights) + self.intercept


def fit_ridge(
    columns: Columns,
    target: Floats,
    rows: NDArray[np.int64],
    *,
    folds: NDArray[np.int64] | None = None,
    l2: float | None = None,
    scale: bool = True,
) -> Ridge:
    """Fit on `rows`. target: [all rows]; folds: the inner fold of each of `rows`, for choosing l2.

    scale: divide columns by their standard deviation in `rows`; columns that are constant there
    get weight 0. On one BLAS thread: on so small matrices more are slower, and bits would depend on
    how many there are.
    """
    from scipy.linalg import solve
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    y = target[rows]
    with threadpool_limits(1):
        standard = _Standardised(columns, rows, scale)
        search = None
        if l2 is None:
            assert folds is not None
            paths = [standard.path(y, folds == fold) for fold in np.unique(folds)]
            search = _search(paths, y, folds)
            l2 = search.l2
        square = standard.square()
        penalised = square + l2 * np.eye(len(square))
        weights = standard.weights(solve(penalised, standard.right_side(y), assume_a="pos"))
    intercept = float(y.mean() - standard.mean @ weights)
    return Ridge(weights, intercept, float(y.mean()), float(l2), search)


class _Standardised:
    """Columns standardised on some rows, as a matrix [rows, columns] where that is the smaller
    way, else as its products ZZᵀ [rows, rows]."""

    def __init__(self, columns: Columns, rows: NDArray[np.int64], scale: bool) -> None:
        self._columns, self._rows = columns, rows
        n = len(rows)
        self.mean, self.scale = np.empty(columns.width), np.ones(columns.width)
        self._few = columns.width <= n
        self._matrix: Floats = np.empty((n, columns.width if self._few else 0))
        self._products: Floats = np.zeros((0, 0) if self._few else (n, n))
        for where, block in columns.blocks(rows):
            self.mean[where] = block.mean(axis=0)
            spread = block.std(axis=0)
            # Of equal numbers the deviation is rounding, not 0, and must not be divided by.
            constant = spread <= 1e-10 * np.abs(block).max(axis=0)
            self.scale[where] = np.where(constant, np.inf, spread if scale else 1.0)
            standard = (block - self.mean[where]) / self.scale[where]
            if self._few:
                self._matrix[:, where] = standard
            else:
                self._products += standard @ standard.T

    def square(self) -> Floats:
        return np.asarray(self._matrix.T @ self._matrix) if self._few else self._products

    def right_side(self, y: Floats) -> Floats:
        centred = y - y.mean()
        return np.asarray(self._matrix.T @ centred) if self._few else np.asarray(centred)

    def weights(self, solution: Floats) -> Floats:
        """Weights in the columns' own units, of the solution of the penalised system."""
        if self._few:
            return solution / self.scale
        weights = np.empty(self._columns.width)
        for where, block in self._columns.blocks(self._rows):
            standard = (block - self.mean[where]) / self.scale[where]
            weights[where] = standard.T @ solution
        return weights / self.scale

    def path(self, y: Floats, out: NDArray[np.bool_]) -> _Path:
        """All penalties at once, fitted on the rows that are not `out`."""
        from scipy.linalg import eigh

        inside, centre = ~out, float(y[~out].mean())
        if self._few:
            middle = self._matrix[inside].mean(axis=0)
            fitted, others = self._matrix[inside] - middle, self._matrix[out] - middle
            values, vectors = eigh(fitted.T @ fitted, driver="evd")
            target = fitted.T @ (y[inside] - centre)
        else:
            among = self._products[np.ix_(inside, inside)]
            between = self._products[np.ix_(out, inside)]
            middle = among.mean(axis=0)
            others = between - between.mean(axis=1)[:, None] - middle + middle.mean()
            values, vectors = eigh(among - middle - middle[:, None] + middle.mean(), driver="evd")
            target = y[inside] - centre
        return _Path(np.maximum(values, 0.0), others @ vectors, vectors.T @ target, y[out] - centre)


@dataclass(frozen=True)
class _Path:
    """Predictions of one fold's rows under any penalty λ: turned · (aimed / (values + λ)).

    Predictions and wanted are both less the mean of the rows fitted on.
    """

    values: Floats
    turned: Floats
    aimed: Floats
    wanted: Floats

    def error(self, l2: float) -> float:
        """Sum of squared errors."""
        errors = self.wanted - self.turned @ (self.aimed / (self.values + l2))
        return float(errors @ errors)


def _search(paths: Sequence[_Path], y: Floats, folds: NDArray[np.int64]) -> Search:
    errors: dict[float, float] = {}
    wanted = list(GRID)
    while True:
        for l2 in wanted:
            errors[l2] = sum(path.error(l2) for path in paths) / len(y)
        tried = sorted(errors)
        # Of equals the stronger penalty, which says less.
        best = min(tried, key=lambda l2: (errors[l2], -l2))
        low, high = tried[0], tried[-1]
        if best == high and high < HIGHEST:
            wanted = [high * 10.0 ** (half / 2) for half in range(1, 5)]
        elif best == low and low > LOWEST:
            wanted = [low * 10.0 ** (-half / 2) for half in range(1, 5)]
        else:
            break
    edge = "highest" if best == high else "lowest" if best == low else None
    of_mean = sum(float(path.wanted @ path.wanted) for path in paths) / len(y)
    return Search(best, tuple(tried), tuple(errors[l2] for l2 in tried), of_mean, edge)
