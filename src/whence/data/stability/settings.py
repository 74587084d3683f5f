"""What `whence data stability` is asked: rankings that are there, or a model to make them with."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from whence.data.score.settings import GradientSettings, ScoreSettings
from whence.errors import BadInput
from whence.models.settings import ModelSettings
from whence.runs.config import Numbers, OutputConfig

Mode = Literal["none", "query", "mixed"]
FROM_A_MODEL = (
    "query_split",
    "adapter_path",
    "modes",
    "projection_seeds",
    "query_resamples",
    "mixing_coefficient",
    *GradientSettings.model_fields,
    *ModelSettings.model_fields,
)
"""Settings that say how rankings are made, and mean nothing where they are given."""


class StabilityConfig(GradientSettings, ModelSettings, OutputConfig):
    """How far rankings of one pool agree: rank correlation and overlap of the first k, with chance.

    Either `--scores A B …`, rankings that are there; or `--manifest` and `--adapter-path`, and the
    pool is ranked anew for every mode, projection seed and resample of the queries.
    """

    scores: tuple[Path, ...] = Field(
        default=(),
        description="Two rankings or more: each a folder with scores.parquet, or a table with "
        "row_id and score.",
    )
    manifest: Path | None = Field(
        default=None,
        description="Manifest with the pool. With --scores it is there to resample rows by group; "
        "without, to be ranked.",
    )
    pool_split: str = Field(default="score_pool", description="Split that is ranked.")
    query_split: str = Field(default="attr_query", description="Split of the queries.")
    adapter_path: Path | None = Field(
        default=None, description="LoRA adapter at whose weights gradients are taken."
    )
    base_model: str = Field(
        default="auto",
        description="The adapter's base model: a Hugging Face folder, a hub id, or tiny; auto is "
        "the one that the adapter records.",
    )
    modes: tuple[Mode, ...] = Field(
        default=("none", "query", "mixed"),
        min_length=1,
        description="Preconditioning modes to compare; none takes exact gradients, without a "
        "projection.",
    )
    projection_seeds: Numbers = Field(
        default=(0, 1, 2),
        min_length=1,
        description="Seeds of the random projection of the modes that have one.",
    )
    query_resamples: int = Field(
        default=5,
        ge=0,
        description="Rankings against queries drawn with replacement (whole groups), besides that "
        "against all queries; 0 for none. An interval over them needs five.",
    )
    mixing_coefficient: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Weight of the query's second moment in mixed mode. Default: chosen from both "
        "spectra.",
    )
    k: Numbers = Field(
        default=(),
        description="Depths of the overlap. Default: those of 50, 100 and 200 that are at most "
        "half the pool, or a quarter of it where none is.",
    )
    draws: int = Field(
        default=2_000, ge=40, description="Resamples of the pool's rows behind each interval."
    )
    seed: int = Field(default=0, ge=0, description="Seed of all resampling.")

    @model_validator(mode="after")
    def _one_way(self) -> StabilityConfig:
        if self.scores:
            self._check_given()
        elif self.adapter_path is None or self.manifest is None:
            raise BadInput(
                "give rankings, as --scores A B, or a model to make them with, as --manifest M "
                "--adapter-path A"
            )
        else:
            self._check_to_make()
        if any(k < 1 for k in self.k) or len(set(self.k)) < len(self.k):
            raise BadInput(f"--k {' '.join(map(str, self.k))}: whole numbers from 1, each once")
        return self

    def _check_given(self) -> None:
        defaults = type(self).model_fields
        for name in FROM_A_MODEL:
            if getattr(self, name) != defaults[name].default:
                raise BadInput(
                    f"--{name.replace('_', '-')} says how rankings are made, and --scores gives "
                    "them made: leave one of the two out"
                )
        if self.manifest is None and self.pool_split != defaults["pool_split"].default:
            raise BadInput(
                f"--pool-split {self.pool_split}: the split of a manifest, and there is no "
                "--manifest; add it, or leave this out"
            )
        if len(self.scores) < 2:
            raise BadInput(f"--scores {self.scores[0]}: agreement needs two rankings or more")

    def _check_to_make(self) -> None:
        for name, values in (("modes", self.modes), ("projection-seeds", self.projection_seeds)):
            if len(set(values)) < len(values):
                raise BadInput(f"--{name}: one is given twice, and would agree with itself")
        if min(self.projection_seeds) < 0:
            raise BadInput("--projection-seeds: whole numbers from 0")
        if self.query_resamples == 1:
            raise BadInput("--query-resamples 1: makes no pair to compare; give 0, or 5 and more")
        if self.mixing_coefficient is not None and "mixed" not in self.modes:
            raise BadInput("--mixing-coefficient is for the mode mixed, which --modes leaves out")
        if self.projection_dim == 0 and set(self.modes) != {"none"}:
            raise BadInput(
                "--projection-dim 0: exact gradients are not projected, so --projection-seeds "
                "would change nothing; give one, such as 32, or --modes none"
            )
        if len(self.plan()) < 2:
            raise BadInput(
                "one mode, one projection and no resamples make one ranking: raise "
                "--query-resamples, or add --projection-seeds or --modes"
            )

    def plan(self) -> list[tuple[Mode, int | None, int]]:
        """(mode, projection seed, resample) of every ranking to make; resample 0 is all queries."""
        return [
            (mode, seed, resample)
            for mode in self.modes
            for seed in (self.projection_seeds if mode != "none" else (None,))
            for resample in range(self.query_resamples + 1)
        ]

    def scoring(self, mode: Mode, projection_seed: int | None) -> ScoreSettings:
        """How the pool is scored in a mode under a projection."""
        shared: dict[str, Any] = {
            name: getattr(self, name) for name in GradientSettings.model_fields
        }
        shared["projection_dim"] = 0 if mode == "none" else self.projection_dim
        return ScoreSettings(
            **shared,
            preconditioning_mode=mode,
            projection_seed=projection_seed,
            mixing_coefficient=self.mixing_coefficient if mode == "mixed" else None,
        )
