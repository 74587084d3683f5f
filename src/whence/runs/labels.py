"""Rows of a ranking told apart: the top of it, and which rows must not be told apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from whence.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd


def top_labels(rows: pd.DataFrame, top_k: int) -> NDArray[np.bool_]:
    """True for the `top_k` rows of best rank, bool [rows].

    Raises BadInput where that is all of them.
    """
    if len(rows) < 2:
        raise BadInput(f"--top-k {top_k}: {len(rows)} row, and some must be left as the rest")
    if not 1 <= top_k < len(rows):
        raise BadInput(
            f"--top-k {top_k}: there are {len(rows)} rows, and some must be left as the rest; "
            f"choose 1 to {len(rows) - 1}"
        )
    return np.asarray(rows["rank"].to_numpy() <= top_k)


def group_keys(rows: pd.DataFrame, fields: Sequence[str]) -> list[str]:
    """What rows that must not be told apart share: these fields, joined; none given: `group_id`.

    Rows without a group_id are each their own group. Raises BadInput for a field that no row has.
    """
    if not fields:
        if "group_id" not in rows.columns:
            return list(rows["row_id"])
        own = rows["group_id"].where(rows["group_id"].notna(), rows["row_id"])
        return [str(group) for group in own]
    for field in fields:
        if field not in rows.columns:
            raise BadInput(
                f"--group-key-fields {field}: the rows have no such field, but "
                f"{', '.join(map(str, rows.columns))}"
            )
    values = rows[list(fields)].astype(object).where(rows[list(fields)].notna(), "(missing)")
    return ["||".join(map(str, each)) for each in values.itertuples(index=False)]
