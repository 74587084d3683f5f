"""Whether a resampled sentence still says what the old one said: cosine of two embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whence.anchors.rollouts.rollout import Rollout
from whence.text.embedding import Embedder


def similarities(
    rollouts: Iterable[Sequence[Rollout]], embed: Embedder
) -> list[NDArray[np.float64]]:
    """Cosine of the removed and the resampled sentence of every rollout, a list a sentence.

    Every text is embedded once. NaN where a rollout lacks one of the two. A vector of length 0 is
    like its own text and like nothing else.
    """
    pairs = [[(each.removed, each.resampled) for each in own] for own in rollouts]
    texts = sorted({text for own in pairs for pair in own for text in pair if text is not None})
    place = {text: row for row, text in enumerate(texts)}
    vectors = embed(texts) if texts else None
    return [_cosines(own, place, vectors) for own in pairs]


def _cosines(
    pairs: Sequence[tuple[str | None, str | None]], place: dict[str, int], vectors: Any
) -> NDArray[np.float64]:
    found = np.full(len(pairs), np.nan)
    both = [n for n, (old, new) in enumerate(pairs) if old is not None and new is not None]
    if both:
        old = vectors[[place[str(pairs[n][0])] for n in both]]
        new = vectors[[place[str(pairs[n][1])] for n in both]]
        product = old.multiply(new) if hasattr(old, "multiply") else old * new
        found[both] = np.asarray(product.sum(axis=1), dtype=np.float64).ravel()
        same = [n for n in both if pairs[n][0] == pairs[n][1]]
        found[same] = 1.0
    return found
