"""Settings that `extract` and `storage` share: which texts, which model, what to keep of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, field_validator

from whence.anchors.features.wanted import POOLINGS, StorageDtype, Vertical, Wanted, layers_of
from whence.anchors.spans.tokens import PrependBos
from whence.models.settings import Loading
from whence.runs.config import Words

if TYPE_CHECKING:
    from whence.anchors.features.plan import Shape


class CaptureSettings(Loading):
    """Which texts are read by which model, and what is kept of them."""

    read_by_content: ClassVar[frozenset[str]] = frozenset({"metadata", "traces"})

    metadata: Path | None = Field(
        default=None,
        description="Table of sentences (sentence_metadata.parquet). Its labels play no part.",
    )
    traces: Path | None = Field(
        default=None,
        description="Traces as JSONL; by default traces.jsonl beside --metadata where there is "
        "one, else its sentences joined by blanks, without prompts.",
    )
    model: str = Field(description="Model: a Hugging Face folder, a hub id, or tiny.")
    prepend_bos: PrependBos = Field(
        default="default",
        description="BOS before texts: default as the tokenizer does by itself, always, never "
        "(as the earlier thought-anchor study).",
    )
    max_tokens: int | None = Field(
        default=None,
        ge=1,
        description="Most tokens a trace may have; default: as many as the model has positions.",
    )
    skip_failed: bool = Field(
        default=False,
        description="Go on without traces that are too long or lack a sentence; they are listed in "
        "failures.json.",
    )
    layers: Words = Field(
        default=("mid",),
        description="Layers (outputs of blocks): mid, quartiles, all, or numbers and ranges as "
        "3,5 or 0-5.",
    )
    pooling: Words = Field(
        default=("mean",),
        description="What to keep of a sentence: mean of its tokens, all its tokens, its last.",
    )
    vertical: Literal["off", "light", "full"] = Field(
        default="off",
        description="Attention of later tokens to each sentence: light from the last tokens of the "
        "text, full from all later sentences.",
    )
    depth_control: bool = Field(
        default=True,
        description="Take the mean over later queries, not their sum, so that early sentences are "
        "not ahead for having more of them.",
    )
    light_last_n_tokens: int = Field(
        default=1, ge=1, description="Last tokens of the text that --vertical light asks."
    )
    full_max_seq_len: int = Field(
        default=1024,
        ge=1,
        description="Longest text in tokens for --vertical full; longer ones are read by light.",
    )
    per_head: bool = Field(
        default=False, description="Keep vertical attention of every head beside their mean."
    )
    storage_dtype: StorageDtype = Field(
        default="float32", description="Number format of stored activations."
    )

    @field_validator("pooling")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [word for word in value if word not in POOLINGS]
        if unknown or not value:
            raise ValueError(f"expected some of {', '.join(POOLINGS)}, not {', '.join(unknown)}")
        return tuple(pooling for pooling in POOLINGS if pooling in value)

    def wanted(self, shape: Shape) -> Wanted:
        """What to capture of a model of this shape. Raises BadInput for layers it lacks."""
        return Wanted(
            layers=layers_of(self.layers, shape.n_layers),
            poolings=tuple(pooling for pooling in POOLINGS if pooling in self.pooling),
            vertical=self.vertical_settings(),
            storage_dtype=self.storage_dtype,
        )

    def vertical_settings(self) -> Vertical | None:
        """Which vertical attention, or None for none."""
        if self.vertical == "off":
            return None
        return Vertical(
            mode=self.vertical,
            depth_control=self.depth_control,
            light_last_n_tokens=self.light_last_n_tokens,
            full_max_seq_len=self.full_max_seq_len,
            per_head=self.per_head,
        )
