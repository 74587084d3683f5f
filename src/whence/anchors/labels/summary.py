"""What `summary.json` says of a table of labels: how many, how many missing and why, which sign."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.anchors.labels.names import ERRORS, IMPORTANCES, SIGNS, Importance

if TYPE_CHECKING:
    import pandas as pd

WHY = "why:"
"""Prefix of the columns that say why an importance is missing, one each."""

ERRORS_BY_ROLLOUTS = (
    "accuracies: difference of two independent binomials, their shares with one right and one "
    "wrong rollout added (Agresti and Caffo 2000); KL: bootstrap over rollouts, each side on its "
    "own, missing where no draw differs from another"
)
NO_ERRORS = "none: how many rollouts are behind a number is not known without the rollouts"


def summarise(frame: pd.DataFrame, importance: Importance | None) -> dict[str, Any]:
    """Counts of the table. importance: None where labels are somebody's own, with no known sign."""
    label = frame["importance_signed"].to_numpy(dtype=float)
    known = label[~np.isnan(label)]
    zeros = int((known == 0).sum())
    causes = frame.get("importance_missing")
    names = [name for name in IMPORTANCES if name in frame.columns]
    return {
        "importance": importance,
        "sign": SIGNS[importance] if importance else "as given",
        "problems": int(frame["problem_id"].nunique()),
        "sentences": len(frame),
        "labelled": int(known.size),
        "missing": {} if causes is None else _counts(causes),
        "zeros": {"count": zeros, "share": zeros / known.size if known.size else None},
        "standard_errors": int(frame["importance_se"].notna().sum()),
        "signs": {name: SIGNS[name] for name in names},
        "importances": {name: _of(frame, name) for name in names},
    }


def _of(frame: pd.DataFrame, name: Importance) -> dict[str, Any]:
    values = frame[name].to_numpy(dtype=float)
    known = values[~np.isnan(values)]
    errors = frame[ERRORS[name]] if ERRORS[name] in frame.columns else None
    causes = frame.get(f"{WHY}{name}")
    return {
        "known": int(known.size),
        "missing": {} if causes is None else _counts(causes),
        "zeros": int((known == 0).sum()),
        "mean_absolute": float(np.abs(known).mean()) if known.size else None,
        "median_standard_error": None
        if errors is None or errors.isna().all()
        else float(errors.median()),
    }


def _counts(causes: pd.Series) -> Mapping[str, int]:
    return {str(name): int(count) for name, count in causes.value_counts().items()}


def without_reasons(frame: pd.DataFrame) -> pd.DataFrame:
    """The table as it is written: the reasons of importances that are not the label are counted."""
    return frame[[name for name in frame.columns if not name.startswith(WHY)]]
