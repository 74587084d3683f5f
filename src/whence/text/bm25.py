"""BM25: how much the words of a text are those of a query (Robertson & Zaragoza 2009).

Computed by bm25s (Lù 2024), Lucene's variant, k1 = 1.5, b = 0.75, no stop words and no stemming.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from whence.errors import BadInput

WORDS = r"(?u)\b\w+\b"


def bm25_scores(texts: Sequence[str], queries: Sequence[str]) -> NDArray[np.float64]:
    """Mean over `queries` of the BM25 score of each text, float64 [texts].

    Every query weighs alike, whatever its length: scores of one query are divided by its highest,
    so that a long query does not outvote the rest. Document frequencies are those of `texts`.

    Raises BadInput where there are no texts or no queries.
    """
    import bm25s

    logging.getLogger("bm25s").setLevel(logging.WARNING)  # importing it sets DEBUG
    if not texts or not queries:
        raise BadInput("BM25 needs texts to rank and queries to rank them by")
    known = bm25s.tokenize(
        list(texts), stopwords=[], token_pattern=WORDS, return_ids=False, show_progress=False
    )
    asked = bm25s.tokenize(
        list(queries), stopwords=[], token_pattern=WORDS, return_ids=False, show_progress=False
    )
    totals = np.zeros(len(texts))
    if not any(known):
        return totals
    index = bm25s.BM25()
    index.index(known, show_progress=False)
    for words in asked:
        here = [word for word in words if word in index.vocab_dict]
        if here:
            scores = np.asarray(index.get_scores(here), dtype=np.float64)
            totals += scores / (scores.max() or 1.0)
    return totals / len(queries)
