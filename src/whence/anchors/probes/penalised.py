"""Linear models of one design under many weightings and penalties, solved side by side.

Inner cross-validation needs folds × penalties fits of the same matrix. One after another each reads
the whole matrix again in every iteration and waits for memory; together they are two products with
a thin matrix per iteration, and cost little more than one. For every column k,

    minimise  Σ_i w_ik ℓ(y_i, x_i·θ_k + b_k) + ½ λ_k ‖θ_k‖²

with ℓ the logistic loss or half the squared error; the intercept is not penalised. That is
scikit-learn's LogisticRegression with C = 1/λ and its Ridge with alpha = λ, which make the final
fits; here choices are made. Solver: L-BFGS (Nocedal & Wright 2006, alg. 7.4) for all columns at
once. Logits are linear in the step, so its length is found without touching the matrix.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MEMORY = 10
"""Pairs of steps and gradient changes that L-BFGS keeps, as in SciPy."""
LEAST_DECREASE = 1e-4
"""Of the decrease that the slope promises, the share that a step must give (Armijo)."""

Array = NDArray[np.floating[Any]]


def penalised_fits(
    x: Any,
    y: Array,
    weights: Array,
    penalties: Array,
    *,
    logistic: bool,
    tolerance: float = 1e-4,
    max_iterations: int = 300,
) -> tuple[Array, Array]:
    """Coefficients [columns, k] and intercepts [k].

    x: [rows, columns], NumPy or SciPy sparse; its dtype is the precision. y: [rows], 0/1 or real.
    weights: [rows, k], 0 for rows that a fit must not see. penalties: λ, [k]. tolerance: largest
    entry of the gradient per unit of weight at which a fit counts as done, as scikit-learn's tol.
    """
    problem = _Problem(x, y, weights, penalties, logistic)
    found = np.zeros((x.shape[1] + 1, len(penalties)), dtype=x.dtype)
    alive = np.arange(len(penalties))
    theta = found.copy()
    logits = problem.logits(theta)
    gradient = problem.gradient(theta, logits)
    steps: list[Array] = []
    changes: list[Array] = []
    for _ in range(max_iterations):
        going = np.abs(gradient).max(axis=0) > tolerance * problem.total
        if not going.all():
            # What is done leaves, so that the products shrink.
            found[:, alive] = theta
            alive, theta = alive[going], theta[:, going]
            logits, gradient = logits[:, going], gradient[:, going]
            steps = [each[:, going] for each in steps]
            changes = [each[:, going] for each in changes]
            problem = problem.only(going)
        if not alive.size:
            break
        direction = _direction(gradient, steps, changes)
        along = problem.logits(direction)
        length = problem.step(theta, logits, gradient, direction, along)
        moved = length * direction
        theta = theta + moved
        logits = logits + length * along
        fresh = problem.gradient(theta, logits)
        steps, changes = [*steps, moved][-MEMORY:], [*changes, fresh - gradient][-MEMORY:]
        gradient = fresh
    found[:, alive] = theta
    return found[:-1], found[-1]


class _Problem:
    """The objectives of some columns, as functions of θ with the intercept in its last row."""

    def __init__(self, x: Any, y: Array, weights: Array, penalties: Array, logistic: bool) -> None:
        self.x, self.logistic = x, logistic
        self.y = np.asarray(y, dtype=x.dtype)[:, None]
        self.weights = np.asarray(weights, dtype=x.dtype)
        self.penalties = np.asarray(penalties, dtype=x.dtype)
        self.total = self.weights.sum(axis=0)

    def only(self, columns: NDArray[np.bool_]) -> _Problem:
        return _Problem(
            self.x, self.y[:, 0], self.weights[:, columns], self.penalties[columns], self.logistic
        )

    def logits(self, theta: Array) -> Array:
        return np.asarray(np.asarray(self.x @ theta[:-1]) + theta[-1])

    def gradient(self, theta: Array, logits: Array) -> Array:
        slope = self.weights * (self._mean(logits) - self.y)
        inner = np.asarray(self.x.T @ slope) + self.penalties * theta[:-1]
        return np.concatenate([inner, slope.sum(axis=0, keepdims=True)])

    def step(
        self, theta: Array, logits: Array, gradient: Array, direction: Array, along: Array
    ) -> Array:
        """How far to go along `direction`, [k]: a few Newton steps in one dimension, then halving
        until the objective falls as it should. 0 where nothing is left to gain."""
        flat = self.penalties * (direction[:-1] ** 2).sum(axis=0)
        tilt = self.penalties * (theta[:-1] * direction[:-1]).sum(axis=0)
        length = np.zeros_like(flat)
        for _ in range(4 if self.logistic else 1):
            mean = self._mean(logits + length * along)
            slope = (self.weights * (mean - self.y) * along).sum(axis=0) + tilt + length * flat
            curve = mean * (1 - mean) if self.logistic else np.ones_like(mean)
            bend = (self.weights * curve * along**2).sum(axis=0) + flat
            length = np.maximum(length - slope / np.maximum(bend, np.finfo(bend.dtype).tiny), 0)
        promised = (gradient * direction).sum(axis=0)
        here = self._loss(logits)
        for _ in range(30):
            change = self._loss(logits + length * along) - here
            change += length * tilt + length**2 * flat / 2
            # Rounding of the losses themselves must not stop a fit that is all but done.
            noise = np.finfo(here.dtype).eps * np.abs(here)
            bad = ~(change <= LEAST_DECREASE * length * promised + noise)
            if not bad.any():
                break
            length = np.where(bad, length / 2, length)
        return np.where(bad, 0, length).astype(theta.dtype)

    def _mean(self, logits: Array) -> Array:
        if not self.logistic:
            return logits
        from scipy.special import expit

        return np.asarray(expit(logits))

    def _loss(self, logits: Array) -> Array:
        if self.logistic:
            each = np.logaddexp(0, logits) - self.y * logits
        else:
            each = (logits - self.y) ** 2 / 2
        return np.asarray((self.weights * each).sum(axis=0))


def _direction(gradient: Array, steps: list[Array], changes: list[Array]) -> Array:
    """−(inverse Hessian) · gradient of every column, by the two-loop recursion."""
    tiny = np.finfo(gradient.dtype).tiny
    back = gradient.copy()
    factors = []
    for step, change in zip(reversed(steps), reversed(changes), strict=True):
        bend = (step * change).sum(axis=0)
        scale = np.where(bend > tiny, 1 / np.maximum(bend, tiny), 0)
        factor = scale * (step * back).sum(axis=0)
        back -= factor * change
        factors.append((scale, factor))
    if steps:
        bend = (steps[-1] * changes[-1]).sum(axis=0)
        size = (changes[-1] ** 2).sum(axis=0)
        back *= np.where((bend > tiny) & (size > tiny), bend / np.maximum(size, tiny), 1)
    for (scale, factor), step, change in zip(reversed(factors), steps, changes, strict=True):
        back += step * (factor - scale * (change * back).sum(axis=0))
    return -back
