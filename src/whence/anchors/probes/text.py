"""What a sentence's words alone say: TF-IDF of words and pairs of words, and a linear model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from whence.anchors.probes.data import Floats, Labels, ProbeData
from whence.anchors.probes.inner import Choice, Fold, check_labels
from whence.anchors.probes.linear import FEW, chosen_penalty, final_fit, fold_scores, link
from whence.anchors.probes.probe import Fitted, Fitting, Probe, Reads, State, finite
from whence.errors import BadInput

MOST_TERMS = 10_000


class TextFitted(Fitted):
    """terms: words and pairs of words, in the order of weights [terms]. idf: [terms]."""

    def __init__(
        self,
        terms: Sequence[str],
        idf: Floats,
        weights: Floats,
        intercept: float,
        logistic: bool,
        notes: Mapping[str, Any],
    ) -> None:
        self.terms, self.idf, self.weights = list(terms), idf, weights
        self.intercept, self.logistic, self.notes = intercept, logistic, dict(notes)
        self._vectorizer = rebuilt_vectorizer(self.terms, idf)

    def score(self, data: ProbeData) -> Floats:
        rows = self._vectorizer.transform(data.frame["chunk_text"].tolist())
        values = np.asarray(rows @ self.weights) + self.intercept
        return finite(link(values, self.logistic), TextOnly.name)

    def state(self) -> State:
        return (
            {"idf": self.idf, "weights": self.weights, "intercept": np.array([self.intercept])},
            {"terms": self.terms, "logistic": self.logistic, "notes": dict(self.notes)},
        )

    @classmethod
    def from_state(cls, state: State) -> Self:
        arrays, settings = state
        return cls(
            settings["terms"],
            arrays["idf"],
            arrays["weights"],
            float(arrays["intercept"][0]),
            settings["logistic"],
            settings["notes"],
        )


class TextOnly(Probe):
    """No feature scaling: the earlier study had none here.

    Under `fixed` the 10,000 most frequent terms, as there. scikit-learn breaks ties at that cut in
    an order that depends on the platform, so otherwise terms are those of two sentences or more.
    """

    name = "text_only_baseline"
    reads: ClassVar[frozenset[Reads]] = frozenset({"text"})
    baseline = True
    fitted = TextFitted

    def fit(self, data: ProbeData, labels: Labels, fitting: Fitting) -> TextFitted:
        check_labels(labels, self.name)
        texts = data.frame["chunk_text"].to_numpy(dtype=object)

        def score(folds: list[Fold], penalties: Sequence[float]) -> Floats:
            scores = np.full((len(penalties), len(texts)), np.nan)
            for train, held in folds:
                both = np.concatenate([train, held])
                words = fitted_vectorizer(texts[train], fixed=False).transform(texts[both])
                ends = (np.arange(len(train)), np.arange(len(train), len(both)))
                own = fold_scores(words, labels.take(both), [ends], penalties)
                scores[:, held] = own[:, ends[1]]
            return scores

        choice = Choice(None, {"fixed": True})
        if not fitting.fixed:
            # Rows of TF-IDF have length 1, so Σ x² is their number.
            penalties = [share * len(texts) for share in FEW]
            choice = chosen_penalty(penalties, labels, data.groups, score)
        vectorizer = fitted_vectorizer(texts, fixed=fitting.fixed)
        weights, intercept, notes = final_fit(vectorizer.transform(texts), labels, choice)
        return TextFitted(
            vectorizer.get_feature_names_out().tolist(),
            np.asarray(vectorizer.idf_, dtype=np.float64),
            weights,
            intercept,
            not labels.continuous,
            notes,
        )


def fitted_vectorizer(texts: Sequence[str], *, fixed: bool) -> Any:
    """TF-IDF of single words and pairs, fitted on `texts`.

    Where no term stands in two sentences, all terms are taken. Raises BadInput where there is no
    word at all.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    ways: list[dict[str, Any]] = [{"min_df": 2}, {"min_df": 1}]
    if fixed:
        ways = [{"min_df": 1, "max_features": MOST_TERMS}]
    for way in ways:
        try:
            return TfidfVectorizer(ngram_range=(1, 2), **way).fit(texts)
        except ValueError:
            continue
    raise BadInput(
        f"{TextOnly.name}: no word of two letters or more in {len(texts)} training sentences"
    )


def rebuilt_vectorizer(terms: Sequence[str], idf: Floats) -> Any:
    """The vectorizer that `terms` and `idf` [terms] came from."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vocabulary = {term: index for index, term in enumerate(terms)}
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), vocabulary=vocabulary)
    vectorizer.idf_ = np.asarray(idf, dtype=np.float64)
    return vectorizer
