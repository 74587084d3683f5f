"""How well scores order the sentences of one trace, or of several pooled.

    pr_auc             average precision: Σ (R_i − R_{i−1}) P_i over distinct scores, best first
    pr_auc_trapezoid   area under the same points joined by straight lines, from precision 1 at
                       recall 0: what the earlier study called PR-AUC; optimistic where scores are
                       few (Davis & Goadrich 2006)
    spearman           rank correlation with the importance
    top_k_recall       |top k by importance ∩ top k by score| / min(k, n); ties: the first rows win

A metric that does not exist (one class only, constant scores) is None, never 0 and never NaN.
Many shufflings of labels are judged at once here, which is why nothing calls scikit-learn row by
row; `tests/anchors` holds every definition against it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from whence.anchors.probes.data import Floats

ECE_BINS = 10


def average_precision(labels: Floats, scores: Floats) -> float | None:
    """labels: 0/1, [rows]. None where only one class occurs."""
    if not _both_classes(labels):
        return None
    return float(average_precisions(labels[None], scores)[0])


def average_precisions(labels: Floats, scores: Floats) -> Floats:
    """The same for many labellings at once: labels [draws, rows] with both classes in each."""
    precision, recall = _curve(labels, scores)
    return np.asarray((np.diff(recall, axis=1, prepend=0.0) * precision).sum(axis=1))


def trapezoid(labels: Floats, scores: Floats) -> float | None:
    """pr_auc_trapezoid; None where only one class occurs."""
    if not _both_classes(labels):
        return None
    precision, recall = (points[0] for points in _curve(labels[None], scores))
    steps = np.diff(recall, prepend=0.0)
    return float((steps * (precision + np.append(1.0, precision[:-1]))).sum() / 2)


def chance_average_precision(rows: int, positives: int) -> float:
    """Mean average precision of a random order: what no information gives, above the prevalence.

    A positive at rank i has (i − 1)(P − 1)/(n − 1) others before it in the mean, hence
    (H_n + (n − H_n)(P − 1)/(n − 1)) / n with the harmonic number H_n.
    """
    harmonic = float((1 / np.arange(1, rows + 1)).sum())
    others = (positives - 1) / (rows - 1) if rows > 1 else 0.0
    return (harmonic + (rows - harmonic) * others) / rows


def spearman(scores: Floats, values: Floats) -> float | None:
    """Rank correlation; None for fewer than two rows, or where either side is constant."""
    if len(scores) < 2 or np.ptp(scores) == 0 or np.ptp(values) == 0:
        return None
    return float(spearmans(scores, values[None])[0])


def spearmans(scores: Floats, values: Floats) -> Floats:
    """The same against many: values [draws, rows]; neither side constant."""
    from scipy.stats import rankdata

    ranks = rankdata(scores)
    others = rankdata(values, axis=1)
    ranks = ranks - ranks.mean()
    others = others - others.mean(axis=1, keepdims=True)
    norms = np.sqrt((ranks**2).sum() * (others**2).sum(axis=1))
    return np.asarray((others * ranks).sum(axis=1) / norms)


def top_k_recall(scores: Floats, values: Floats, k: int) -> float | None:
    """Share of the k most important rows that are among the k highest scores; None for no rows."""
    if len(scores) == 0:
        return None
    wanted, found = (set(np.argsort(-each, kind="stable")[:k]) for each in (values, scores))
    return len(wanted & found) / min(k, len(scores))


def calibration(labels: Floats, scores: Floats, bins: int = ECE_BINS) -> dict[str, object]:
    """Whether scores read as probabilities come true.

    brier: mean squared error; brier_prevalence: of the prevalence said for every row. ece: mean gap
    between score and share of anchors over equally wide bins, by rows (Naeini et al. 2015). bins:
    those that hold rows.
    """
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.digitize(scores, edges[1:-1]), 0, bins - 1)
    rows = []
    gap = 0.0
    for index in range(bins):
        inside = place == index
        if not inside.any():
            continue
        said, true = float(scores[inside].mean()), float(labels[inside].mean())
        gap += inside.mean() * abs(said - true)
        rows.append(
            {
                "left": float(edges[index]),
                "right": float(edges[index + 1]),
                "count": int(inside.sum()),
                "mean_score": said,
                "prevalence": true,
            }
        )
    prevalence = float(labels.mean())
    return {
        "brier": float(np.mean((scores - labels) ** 2)),
        "brier_prevalence": prevalence * (1 - prevalence),
        "ece": float(gap),
        "bins": rows,
    }


def position_bins(
    position: Floats, labels: Floats, scores: Floats, bins: int
) -> list[dict[str, float | int | None]]:
    """PR-AUC within equal stretches of the trace, so that position cannot stand in for content.

    position: 0 to 1, [rows]. Stretches hold their left end; the last holds both.
    """
    edges = np.linspace(0, 1, bins + 1)
    rows: list[dict[str, float | int | None]] = []
    for index in range(bins):
        last = index == bins - 1
        above = position >= edges[index]
        inside = above & ((position <= edges[-1]) if last else (position < edges[index + 1]))
        rows.append(
            {
                "left": float(edges[index]),
                "right": float(edges[index + 1]),
                "count": int(inside.sum()),
                "prevalence": float(labels[inside].mean()) if inside.any() else None,
                "pr_auc": average_precision(labels[inside], scores[inside]),
                "pr_auc_trapezoid": trapezoid(labels[inside], scores[inside]),
            }
        )
    return rows


def _both_classes(labels: Floats) -> bool:
    return bool(len(labels)) and 0 < labels.sum() < len(labels)


def _curve(labels: Floats, scores: Floats) -> tuple[Floats, Floats]:
    """Precision and recall [draws, distinct scores] at every distinct score, highest first."""
    order = np.argsort(-scores, kind="stable")
    last = _ends_of_ties(scores[order])
    positives = np.cumsum(labels[:, order], axis=1)[:, last]
    return positives / (last + 1), positives / positives[:, -1:]


def _ends_of_ties(ordered: Floats) -> NDArray[np.int64]:
    """Index of the last row of every run of equal scores."""
    return np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1).astype(np.int64)
