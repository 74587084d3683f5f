"""What can be known without SAE features: each baseline fitted on the same training rows.

A baseline is a few columns of numbers and the same ridge, its penalty chosen in the same inner
folds. One that cannot run says why, and is listed with the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whence.runs.manifest import load_manifest, read_split
from whence.runs.progress import Progress
from whence.sae.predict.fitting import FOLDS, fit
from whence.sae.predict.material import Material, row_texts
from whence.sae.predict.ridge import Columns, Ridge
from whence.sae.predict.settings import PredictConfig
from whence.text.bm25 import bm25_scores
from whence.text.embedding import TFIDF, open_embedder

TFIDF_DIMENSIONS = 512
ALL_WORD_PARTS = 2_000
"""Rows up to which the ridge sees TF-IDF whole."""
NO_TEXTS = "the examples have no prompt and completion; extract again"


@dataclass(frozen=True)
class Baseline:
    """name, what: in words. predicted: the target of every row [rows], or None with the reason."""

    name: str
    what: str
    predicted: NDArray[np.float64] | None = None
    l2: float | None = None
    reason: str | None = None


def run_baselines(config: PredictConfig, material: Material, work: Path) -> list[Baseline]:
    """Every baseline there is, in the order of a table. work: a folder for what may be resumed."""
    runners: list[Callable[[], Baseline]] = [
        lambda: _mean(material),
        lambda: _length(material),
        lambda: _loss(material),
        lambda: _bm25(config, material),
        lambda: _embedding(config, material),
        lambda: _text_encoder(config, material, work),
        lambda: _stats_only(material),
    ]
    found = []
    with Progress("baselines", len(runners), "baselines") as progress:
        for runner in runners:
            found.append(runner())
            progress.advance()
    return found


def _mean(material: Material) -> Baseline:
    mean = material.target[~material.test].mean()
    return Baseline("mean", "mean of the training rows", np.full(len(material.target), mean))


def _length(material: Material) -> Baseline:
    tokens = material.lengths.astype(np.float64)
    columns = np.stack([np.log1p(tokens), tokens], axis=1)
    return _fitted("length", "tokens and their logarithm", columns, material)


def _loss(material: Material) -> Baseline:
    what = "loss of the model on the row"
    if "loss" not in material.rows.columns:
        return Baseline("loss", what, reason="the scores have no loss")
    loss = material.rows["loss"].to_numpy(dtype=np.float64)
    missing = int((~np.isfinite(loss)).sum())
    if missing:
        return Baseline("loss", what, reason=f"the scores have no loss of {missing} rows")
    return _fitted("loss", what, loss[:, None], material)


def _bm25(config: PredictConfig, material: Material) -> Baseline:
    texts = row_texts(material.rows)
    if config.manifest is not None:
        what = f"BM25 by the texts of the queries ({config.query_split})"
        if texts is None:
            return Baseline("bm25", what, reason=NO_TEXTS)
        queries = row_texts(read_split(load_manifest(config.manifest), config.query_split))
        assert queries is not None  # a split is read only where every row has both
        return _fitted("bm25", what, bm25_scores(texts, queries)[:, None], material)
    what = "BM25 by the texts of the top training rows"
    if texts is None:
        return Baseline("bm25", what, reason=NO_TEXTS)
    return _fitted("bm25", what, _bm25_by_top(texts, material)[:, None], material)


def _bm25_by_top(texts: list[str], material: Material) -> NDArray[np.float64]:
    """BM25 by the best training rows, as many as the training rows' share of the top k.

    A row that is itself a query matches itself. So the training rows of an inner fold are scored by
    the top rows of the others, and held-out rows by all of them.
    """
    train = material.train_rows
    k = max(1, round(material.top_k * len(train) / len(material.target)))
    top = train[np.argsort(material.rows["rank"].to_numpy()[train])[:k]]
    fold = np.full(len(texts), FOLDS, dtype=np.int64)
    fold[train] = material.folds.inner(train)
    found = np.zeros(len(texts))
    for number in np.unique(fold):
        queries = [texts[row] for row in top if fold[row] != number]
        if queries:
            found[fold == number] = bm25_scores(texts, queries)[fold == number]
    return found


def _embedding(config: PredictConfig, material: Material) -> Baseline:
    name = config.embedding_model
    what = f"ridge on sentence embeddings{f' ({name})' if name else ''}"
    if name is None:
        return Baseline("embedding", what, reason="--embedding-model none")
    texts = row_texts(material.rows)
    if texts is None:
        return Baseline("embedding", what, reason=NO_TEXTS)
    vectors = open_embedder(name, config.device)(texts)
    if name == TFIDF:
        vectors = _fewer(vectors, config.seed)
    return _fitted("embedding", what, vectors, material, scale=False)


def _fewer(vectors: Any, seed: int) -> Any:
    """TF-IDF as it is, or its largest singular directions where there are many rows: a ridge in
    every word part takes time that grows with the cube of the rows (latent semantic analysis)."""
    from sklearn.decomposition import TruncatedSVD

    if vectors.shape[0] <= ALL_WORD_PARTS or vectors.shape[1] <= TFIDF_DIMENSIONS:
        return vectors
    return TruncatedSVD(TFIDF_DIMENSIONS, n_iter=2, random_state=seed).fit_transform(vectors)


def _text_encoder(config: PredictConfig, material: Material, work: Path) -> Baseline:
    name = config.text_encoder
    if name is None:
        return Baseline("text_encoder", "finetuned text encoder", reason="no --text-encoder given")
    what = f"finetuned text encoder ({name})"
    texts = row_texts(material.rows)
    if texts is None:
        return Baseline("text_encoder", what, reason=NO_TEXTS)
    from whence.text.encoder import EncoderSettings, fine_tune

    settings = EncoderSettings(seed=config.seed, device=config.device)
    predicted = fine_tune(
        name,
        texts,
        material.target,
        ~material.test,
        task="regression",
        settings=settings,
        work=work / "text_encoder",
    )
    return Baseline("text_encoder", what, predicted)


def _stats_only(material: Material) -> Baseline:
    columns = Columns([layer.stats for layer in material.layers])
    return _with_ridge("stats_only", "the ten statistics without the features", columns, material)


def _fitted(
    name: str, what: str, columns: Any, material: Material, *, scale: bool = True
) -> Baseline:
    return _with_ridge(name, what, Columns([columns]), material, scale=scale)


def _with_ridge(
    name: str, what: str, columns: Columns, material: Material, *, scale: bool = True
) -> Baseline:
    train = material.train_rows
    ridge: Ridge = fit(columns, material.target, train, material.folds, scale=scale)
    return Baseline(name, what, ridge.predict(columns), ridge.l2)
