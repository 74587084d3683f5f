"""The earlier study's configuration files, section by section, under their own names.

A file of that study loads as it is. What Whence does not need is accepted where it can do no harm
and said in its description; keys that are in neither are refused by name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from whence.anchors.probes.settings import ProbeSettings
from whence.anchors.targets import Target
from whence.runs.config import Config, Numbers, Words


class DatasetSection(Config):
    """Where problems come from: the rollouts on the hub, a local copy, traces, or a table."""

    repo_id: str = Field(
        default="uzaymacar/math-rollouts", description="Data set of rollouts on the hub."
    )
    root: Path | None = Field(
        default=None, description="A local folder with the same tree, instead of the hub."
    )
    metadata: Path | None = Field(
        default=None, description="A labelled table of sentences, instead of rollouts."
    )
    traces: Path | None = Field(
        default=None,
        description="traces.jsonl: the texts of `metadata`, or labelled traces without a table.",
    )
    model_dir: str = Field(
        default="deepseek-r1-distill-llama-8b", description="Which model's rollouts."
    )
    temp_dir: str = Field(
        default="temperature_0.6_top_p_0.95", description="Which sampling settings."
    )
    split_dir: str = Field(default="correct_base_solution", description="Which base solutions.")
    forced_split_dir: str = Field(
        default="correct_base_solution_forced_answer", description="Where forced answers are."
    )
    num_problems: int = Field(default=50, ge=3, description="Problems to draw; more: all.")
    problem_ids: Words = Field(
        default=(), description="Take these problems of the rollouts and draw none."
    )
    seed: int = Field(default=0, description="Of the draw of problems and of the split.")

    @model_validator(mode="after")
    def _one_source(self) -> DatasetSection:
        if self.root is not None and self.metadata is not None:
            raise ValueError("give root or metadata, not both")
        if self.root is not None and self.traces is not None:
            raise ValueError("give root or traces, not both")
        return self


class LabelsSection(Config):
    """What importance is, and what counts as an anchor."""

    counterfactual_field: str = Field(
        default="counterfactual_importance_accuracy", description="Which published importance."
    )
    anchor_percentile: float = Field(
        default=90.0, gt=0, lt=100, description="Percentile of |importance| within a problem."
    )
    drop_last_chunk: bool = Field(
        default=True, description="Leave out the last sentence of each trace."
    )
    target_mode: Target = Field(default="anchor_binary", description="What probes predict.")


class VerticalAttentionSection(Config):
    """How much later tokens attend to each sentence."""

    mode: Literal["off", "light", "full"] = Field(
        default="off", description="light: from the last tokens only; full: from every sentence."
    )
    depth_control: bool = Field(
        default=True, description="Mean over later queries instead of their sum."
    )
    light_last_n_tokens: int = Field(default=1, ge=1, description="Queries of `light`.")
    full_max_seq_len: int = Field(
        default=1024, ge=1, description="Longest trace for `full`; longer ones fall back to light."
    )


class ActivationsSection(Config):
    """What is captured, from which model."""

    model_name_or_path: str = Field(
        default="deepseek-ai/DeepSeek-R1-Distill-Llama-8B",
        description="Model: a Hugging Face folder, a hub id, or tiny.",
    )
    layer_mode: Literal["mid", "index", "quartiles", "all"] = Field(
        default="mid", description="mid: the middle block; index: layer_index."
    )
    layer_index: int | None = Field(default=None, ge=0, description="Block under `index`.")
    pooling: Literal["mean", "tokens"] = Field(
        default="mean", description="tokens: keep every token, for the token probes."
    )
    dtype: Literal["auto", "float16", "bfloat16", "float32"] = Field(
        default="float16", description="Dtype that the model computes in."
    )
    storage_dtype: Literal["float16", "float32"] = Field(
        default="float32", description="Dtype on disk."
    )
    device: str = Field(default="auto", description="cpu, cuda, cuda:N, mps; auto: first there is.")
    batch_size: int = Field(
        default=1, ge=1, description="Accepted for old files; a trace is one pass in any case."
    )
    prepend_bos: Literal["default", "always", "never"] = Field(
        default="never",
        description="BOS before texts; never, as the earlier study, or as the tokenizer does.",
    )
    vertical_attention: VerticalAttentionSection = Field(
        default_factory=VerticalAttentionSection, description="Vertical attention scores."
    )

    @model_validator(mode="after")
    def _index_is_given(self) -> ActivationsSection:
        if self.layer_mode == "index" and self.layer_index is None:
            raise ValueError("layer_mode index needs layer_index")
        return self

    @property
    def layers(self) -> str:
        """As `whence anchors extract --layers` takes it."""
        return str(self.layer_index) if self.layer_mode == "index" else self.layer_mode


class TrainingSection(ProbeSettings):
    """How probes are trained and judged; the sizes of probes are among these keys."""

    train_fraction: float = Field(default=0.7, gt=0, lt=1, description="Share of problems.")
    val_fraction: float = Field(default=0.15, gt=0, lt=1, description="Share of problems.")
    test_fraction: float = Field(default=0.15, gt=0, lt=1, description="Share of problems.")
    random_seed: int = Field(default=0, description="Training seed, where `seeds` names none.")
    seeds: Numbers = Field(default=(), description="Training seeds; none: random_seed alone.")
    probes: Words = Field(
        default=(), description="Which probes; none: all whose features were extracted."
    )
    fixed: bool = Field(
        default=True,
        description="The earlier study's constants; false: regularisation chosen within training.",
    )
    k_values: Numbers = Field(default=(5, 10), description="Depths of top-k recall.")
    bootstrap_iterations: int = Field(default=10_000, ge=100, description="Bootstrap draws.")
    bootstrap_seed: int | None = Field(
        default=None, description="Accepted for old files; resampling has one fixed seed."
    )
    position_bins: int = Field(default=5, ge=0, description="Bins of relative position.")
    best_of_k: int = Field(
        default=1,
        ge=1,
        le=1,
        description="Only 1: the best of several runs, chosen on test, was no result.",
    )
    residualize_against: Literal["none", "position", "position_plus_text"] = Field(
        default="none", description="Take out of the target what these predict."
    )
    token_probe_device: str = Field(default="auto", description="Where token probes train.")

    @model_validator(mode="after")
    def _fractions_add_up(self) -> TrainingSection:
        total = self.train_fraction + self.val_fraction + self.test_fraction
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train, val and test fractions add up to {total:g}, not to 1")
        return self


class SplitSection(Config):
    """How problems are held out."""

    strategy: Literal["single_split", "lopo_cv"] = Field(
        default="single_split",
        description="single_split: one train/val/test split; lopo_cv: leave one problem out.",
    )


class PathsSection(Config):
    """Where the earlier study wrote; Whence writes below --output-dir.

    One of them is read: an existing `splits_json` is the split. The rest is accepted and not used.
    """

    problem_ids_json: str | None = Field(default=None, description="Not used.")
    splits_json: str | None = Field(
        default=None, description="Split of problems; read where it exists."
    )
    embeddings_memmap: str | None = Field(default=None, description="Not used.")
    token_embeddings_memmap: str | None = Field(default=None, description="Not used.")
    embeddings_shape_json: str | None = Field(default=None, description="Not used.")
    metadata_parquet: str | None = Field(default=None, description="Not used.")
    metrics_json: str | None = Field(default=None, description="Not used.")
    predictions_parquet: str | None = Field(default=None, description="Not used.")
    report_md: str | None = Field(default=None, description="Not used.")
