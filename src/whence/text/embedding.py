"""Sentence embeddings: vectors of texts, by any sentence-transformers model or plain encoder."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from whence.errors import BadInput
from whence.runs.progress import Progress

TFIDF = "tfidf"
BATCH = 256
BLOCK = 4096
"""Texts between two signs of progress; sorted by length within, so that batches are even."""


class Embedder(Protocol):
    """Texts → vectors of length 1 (or 0, for a text without any feature), [texts, dimension]."""

    def __call__(self, texts: Sequence[str]) -> Any: ...


def open_embedder(name: str, device: str = "auto") -> Embedder:
    """name: a sentence-transformers model or any Hugging Face encoder, whose last hidden states are
    averaged over tokens (hub id or folder), `tiny`, or `tfidf`.

    Raises BadInput where the model cannot be loaded.
    """
    if name == TFIDF:
        return tfidf
    from whence.models.hub import files_only

    try:
        with redirect_stderr(StringIO()):
            from sentence_transformers import SentenceTransformer

            model = SentenceTransformer(
                _source(name),
                device=None if device == "auto" else device,
                local_files_only=files_only(name),
            )
            if model.tokenizer.pad_token_id is None:  # decoders come without; padding is masked
                model.tokenizer.pad_token = model.tokenizer.eos_token
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

    Document frequencies are those of `texts`.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    try:
        return vectorizer.fit_transform(texts)
    except ValueError:  # not one n-gram in all of them
        return np.zeros((len(texts), 1))


def embedding_identity(name: str) -> Any:
    """What a record keeps of the model: its files where it is a folder, else its name."""
    source = _source(name)
    return Path(source) if Path(source).is_dir() else source


def _source(name: str) -> str:
    if name == "tiny":
        from whence.models.load import model_source

        return model_source(name)
    return name
