"""How well scores tell the top from the rest on held-out rows, beside what less would do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whence.data.classify.material import Material
from whence.stats import Interval, overlap_at_k
from whence.stats.whole import Statistic, auc, statistic_differences, statistic_interval, value_of

ENCODER = "encoder"

Scores = NDArray[np.float64]


def judge(values: Scores, material: Material) -> dict[str, Any]:
    """What `summary.json` says of the encoder's `values` [rows] and of the baselines.

    Intervals come from resampling whole groups of held-out rows; all methods share the draws.
    """
    test, labels = material.test, material.labels
    groups = np.asarray(material.groups, dtype=str)[test]
    tried, reasons = baselines(material)
    methods = {ENCODER: values, **tried}
    statistics = {name: auc(scores[test], labels[test]) for name, scores in methods.items()}
    found = {name: _measured(each, groups) for name, each in statistics.items()}
    pairs = [(ENCODER, name) for name in tried]
    compared = statistic_differences(statistics, pairs, "AUC", int(test.sum()), groups)
    return {
        **found[ENCODER],
        "train_auc": value_of(auc(values[~test], labels[~test]), int((~test).sum())),
        "topk_overlap_with_target": {
            **_overlap(values, material, np.ones(len(test), dtype=bool)),
            "in_sample": True,
            "note": f"{int((~test).sum())} of these {len(test)} rows were trained on",
        },
        "topk_overlap_test": {**_overlap(values, material, test), "in_sample": False},
        "baselines": {
            **{name: {"what": WHAT[name], **found[name]} for name in tried},
            **{name: {"what": WHAT[name], "test_auc": None, "reason": why}
               for name, why in reasons.items()},
        },
        "comparisons": [comparison.to_dict() for comparison in compared],
    }  # fmt: skip


WHAT = {
    "length": "logistic regression on the row's length",
    "loss": "logistic regression on the model's loss on the row",
    "tfidf": "logistic regression on TF-IDF of words and pairs of words",
}


def baselines(material: Material) -> tuple[dict[str, Scores], dict[str, str]]:
    """Scores of all rows by what is fitted on the training rows alone; and why one is missing."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    found, reasons = {}, {}
    rows, train = material.rows, ~material.test
    found["length"] = _logistic(rows["length"].to_numpy(dtype=np.float64)[:, None], material)
    if "loss" not in rows.columns:
        reasons["loss"] = "the scores have no loss"
    elif not np.isfinite(loss := rows["loss"].to_numpy(dtype=np.float64)).all():
        reasons["loss"] = f"the scores have no loss of {int((~np.isfinite(loss)).sum())} rows"
    else:
        found["loss"] = _logistic(loss[:, None], material)
    texts = material.texts
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    try:
        words.fit([text for text, fitted in zip(texts, train, strict=True) if fitted])
        found["tfidf"] = _logistic(words.transform(texts), material, scale=False)
    except ValueError:  # not one word in all of them
        reasons["tfidf"] = "the training rows have no words"
    return found, reasons


def _logistic(columns: Any, material: Material, *, scale: bool = True) -> Scores:
    """Decision values of every row, both classes weighing alike."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    train = np.flatnonzero(~material.test)
    if scale:
        columns = StandardScaler().fit(columns[train]).transform(columns)
    model = LogisticRegression(class_weight="balanced", max_iter=1000)
    model.fit(columns[train], material.labels[train])
    return np.asarray(model.decision_function(columns), dtype=np.float64)


def _measured(statistic: Statistic, groups: NDArray[np.str_]) -> dict[str, Any]:
    """The AUC of held-out rows, its interval, and why there is none."""
    got = statistic_interval(statistic, len(groups), groups)
    found = got if isinstance(got, Interval) else None
    return {
        "test_auc": value_of(statistic, len(groups)),
        "test_auc_interval": found and [found.low, found.high],
        "interval_method": found and found.method,
        "reason": None if isinstance(got, Interval) else got.reason,
    }


def _overlap(values: Scores, material: Material, rows: NDArray[np.bool_]) -> Mapping[str, Any]:
    """Of the k highest values, those that are labelled; k is the labelled rows among `rows`."""
    k = int(material.labels[rows].sum())
    found = overlap_at_k(values[rows], material.labels[rows].astype(np.float64), k)
    share = found.value or 0.0
    count = round(share * k, 9)  # rows tied at the k-th place count by the share that fits
    return {
        "k": k,
        "overlap_count": int(count) if count == int(count) else count,
        "overlap_fraction": share,
        "chance": found.chance,
        "rows": int(rows.sum()),
    }
