"""From features to columns, and from the weights of columns back to one weight a feature.

A layer's columns are its ten statistics and its activation means A, which are projected first where
they are many: A R with R Gaussian, entries N(0, 1/dim), so that distances between rows are kept in
expectation (Johnson & Lindenstrauss 1984). Projection, standardisation and ridge are all linear, so
what was fitted is one weight for each feature and each statistic, and an intercept:

    A R v + S u = A (R v) + S u
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from whence.sae.predict.features import Features
from whence.sae.predict.ridge import Columns, Floats
from whence.sae.sample_stats import SAMPLE_STATS

if TYPE_CHECKING:
    from scipy.sparse import csr_array

STATS = len(SAMPLE_STATS)
AT_ONCE = 64
"""Projected columns in float64 at once."""


@dataclass(frozen=True)
class Design:
    """columns: per layer its statistics, then its (projected) activation means.

    projections: per layer R, float32 [d_sae, dim], or None where the features are columns
    themselves. widths: per layer its features' columns.
    """

    columns: Columns
    projections: tuple[NDArray[np.float32] | None, ...]
    widths: tuple[int, ...]


def make_design(layers: Sequence[Features], dim: int, seed: int) -> Design:
    """dim: columns to project each layer's activation means to; 0 or at least d_sae: not."""
    parts: list[NDArray[np.float64] | csr_array] = []
    projections: list[NDArray[np.float32] | None] = []
    for number, layer in enumerate(layers):
        projection = None
        if 0 < dim < layer.d_sae:
            projection = random_projection(layer.d_sae, dim, (seed, number))
        projections.append(projection)
        seen = layer.active if projection is None else _projected(layer.active, projection)
        parts += [layer.stats, seen]
    return Design(Columns(parts), tuple(projections), tuple(int(p.shape[1]) for p in parts[1::2]))


def random_projection(d_sae: int, dim: int, seed: tuple[int, int]) -> NDArray[np.float32]:
    """Gaussian [d_sae, dim], entries of variance 1/dim; seed: (that of the run, layer's number)."""
    drawn = np.random.default_rng(seed).standard_normal((d_sae, dim), dtype=np.float32)
    return drawn / np.float32(np.sqrt(dim))


def unfold(design: Design, weights: Floats) -> list[tuple[Floats, Floats]]:
    """Per layer (weight of each feature [d_sae], weight of each statistic [10])."""
    found, start = [], 0
    for projection, width in zip(design.projections, design.widths, strict=True):
        of_stats = weights[start : start + STATS]
        of_columns = weights[start + STATS : start + STATS + width]
        start += STATS + width
        of_features = of_columns if projection is None else _times(projection, of_columns)
        found.append((of_features.copy(), of_stats.copy()))
    return found


def _projected(active: csr_array, projection: NDArray[np.float32]) -> Floats:
    # Sums in float64, although R is kept in float32: it would be as large as the arrays on disk.
    exact = active.astype(np.float64)
    slices = [
        exact @ projection[:, at : at + AT_ONCE].astype(np.float64)
        for at in range(0, projection.shape[1], AT_ONCE)
    ]
    return np.concatenate(slices, axis=1)


def _times(projection: NDArray[np.float32], weights: Floats) -> Floats:
    total = np.zeros(len(projection))
    for at in range(0, len(weights), AT_ONCE):
        of = slice(at, at + AT_ONCE)
        total += projection[:, of].astype(np.float64) @ weights[of]
    return total
