"""Whether a resampled sentence still says what the old one said: cosine of two embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from whence.anchors.labels.settings import TFIDF
from whence.anchors.rollouts.rollout import Rollout
from whence.errors import BadInput
from whence.runs.progress import Progress

BATCH = 256
BLOCK = 4096
"""Texts between two signs of progress; sorted by length within, so that batches are even."""


class Embedder(Protocol):
    """Texts → vectors of length 1 (or 0, for a text without any feature), [texts, dimension]."""

    def __call__(self, texts: Sequence[str]) -> Any: ...


def open_embedder(name: str, device: str = "auto") -> Embedder:
    """name: a sentence-transformers model (hub id or folder), or `tfidf`.

    Raises BadInput where the model cannot be loaded.
    """
    if name == TFIDF:
        return tfidf
    from whence.models.hub import files_only

    try:
        with redirect_stderr(StringIO()):
            from sentence_transformers import SentenceTransformer

            model = SentenceTransformer(
                name,
                device=None if device == "auto" else device,
                local_files_only=files_only(name),
            )
    except Exception as error:  # it raises what Transformers, the hub client and torch raise
        line = next((part.strip() for part in str(error).splitlines() if part.strip()), "")
        raise BadInput(
            f"--embedding-model {name}: cannot be loaded ({line[:160] or type(error).__name__}); "
            f"give a folder or a model that `hf download` has fetched, or {TFIDF}, which is built "
            "in but draws the line elsewhere"
        ) from error

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        blocks = []
        with Progress("embedding", len(texts), "texts") as progress:
            for start in range(0, len(texts), BLOCK):
                block = list(texts[start : start + BLOCK])
                blocks.append(
                    model.encode(
                        block,
                        batch_size=BATCH,
                        show_progress_bar=False,
                        normalize_embeddings=True,
                    )
                )
                progress.advance(len(block))
        return np.concatenate(blocks)

    return encode


def tfidf(texts: Sequence[str]) -> Any:
    """TF-IDF of the character 2- to 4-grams within words, sparse; deterministic, nothing to load.

    Document frequencies are those of `texts`: the sentences of one problem.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    try:
        return vectorizer.fit_transform(texts)
    except ValueError:  # not one n-gram in all of them
        return np.zeros((len(texts), 1))


def embedding_identity(name: str) -> Any:
    """What a record keeps of the model: its files where it is a folder, else its name."""
    return Path(name) if Path(name).is_dir() else name


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
