"""How much a head narrows in: the kurtosis of the attention that sentences receive.

    M[i, j]   mean over the tokens of sentence i of the attention that falls on sentence j
    score_j   mean of M[i, j] over the sentences i ≥ j + proximity
    kurtosis  m₄ / m₂² − 3 of the scores of a trace (Fisher), where a later sentence exists

(Bogdan et al. 2025, "Thought Anchors", §5; proximity 4). A head that looks a fixed way back has
uneven scores too, and the kurtosis of few numbers is seldom 0. The control therefore keeps how
attention falls off with distance and forgets which sentence it falls on: for every distance i − j
the values M[i, j] change places among themselves, and the kurtosis is taken again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NUMBERS_AT_ONCE = 1 << 24
"""Entries of matrices that are copied at a time: 128 MB in 64 bits."""
_FLAT = 1e-12
"""Scores whose variance is below this share of their mean square do not differ."""


def received(matrices: NDArray[np.floating], proximity: int) -> Floats:
    """score_j [..., sentences − proximity] of matrices [..., sentence i, sentence j]."""
    count = matrices.shape[-1]
    behind = np.tri(count, count, -proximity)  # 1 where i ≥ j + proximity
    scored = count - proximity
    sums = np.einsum("...ij,ij->...j", matrices, behind)[..., :scored]
    return np.asarray(sums / behind.sum(axis=0)[:scored])


def kurtosis(scores: Floats) -> Floats:
    """Fisher's kurtosis over the last axis, [...]; NaN where the scores do not differ."""
    mean = scores.mean(axis=-1, keepdims=True)
    away = scores - mean
    second = (away**2).mean(axis=-1)
    flat = second <= _FLAT * (scores**2).mean(axis=-1)
    fourth = (away**4).mean(axis=-1)
    return np.where(flat, np.nan, fourth / np.where(flat, 1, second) ** 2 - 3)


def by_distance_alone(
    matrices: NDArray[np.floating], proximity: int, draws: int, rng: np.random.Generator
) -> Floats:
    """Mean kurtosis [...] over `draws` in which each distance's values changed places.

    Heads of one trace change places alike, and are taken a few at a time: a copy of all of them, in
    64 bits, is four times what there was. NaN where all draws are.
    """
    count = matrices.shape[-1]
    flat = matrices.reshape(-1, count * count)
    at_once = max(1, NUMBERS_AT_ONCE // (count * count))
    found = []
    for _ in range(draws):
        source = np.arange(count * count).reshape(count, count)
        for distance in range(proximity, count):
            later = np.arange(distance, count)
            drawn = rng.permutation(later)
            source[later, later - distance] = drawn * count + drawn - distance
        some = (flat[at : at + at_once] for at in range(0, len(flat), at_once))
        drawn_scores = [received(each[:, source], proximity) for each in some]
        found.append(kurtosis(np.concatenate(drawn_scores)))
    return mean_of_known(np.stack(found)).reshape(matrices.shape[:-2])


def mean_of_known(values: Floats) -> Floats:
    """Mean over the first axis of what is not NaN; NaN where nothing is left."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def split_half(values: Floats, rng: np.random.Generator, draws: int) -> float | None:
    """Mean Spearman correlation, over heads, of the mean kurtoses of two halves of the traces.

    values: [traces, heads]. None under four traces or three heads that have values in both halves.
    """
    from scipy.stats import spearmanr

    if len(values) < 4:
        return None
    found = []
    for _ in range(draws):
        order = rng.permutation(len(values))
        halves = [mean_of_known(values[part]) for part in np.array_split(order, 2)]
        both = np.isfinite(halves[0]) & np.isfinite(halves[1])
        if both.sum() >= 3:
            value = float(spearmanr(halves[0][both], halves[1][both]).statistic)
            found += [value] if np.isfinite(value) else []
    return float(np.mean(found)) if found else None
