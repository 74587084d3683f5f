"""What a ranking leans on: its coverage and spread, length and loss, and who is at its top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

TOP_SIZES = (50, 100, 200)
MOST_VALUES = 50
"""Distinct values up to which a column is counted; text with more is free text or an id."""

FEW_NUMBERS = 10
"""Distinct numbers up to which they are labels to count (turns, a flag), not a measure."""

NOT_METADATA = frozenset({"row_id", "prompt", "completion", "group_id"})


def score_statistics(scores: np.ndarray) -> dict[str, float]:
    """Mean, standard deviation (n − 1) and quantiles of finite scores [rows]."""
    import numpy as np

    values = scores.astype(np.float64)
    quantiles = {"min": 0.0, "p05": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95}
    return {
        "mean": float(values.mean()),
        "std": float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        **{name: float(np.quantile(values, at)) for name, at in {**quantiles, "max": 1.0}.items()},
        "share_above_zero": float((values > 0).mean()),
    }


def correlations(scored: pd.DataFrame) -> dict[str, dict[str, float | None]]:
    """Pearson and Spearman of the score with length and loss; null where one of them is constant.

    A ranking that is length or loss in disguise shows here.
    """
    from scipy.stats import pearsonr, spearmanr

    found: dict[str, dict[str, float | None]] = {}
    for column in ("length_tokens", "supervised_tokens", "loss"):
        varies = scored[column].nunique() > 1 and scored["score"].nunique() > 1
        found[column] = {
            name: float(statistic(scored["score"], scored[column]).statistic) if varies else None
            for name, statistic in (("pearson", pearsonr), ("spearman", spearmanr))
        }
    return found


def composition(ranked: pd.DataFrame, sizes: Sequence[int] = TOP_SIZES) -> dict[str, Any]:
    """What the first k rows of a pool, ordered best first, hold compared with all of it.

    Per k and metadata column: for one with few values, rows and share of each value at the top and
    its share in the pool; for numbers, mean and median at the top and in the pool. Columns of many
    texts are left out, and so is a k that is the whole pool or more.
    """
    columns = {
        name: ranked[name]
        for name in ranked.columns
        if name not in NOT_METADATA and _kind(ranked[name]) is not None
    }
    return {
        str(k): {name: _describe(column, k) for name, column in columns.items()}
        for k in sizes
        if k < len(ranked)
    }


def _describe(column: pd.Series, k: int) -> Mapping[str, Any]:
    if _kind(column) == "number":
        return {
            "top": {"mean": _mean(column[:k]), "median": _median(column[:k])},
            "pool": {"mean": _mean(column), "median": _median(column)},
        }
    values = column.astype("string").fillna("(missing)")
    top, pool = values[:k].value_counts(), values.value_counts()
    return {
        str(value): {
            "rows": int(top.get(value, 0)),
            "share": int(top.get(value, 0)) / k,
            "pool_share": int(pool[value]) / len(values),
        }
        for value in sorted(pool.index)
    }


def _kind(column: pd.Series) -> str | None:
    import pandas as pd

    if pd.api.types.is_bool_dtype(column):
        return "value"
    if pd.api.types.is_numeric_dtype(column):
        return "number" if column.nunique() > FEW_NUMBERS else "value"
    if not column.dropna().map(lambda value: isinstance(value, str | bool)).all():
        return None
    return "value" if column.nunique() <= MOST_VALUES else None


def _mean(column: pd.Series) -> float | None:
    known = column.dropna()
    return float(known.mean()) if len(known) else None


def _median(column: pd.Series) -> float | None:
    known = column.dropna()
    return float(known.median()) if len(known) else None
