"""How splits are made of rows: everything that `whence data build` is told but where rows are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPLITS = ("train_base", "score_pool", "attr_query", "eval")
HELD_OUT = ("attr_query", "eval")


@dataclass(frozen=True)
class Recipe:
    """train, query, evaluation: rows; None is all that are left. pool: rows of a score_pool
    disjoint from train_base; None makes train_base the pool.

    max_tokens, min_reward: see `filter_rows`; tokenizer counts tokens where the data do not say.
    cut_to: see `cut_rows`; None cuts nothing. stratify_by: columns; None is `category` where there
    is one, and in a mixture the source beside it. withhold: columns kept out of every split.
    query_fraction, disjoint_by: see `share_out`. near_threshold: similarity from which rows are
    near-duplicates; None does not look. drop_near: train on none that are so of query or eval.
    """

    train: int | None
    query: int | None
    evaluation: int | None
    pool: int | None = None
    seed: int = 42
    stratify_by: Sequence[str] | None = None
    max_tokens: int = 2000
    min_reward: float | None = None
    tokenizer: PreTrainedTokenizerBase | None = None
    cut_to: int | None = None
    withhold: Sequence[str] = ()
    query_fraction: float | None = None
    disjoint_by: str | None = None
    near_threshold: float | None = None
    drop_near: bool = False

    @property
    def sizes(self) -> Mapping[str, int | None]:
        """Split → rows asked for, of the splits that are drawn."""
        pool = {} if self.pool is None else {"score_pool": self.pool}
        return {
            "train_base": self.train,
            "attr_query": self.query,
            "eval": self.evaluation,
            **pool,
        }
