"""Sizes and constants of probes: the earlier study's, under its names."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from whence.runs.config import Config


class ProbeSettings(Config):
    """How probes are built and trained."""

    mlp_hidden_dim: int = Field(
        default=100, ge=1, description="Width of both hidden layers of mlp_probe."
    )
    mlp_max_iter: int = Field(default=300, ge=1, description="Most epochs of mlp_probe.")
    token_probe_heads: int = Field(
        default=4, ge=1, description="Heads of attention_probe and multimax_probe."
    )
    token_probe_mlp_width: int = Field(
        default=128, ge=1, description="Width of the layers that transform each token."
    )
    token_probe_mlp_depth: int = Field(
        default=1, ge=0, description="How many such layers; 0 scores tokens as they are."
    )
    token_probe_batch_size: int = Field(
        default=32, ge=1, description="Sentences a step of token probes."
    )
    token_probe_max_epochs: int = Field(
        default=50, ge=1, description="Most epochs of token probes."
    )
    token_probe_patience: int = Field(
        default=5, ge=1, description="Epochs without a better validation score before stopping."
    )
    token_probe_learning_rate: float = Field(
        default=1e-3, gt=0, description="Learning rate of token probes (AdamW)."
    )
    token_probe_weight_decay: float = Field(
        default=0.0, ge=0, description="Weight decay of token probes under --fixed."
    )
    token_probe_continuous_loss: Literal["mse", "huber"] = Field(
        default="huber", description="Loss of token probes on continuous targets."
    )
