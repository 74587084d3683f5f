"""What `train` and `cv` are both given: sentences, features, probes, and the question asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from whence.anchors.probes.settings import ProbeSettings
from whence.anchors.targets import Target
from whence.runs.config import Numbers, OutputConfig, Words
from whence.stats.intervals import DRAWS

Residualize = Literal["none", "position", "position_plus_text"]


class ProbingConfig(OutputConfig):
    """Sentences, features and probes."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"device", "page", "shared"})

    metadata: Path = Field(description="Table of sentences with importance_signed.")
    features: Path | None = Field(
        default=None, description="Folder of `whence anchors extract`, for probes of activations."
    )
    layer: int | None = Field(
        default=None,
        ge=0,
        description="Layer to read; default: of those extracted the nearest to the middle.",
    )
    pooling: Literal["mean", "last"] = Field(
        default="mean", description="Which pooled activation of a sentence probes read."
    )
    probes: Words = Field(default=(), description="Probes; default: all whose features are there.")
    target: Target = Field(
        default="anchor_binary",
        description="What probes are fitted to: being an anchor, |importance|, or importance.",
    )
    anchor_percentile: float = Field(
        default=90.0, gt=0, lt=100, description="Percentile of |importance| that makes an anchor."
    )
    residualize: Residualize = Field(
        default="none",
        description="Beside the target, fit probes to what position (and text) do not predict of "
        "it.",
    )
    fixed: bool = Field(
        default=False,
        description="The earlier study's constants instead of regularisation chosen by inner "
        "cross-validation.",
    )
    seeds: Numbers = Field(
        default=(0,), min_length=1, description="Training seeds; what is deterministic runs once."
    )
    k_values: Numbers = Field(default=(5, 10), description="Depths of top-k recall.")
    draws: int = Field(default=DRAWS, ge=100, description="Bootstrap draws of every interval.")
    tripwires: bool = Field(
        default=True, description="Check that shuffled labels give chance and one problem fits."
    )
    shuffles: int = Field(
        default=20, ge=5, description="Refits of the shuffled-label check, each on other labels."
    )
    device: str = Field(
        default="auto",
        description="Where token probes train: cpu, cuda, mps; auto: first there is.",
    )
    page: bool = Field(default=True, description="Write report.html and report.md.")
    shared: Path | None = Field(
        default=None,
        description="Folder of fits and noise ceilings that several evaluations use, as those of a "
        "sweep; what is there is not computed again, and what is not is left there.",
    )
    settings: ProbeSettings = Field(
        default_factory=ProbeSettings, description="Sizes and constants of probes."
    )

    @field_validator("seeds", "k_values")
    @classmethod
    def _distinct(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(dict.fromkeys(values))

    @field_validator("k_values")
    @classmethod
    def _positive(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        if not values or min(values) < 1:
            raise ValueError("depths of 1 or more were expected")
        return values

    @property
    def primary_metric(self) -> str:
        """What selection and the first comparisons go by."""
        return "pr_auc" if self.target == "anchor_binary" else "spearman"

    def inputs(self) -> dict[str, Any]:
        """What the record keeps by content."""
        return {"metadata": self.metadata, "features": self.features}
