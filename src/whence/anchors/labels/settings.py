"""How importance is recomputed from rollouts: what `labels` and `verify` share."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from whence.anchors.labels.divergence import Outcome
from whence.anchors.labels.recompute import Method
from whence.runs.config import Config

NONE = "none"
"""What `embedding_model` may be beside a model and tfidf."""


class RecomputeSettings(Config):
    """How rollouts become importance."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"device"})

    embedding_model: str = Field(
        default="all-MiniLM-L6-v2",
        description="What compares a resampled sentence with the old one: a sentence-transformers "
        "hub id or folder; tfidf (built in, character n-grams, draws the line elsewhere); none "
        "leaves counterfactual importance out.",
    )
    similarity_threshold: float = Field(
        default=0.8,
        ge=-1,
        le=1,
        description="Under this cosine a resampled sentence is another sentence.",
    )
    kl: Outcome = Field(
        default="answers",
        description="KL over the distribution of answers, as published, or over right and wrong.",
    )
    laplace: bool = Field(
        default=False, description="Add 1 to every count of a KL instead of 1e-9."
    )
    bootstrap_draws: int = Field(
        default=200, ge=2, description="Resamples of rollouts for the standard error of a KL."
    )
    seed: int = Field(default=0, description="Of whatever is drawn.")
    device: str = Field(default="auto", description="Where the embedding model runs: auto, cpu, …")

    def method(self) -> Method:
        """The same without what is not about numbers."""
        return Method(
            threshold=self.similarity_threshold,
            outcome=self.kl,
            laplace=self.laplace,
            draws=self.bootstrap_draws,
        )
