"""Who is compared with whom: the top rows, the rows held out, the folds, the groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from whence.errors import BadInput
from whence.sae.scored import group_keys, scored_rows, top_labels
from whence.sae.store import Extraction
from whence.stats.holdout import SplitMode, grouped_folds, hold_out

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Design:
    """The rows of an extraction, in its order.

    top: among the top k, bool [n]. held: held out, bool [n]. fold: fold in which a row is held out
    once, int64 [n]. groups: what rows share that are not independent. loss: float64 [n], or None
    and `no_loss` says why.
    """

    row_ids: Sequence[str]
    top: NDArray[np.bool_]
    held: NDArray[np.bool_]
    fold: NDArray[np.int64]
    groups: NDArray[np.str_]
    loss: NDArray[np.float64] | None
    no_loss: str | None

    @property
    def rows_per_group(self) -> float:
        return len(self.groups) / len(np.unique(self.groups))


def design(
    extraction: Extraction,
    scores: Path,
    *,
    top_k: int,
    mode: SplitMode,
    group_key_fields: Sequence[str],
    fraction: float,
    folds: int,
    seed: int,
) -> Design:
    """Label the rows and divide them.

    grouped: whole groups are held out, in the split and in the folds. random and stratified: rows
    are, as the earlier system did, so that alike rows can be on both sides; intervals resample
    groups all the same. Raises BadInput where rows have no score, and where a side or the rest of a
    fold would be of one class.
    """
    rows = scored_rows(extraction, scores)
    if len(rows) > 1 and rows["score"].nunique() == 1:
        raise BadInput(f"{scores}: every row has the same score, so there is no top")
    top = top_labels(rows, top_k)
    groups = np.asarray(group_keys(rows, group_key_fields), dtype=str)
    held = hold_out(list(groups), mode, fraction=fraction, labels=top, seed=seed)
    units = list(groups) if mode == "grouped" else extraction.row_ids
    fold = grouped_folds(units, folds, labels=top, seed=seed)
    for number in np.unique(fold):
        if len(np.unique(top[fold != number])) < 2:
            raise BadInput(
                f"--top-k {top_k}: the top rows are of so few groups that none is left to fit on "
                "while one fold is held out; choose another --top-k, --group-key-fields or "
                "--split-mode"
            )
    loss, no_loss = _loss(rows, scores)
    return Design(extraction.row_ids, top, held, fold, groups, loss, no_loss)


def _loss(rows: pd.DataFrame, scores: Path) -> tuple[NDArray[np.float64] | None, str | None]:
    if "loss" not in rows.columns:
        return None, f"{scores} has no losses"
    loss = rows["loss"].to_numpy(dtype=np.float64)
    missing = int(np.count_nonzero(~np.isfinite(loss)))
    if missing:
        return None, f"{missing} of {len(loss)} rows have no finite loss in {scores}"
    return loss, None
