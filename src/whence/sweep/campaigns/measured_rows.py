"""The table that every reader of finished runs gives: one number a row, and what it is of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.errors import BadInput
from whence.runs.validation import nearest

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "series", "baseline", "part", "unit", "seed", "value", "metric", "higher_is_better", "question",
)  # fmt: skip
"""As `Campaign.measured` has them. question: numbers of different questions are never ranked
together (another target, another corpus, another share of positives); empty where there is one."""

NO_SEED = -1
"""The seed of what no seed changes."""


def measured_rows(
    *,
    series: Any,
    unit: Any,
    value: Any,
    metric: str,
    higher_is_better: bool,
    baseline: Any = False,
    part: Any = "",
    seed: Any = NO_SEED,
    question: Any = "",
) -> pd.DataFrame:
    """The table, from columns or single values; rows whose value is missing are left out.

    Raises BadInput for a value that is infinite, and for two values of one series, part, unit and
    seed.
    """
    import pandas as pd

    values = np.asarray(value, dtype=np.float64).reshape(-1)
    frame = pd.DataFrame({"value": values}).assign(
        series=series,
        baseline=baseline,
        part=part,
        unit=unit,
        seed=seed,
        metric=metric,
        higher_is_better=higher_is_better,
        question=question,
    )[list(COLUMNS)]
    frame = frame[frame["value"].notna()].reset_index(drop=True)
    for name in ("series", "part", "unit", "question"):
        frame[name] = frame[name].astype(str)
    frame["seed"] = frame["seed"].astype(np.int64)
    frame["baseline"] = frame["baseline"].astype(bool)
    if np.isinf(frame["value"]).any():
        first = frame[np.isinf(frame["value"])].iloc[0]
        raise BadInput(f"{metric} of {first['series']}, unit {first['unit']}, is infinite")
    double = frame.duplicated(["question", "series", "part", "unit", "seed"])
    if double.any():
        first = frame[double].iloc[0]
        raise BadInput(
            f"{metric} of {first['series']}, unit {first['unit']}, seed {first['seed']}, is there "
            "twice; name the columns that tell the rows apart (rank.by, rank.seed, rank.where)"
        )
    return frame


def need_columns(path: Path, there: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise BadInput naming the first column that is absent, and the nearest there is."""
    for name in wanted:
        if name not in there:
            raise BadInput(f"{path}: no column {name}{nearest(name, list(there))}")
