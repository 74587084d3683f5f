"""Everything a predictor and its baselines are fitted on and judged by: rows, targets, split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from whence.errors import BadInput
from whence.runs.ranking import scores_file
from whence.sae.predict.features import Features, read_features
from whence.sae.predict.fitting import Fold
from whence.sae.predict.settings import DEFAULT_TOP_K, PredictConfig, TargetType
from whence.sae.scored import group_keys, scored_rows
from whence.sae.store import Extraction
from whence.stats.holdout import hold_out
from whence.text.joined import joined_texts

if TYPE_CHECKING:
    import pandas as pd

FEWEST_ROWS = 10


@dataclass(frozen=True)
class Material:
    """rows: one an extracted row, with `score` and `rank` (1 is best), in the features' order.

    target: float64 [rows]. test: True where held out. groups: a label a row. folds: how rows are
    parted further. top_k: of all rows.
    """

    rows: pd.DataFrame
    layers: list[Features]
    target: NDArray[np.float64]
    test: NDArray[np.bool_]
    groups: list[str]
    folds: Fold
    top_k: int

    @property
    def train_rows(self) -> NDArray[np.int64]:
        return np.flatnonzero(~self.test)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row: what training sees, where the scores say it."""
        return row_lengths(self.rows, self.layers)


def load_material(config: PredictConfig, extraction: Extraction) -> Material:
    """Read features and scores, and part the rows.

    Raises BadInput for too few rows, rows without a score, a target that does not vary, and as
    `read_features` and `hold_out` do.
    """
    assert config.scores is not None
    rows = first_rows(extraction, config.max_rows, config.scores)
    if len(rows) < FEWEST_ROWS:
        raise BadInput(
            f"{extraction.folder}: {len(rows)} rows, and a predictor needs at least {FEWEST_ROWS} "
            "to be fitted and judged"
        )
    target = target_values(rows["score"].to_numpy(), config.target_type)
    top_k = top_of(config.top_k, len(rows))
    groups = group_keys(rows, config.group_key_fields)
    test = hold_out(groups, config.split_mode, fraction=config.test_fraction, seed=config.seed)
    where = scores_file(config.scores)
    for values, which in ((target, "every row"), (target[~test], "every training row")):
        if np.ptp(values) == 0:
            raise BadInput(f"{where}: {which} has the same score, so there is nothing to predict")
    grouped = config.split_mode == "grouped"
    keys = groups if grouped else [str(row_id) for row_id in rows["row_id"]]
    folds = Fold(keys, config.seed)
    folds.inner(np.flatnonzero(~test))  # refused before the features are read, which takes longer
    layers = read_features(extraction, config.max_rows)
    return Material(rows, layers, target, test, groups, folds, top_k)


def first_rows(extraction: Extraction, max_rows: int | None, scores: Path) -> pd.DataFrame:
    """The extraction's first rows beside their scores; see `scored_rows`."""
    return scored_rows(replace(extraction, examples=extraction.examples[:max_rows]), scores)


def target_values(scores: NDArray[np.float64], kind: TargetType) -> NDArray[np.float64]:
    """score: as they are. rank: 0 for the lowest to 1 for the highest, ties at their mean rank."""
    from scipy.stats import rankdata

    if kind == "score":
        return np.asarray(scores, dtype=np.float64)
    return np.asarray((rankdata(scores) - 1) / max(1, len(scores) - 1))


def top_of(top_k: int | None, rows: int) -> int:
    """The k in force. Raises BadInput where it leaves no row out."""
    if top_k is None:
        return max(1, min(DEFAULT_TOP_K, rows // 4))
    if top_k >= rows:
        raise BadInput(
            f"--top-k {top_k}: there are {rows} rows, and the top of them is not all; choose 1 to "
            f"{rows - 1}"
        )
    return top_k


def row_lengths(rows: pd.DataFrame, layers: Sequence[Features]) -> NDArray[np.int64]:
    """Tokens of each row, int64 [rows]: by the scores, else by the examples, else as encoded."""
    for name in ("length_tokens", "tokens"):
        if name in rows.columns and rows[name].notna().all():
            return np.asarray(rows[name].to_numpy(), dtype=np.int64)
    return layers[0].seq_lens.astype(np.int64)


def row_digests(rows: pd.DataFrame) -> list[str]:
    """What tells rows apart across pools, whose ids may be the same: a hash of each text, or the
    row's id where the extraction has not kept texts.
    """
    texts = row_texts(rows)
    if texts is None:
        return [str(row_id) for row_id in rows["row_id"]]
    return [sha256(text.encode()).hexdigest()[:16] for text in texts]


def row_texts(rows: pd.DataFrame) -> list[str] | None:
    """Prompt, blank line, completion of each row; None where the extraction has not kept them."""
    for name in ("prompt", "completion"):
        if name not in rows.columns or rows[name].isna().any():
            return None
    return joined_texts(rows)
