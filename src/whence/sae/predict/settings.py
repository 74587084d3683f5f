"""What a predictor is fitted on, how it is judged, and what it is compared with."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from whence.errors import BadInput
from whence.runs.config import OutputConfig, Words

TargetType = Literal["rank", "score"]

DEFAULT_TOP_K = 100
ONLY_TO_FIT = (
    "manifest", "query_split", "sae_id", "target_type", "split_mode", "test_fraction", "seed",
    "sae_projection_dim", "sae_ridge_l2", "embedding_model", "text_encoder",
)  # fmt: skip
"""Settings that have no say over a predictor that is fitted already."""


class PredictConfig(OutputConfig):
    """Predict attribution from SAE features by ridge regression, beside what words and length can.

    With --apply, score another extraction by a predictor that was fitted before, without gradients.
    """

    not_identity: ClassVar[frozenset[str]] = frozenset({"device"})
    read_by_content: ClassVar[frozenset[str]] = frozenset(
        {"scores", "sae_dir", "manifest", "apply"}
    )

    scores: Path | None = Field(
        default=None,
        description="Folder of `whence data score`, or a table with row_id and score: what to "
        "predict. With --apply: what to judge the predictions by, and may be left out.",
    )
    sae_dir: Path = Field(description="Folder of `whence sae extract` with the rows' features.")
    apply: Path | None = Field(
        default=None,
        description="Folder of an earlier `whence sae predict`: score the rows of --sae-dir with "
        "its predictor instead of fitting one.",
    )
    manifest: Path | None = Field(
        default=None,
        description="Manifest whose query texts BM25 asks for. Default: it asks for the texts of "
        "the top training rows.",
    )
    query_split: str = Field(default="attr_query", description="Split of the query texts.")
    sae_id: Words = Field(
        default=(),
        description="SAEs whose features are used, side by side. Default: all there are.",
    )
    target_type: TargetType = Field(
        default="rank",
        description="rank: a row's place among all rows, 0 lowest to 1 highest, ties at their "
        "mean. score: the score itself.",
    )
    top_k: int | None = Field(
        default=None,
        ge=1,
        description="Rows of the overlap between predicted and attributed top; scaled to the share "
        f"of rows where only some are judged. Default: {DEFAULT_TOP_K}, or a quarter of the rows "
        "where that is less.",
    )
    split_mode: Literal["grouped", "random"] = Field(
        default="grouped",
        description="grouped: whole groups are held out. random: rows are, and alike rows may be "
        "on both sides.",
    )
    group_key_fields: Words = Field(
        default=(),
        description="Fields of examples.jsonl that rows of one group share, as in game,task_id. "
        "Default: group_id.",
    )
    test_fraction: float = Field(
        default=0.2, gt=0, lt=1, description="Share of groups (or rows) that are held out."
    )
    seed: int = Field(default=42, ge=0, description="Seed of split, folds and projection.")
    sae_projection_dim: int = Field(
        default=512,
        ge=0,
        description="Gaussian random projection of each SAE's activation means to this many "
        "columns, where it has more features; 0: no projection.",
    )
    sae_ridge_l2: float | None = Field(
        default=None,
        gt=0,
        description="Ridge penalty on standardised columns (scikit-learn's alpha). Default: chosen "
        "on the training rows by inner cross-validation.",
    )
    embedding_model: str | None = Field(
        default="tfidf",
        description="Sentence embedding of the embedding baseline: a sentence-transformers model, "
        "any Hugging Face encoder or folder, tiny, tfidf (built in), or none.",
    )
    text_encoder: str | None = Field(
        default=None,
        description="Encoder that is finetuned on the texts as a further baseline (folder or hub "
        "id), or none.",
    )
    max_rows: int | None = Field(
        default=None, ge=1, description="Use only the extraction's first rows, this many."
    )
    device: str = Field(
        default="auto", description="Where text models run: cpu, cuda, cuda:N, mps, or auto."
    )

    @model_validator(mode="after")
    def _fit_or_apply(self) -> PredictConfig:
        if self.apply is None:
            if self.scores is None:
                raise BadInput(
                    "--scores was expected: what to predict; or --apply, to score with a predictor "
                    "that was fitted before"
                )
            return self
        for name in ONLY_TO_FIT:
            if getattr(self, name) != type(self).model_fields[name].default:
                flag = name.replace("_", "-")
                raise BadInput(
                    f"--{flag} is for fitting, and --apply takes the predictor as it was fitted; "
                    f"leave --{flag} out"
                )
        return self
