"""What a score is: the settings that change numbers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from whence.data.score.tokens import TokenizationMode
from whence.errors import BadInput
from whence.runs.config import Config

PRECONDITIONED_PROJECTION = 32


class GradientSettings(Config):
    """How gradients are taken, and how a row's is held against those of the queries."""

    score_mode: Literal["mean", "nearest"] = Field(
        default="mean",
        description="mean: against the mean query gradient. nearest: against the closest query.",
    )
    projection_dim: int | None = Field(
        default=None,
        ge=0,
        description="Random projection of each weight matrix's gradient to DIM × DIM; 0 is exact. "
        "Default: 0 without a preconditioner, since exact LoRA gradients cost no more and rank "
        "better; 32 with one, since it needs a matrix of (gradient size)² per weight matrix, tens "
        "of GB without projection.",
    )
    unit_normalize: bool = Field(
        default=True,
        description="Divide every gradient by its length: a row is scored by where it points, not "
        "by how large its loss is.",
    )
    loss_reduction: Literal["mean", "sum"] = Field(
        default="mean",
        description="A row's loss is the mean or the sum over its labelled tokens. It cancels "
        "under --unit-normalize without a preconditioner; second moments weigh rows by it.",
    )
    tokenization_mode: TokenizationMode = Field(
        default="finetune_raw",
        description="finetune_raw: the very token ids and labels of finetuning. bergson_chat: "
        "through the tokenizer's chat template, for comparison only.",
    )
    max_length: int = Field(
        default=2048,
        ge=2,
        description="Longest row in tokens; longer ones are cut as in finetuning, and counted.",
    )
    token_batch_size: int = Field(
        default=2048,
        ge=2,
        description="Tokens in a batch, padding included. A row longer than this is cut to it. "
        "Halved by itself when memory runs out.",
    )

    @property
    def row_limit(self) -> int:
        """The longest row in tokens that fits both the row limit and a batch."""
        return min(self.max_length, self.token_batch_size)


class ScoreSettings(GradientSettings):
    """How pool rows are scored against queries.

    With g_i the gradient of pool row i's loss and q_j that of query j, both with respect to the
    adapter's weights, the score of row i is g_i · mean_j q_j (mean) or max_j g_i · q_j (nearest).
    """

    preconditioning_mode: Literal["none", "query", "mixed"] = Field(
        default="none",
        description="none: plain inner product. query: gradients are whitened by the second moment "
        "of the query gradients (H^-1/2 on both sides, or H^-1 on the query's alone with "
        "--no-unit-normalize). mixed: by a mixture of the query's and the pool's.",
    )
    mixing_coefficient: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Weight of the query's second moment in mixed mode; the pool's gets the rest. "
        "Default: chosen from both spectra as in TrackStar (arXiv 2410.17413, §A.1.3).",
    )
    projection_seed: int | None = Field(
        default=None,
        ge=0,
        description="Seed of the random projection; another seed is another projection, and how "
        "far the ranking moves with it is noise. Default: the one projection that Bergson draws "
        "without a seed.",
    )

    @model_validator(mode="after")
    def _mixing_needs_mixed(self) -> ScoreSettings:
        if self.mixing_coefficient is not None and self.preconditioning_mode != "mixed":
            raise BadInput(
                "--mixing-coefficient is for --preconditioning-mode mixed, "
                f"not {self.preconditioning_mode}"
            )
        return self

    @model_validator(mode="after")
    def _seed_needs_projection(self) -> ScoreSettings:
        if self.projection_seed is not None and not self.projection:
            raise BadInput(
                f"--projection-seed {self.projection_seed}: exact gradients are not projected, so "
                "it would change nothing; give a --projection-dim, such as 32, or leave it out"
            )
        return self

    @property
    def projection(self) -> int:
        """The projection dimension in force; 0 means exact gradients."""
        if self.projection_dim is not None:
            return self.projection_dim
        return 0 if self.preconditioning_mode == "none" else PRECONDITIONED_PROJECTION
