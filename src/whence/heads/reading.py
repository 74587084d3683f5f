"""How prompts are read and what is measured of them: settings that every `heads` command shares."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from whence.heads.prompts import MetricSpan, PrependBos
from whence.runs.config import Config


class Reading(Config):
    """How prompts are read and what is measured of them."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"memory_gb"})

    metrics: tuple[str, ...] | None = Field(
        default=None, description="Metrics to write; default: all that are measured."
    )
    metric_span: MetricSpan = Field(
        default="first_token",
        description="first_token: what follows the prompt. full_target: all tokens of the target.",
    )
    prepend_bos: PrependBos = Field(
        default="default",
        description="BOS before prompts: default as the tokenizer does by itself, always, never.",
    )
    max_seq_len: int | None = Field(
        default=None, ge=2, description="Tokens a prompt may have; of longer ones the end is kept."
    )
    batch_size: int = Field(default=32, ge=1, description="Prompts of one length in a batch.")
    memory_gb: float = Field(
        default=2.0, gt=0, description="Memory for one replayed batch beside the model, in GB."
    )
    seeds: tuple[int, ...] = Field(
        default=(0,),
        min_length=1,
        description="Draws of prompt subsamples or resample sources; what is deterministic runs "
        "once.",
    )
    subsample: int | None = Field(
        default=None, ge=1, description="Distinct prompts drawn for each seed."
    )
