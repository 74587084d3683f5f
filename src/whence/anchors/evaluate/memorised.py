"""Tripwire: features that distinguish sentences must be able to learn one problem by heart.

A linear model is fitted to one training problem, without early stopping and with next to no
penalty, to an optimum that is checked by its gradient, and judged on the same rows. When it cannot
reproduce its own labels, features are not what they are thought to be (all columns alike, a few
directions and no more), unless rows that are equal have unequal labels, or there are more sentences
than columns: then no such model need be able to, and that is said with the numbers. No row is held
out: a tenth of one problem that early stopping kept back once made this check fail where nothing
was wrong.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from whence.anchors.evaluate.material import Material, Rows
from whence.anchors.metrics import average_precision
from whence.anchors.probes.data import Floats

ENOUGH = 0.99
PENALTY = 1e-4
"""1/C; small enough that standardised rows which can be separated are."""
OPTIMUM = 1e-3
"""Largest entry of the gradient, as a share of that at zero weights, that counts as an optimum."""


def memorised(material: Material, train: Rows) -> dict[str, Any]:
    """Run the check on the first training problem whose labels differ.

    outcome: memorised, not separable, too few columns, not memorised, not converged, or not checked
    (with the reason). passed: True for the first, False for "not memorised", None where nothing is
    proved.
    """
    bench = material.bench(train)
    continuous = material.continuous
    mixed = [
        (problem, own, labels)
        for problem, own in bench.problems()
        if np.ptp(labels := (bench.value if continuous else bench.anchor)[own]) > 0
    ]
    if not mixed:
        reason = "no training problem has two labels"
        return {
            "passed": None,
            "outcome": "not checked",
            "reason": reason,
            "sentence": f"memorisation was not checked: {reason}",
        }
    problem, own, labels = mixed[0]
    x, what = _features(material, train[own])
    about = {"problem": problem, "rows": len(own), "features": what, "columns": x.shape[1]}
    clashing = _clashing(x, labels)
    scores, gradient = (_least_squares if continuous else _logistic)(_reduced(x), labels)
    metric = "r2" if continuous else "pr_auc"
    value = _explained(scores, labels) if continuous else average_precision(labels, scores)
    reached = gradient <= OPTIMUM
    if value is not None and value >= ENOUGH:
        outcome, passed = "memorised", True
    elif clashing:
        outcome, passed = "not separable", None
    elif not reached:
        outcome, passed = "not converged", None
    elif x.shape[1] < len(x) - 1:
        # n rows in general position are separated by n − 1 columns and an intercept, not by fewer.
        outcome, passed = "too few columns", None
    else:
        outcome, passed = "not memorised", False
    return {
        "passed": passed,
        "outcome": outcome,
        **about,
        "metric": metric,
        "value": value,
        "clashing_rows": clashing,
        "gradient": gradient,
        "optimum_reached": reached,
        "sentence": _sentence(outcome, about, metric, value, clashing, gradient),
    }


def _features(material: Material, rows: Rows) -> tuple[Floats, str]:
    """Pooled activations of these rows, or else the TF-IDF of their text, [rows, columns]."""
    data = material.data.take(rows)
    if data.mean is not None:
        return np.asarray(data.mean, dtype=np.float64), "pooled activations"
    from sklearn.feature_extraction.text import TfidfVectorizer

    # Single characters too, so that a sentence without a word of two letters is not nothing.
    words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\S+")
    return np.asarray(words.fit_transform(data.frame["chunk_text"]).toarray()), "words"


def _clashing(x: Floats, labels: Floats) -> int:
    """Rows whose features occur again with another label."""
    same = np.unique(x, axis=0, return_inverse=True)[1].reshape(-1)
    count = 0
    for each in np.unique(same):
        own = labels[same == each]
        if len(own) > 1 and np.ptp(own) > 0:
            count += len(own)
    return count


def _reduced(x: Floats) -> Floats:
    """Standardised rows in the basis of their own span: same optimum, at most as many columns as
    rows."""
    scale = x.std(axis=0)
    centred = (x - x.mean(axis=0)) / np.where(scale > 0, scale, 1.0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    keep = singular > singular.max(initial=0.0) * 1e-10
    return np.asarray(left[:, keep] * singular[keep])


def _logistic(z: Floats, labels: Floats) -> tuple[Floats, float]:
    """Logits at the optimum, and the largest entry of its gradient as a share of that at zero."""
    from scipy.special import expit
    from sklearn.linear_model import LogisticRegression

    if z.shape[1] == 0:
        return np.zeros(len(labels)), 0.0
    model = LogisticRegression(
        C=1 / PENALTY, solver="newton-cholesky", max_iter=1000, tol=1e-8
    ).fit(z, labels.astype(np.int64))
    weights, intercept = model.coef_[0], float(model.intercept_[0])
    logits = z @ weights + intercept

    def gradient(values: Floats, w: Floats) -> float:
        error = expit(values) - labels
        return float(max(np.abs(PENALTY * w + z.T @ error).max(), abs(error.sum())))

    start = gradient(np.zeros(len(labels)), np.zeros_like(weights))
    return np.asarray(logits), _share(gradient(logits, weights), start)


def _least_squares(z: Floats, labels: Floats) -> tuple[Floats, float]:
    """Fitted values of least squares, and the gradient as above."""
    y = labels - labels.mean()
    if z.shape[1] == 0:
        return np.zeros(len(y)), 0.0
    weights = np.linalg.lstsq(z, y, rcond=None)[0]
    fitted = z @ weights
    left, start = (float(np.abs(z.T @ each).max()) for each in (fitted - y, y))
    return np.asarray(fitted), _share(left, start)


def _share(gradient: float, start: float) -> float:
    """The gradient as a share of that at zero; where zero is the optimum itself, as it is."""
    return gradient / start if start > 0 else gradient


def _explained(fitted: Floats, labels: Floats) -> float:
    """Share of the variance of labels that is fitted. Ranks would not do: many labels are tied."""
    around = labels - labels.mean()
    return float(1 - ((around - fitted) ** 2).sum() / (around**2).sum())


def _sentence(
    outcome: str,
    about: dict[str, Any],
    metric: str,
    value: float | None,
    clashing: int,
    gradient: float,
) -> str:
    where = f"problem {about['problem']} ({about['rows']} sentences, {about['features']})"
    got = f"{metric} on its own rows {'none' if value is None else f'{value:.3f}'}"
    if outcome == "not separable":
        return f"{where} is not separable: {clashing} rows repeat with other labels; {got}"
    if outcome == "too few columns":
        return (
            f"{where} has more sentences than the {about['columns']} columns can tell apart for "
            f"certain, so that nothing is proved: {got}"
        )
    if outcome == "not converged":
        return f"{where}: the fit did not reach its optimum (gradient {gradient:.1g}); {got}"
    return f"{where} is {outcome} at an optimum with gradient {gradient:.1g}: {got}"
