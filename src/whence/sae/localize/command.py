"""`whence sae localize`: features of an extraction, back in the tokens they are active at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from whence.errors import BadInput
from whence.models.settings import Holding
from whence.runs.config import OutputConfig, Words
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json
from whence.runs.store import open_run
from whence.sae.localize.wanted import Direction, contrast_file
from whence.sae.settings import Folders

FILE, PAGE = "localize.json", "report.html"


class LocalizeConfig(Holding, OutputConfig):
    """Run the model again on rows that have a feature, and show the tokens that it is active at."""

    sae_dir: Path = Field(description="Folder of `whence sae extract`.")
    sae_id: Words = Field(default=(), description="SAEs of that folder. Default: all.")
    features: Words = Field(
        default=(), description="Features to localise: numbers, or SAE_ID:NUMBER."
    )
    contrast: Path | None = Field(
        default=None,
        description="Folder of `whence sae contrast`; its features of smallest q are localised.",
    )
    top: int = Field(default=5, ge=1, description="How many features of --contrast.")
    direction: Direction = Field(
        default="enriched", description="Which of --contrast: enriched, depleted, or both."
    )
    model_name: str | None = Field(
        default=None,
        description="Model: a Hugging Face folder, a hub id, or tiny. Default: the one that was "
        "extracted from.",
    )
    sae_path: Folders = Field(
        default=(), description="Folders of the SAEs, where they are not where they were."
    )
    top_examples: int = Field(default=10, ge=1, description="Rows to show of each feature.")
    sample_rows: int = Field(
        default=100,
        ge=1,
        description="Rows, drawn from those that have the feature, over which turns are compared.",
    )
    batch_tokens: int = Field(default=4096, ge=1, description="Padded tokens in a batch.")
    seed: int = Field(default=42, description="Seed of that draw.")

    @model_validator(mode="after")
    def _one_source(self) -> LocalizeConfig:
        if bool(self.features) == (self.contrast is not None):
            given = "both are" if self.features else "neither is"
            raise BadInput(f"--features, --contrast: {given} given; give one, and only one")
        return self


@dataclass(frozen=True)
class LocalizeResult:
    """features: as in localize.json. folder: where the tables and the page are."""

    folder: Path
    features: Sequence[Mapping[str, Any]]
    done: bool

    def finding(self) -> Finding:
        """Each feature's strongest tokens, and the role in which it is stronger than by length."""
        rows = []
        for each in self.features:
            roles = [role for role in each["roles"] if role["role"] != "special"]
            most = max(roles, key=lambda role: role["times_expected"] or 0.0, default=None)
            where = ""
            if most is not None and most["times_expected"] is not None:
                span = most["interval"]
                told = f" [{span[0]:.2f}, {span[1]:.2f}]" if span else ""
                where = f"{most['role']} {most['times_expected']:.2f} ×{told}"
            pieces = ", ".join(repr(piece["piece"]) for piece in each["pieces"][:4])
            rows.append(
                (
                    each["sae_id"],
                    str(each["feature"]),
                    f"{each['rows_present']:,}",
                    pieces,
                    where,
                )
            )
        plural = "feature" if len(rows) == 1 else "features"
        done = "Already done: " if self.done else ""
        return Finding(
            headline=f"{done}{len(rows)} {plural} localised.",
            columns=("SAE", "feature", "rows", "strongest tokens", "strongest role"),
            rows=rows,
            files={
                "page": self.folder / PAGE,
                "spans": self.folder / "spans.parquet",
                "turns": self.folder / "turns.parquet",
                "tokens of the rows shown": self.folder / "tokens.parquet",
            },
        )


def localize(config: LocalizeConfig) -> LocalizeResult:
    """Write `localize.json`, three tables and a page.

    Raises BadInput for a feature or SAE that the extraction does not have, an SAE or model other
    than those that were extracted with, and texts that are not in the extraction.
    """
    from whence.sae.localize.opened import opened
    from whence.sae.store import open_extraction

    extraction = open_extraction(config.sae_dir, config.sae_id)
    holding = {name: getattr(config, name) for name in Holding.model_fields if name != "revision"}
    if config.revision is not None:
        holding["revision"] = config.revision
    found = opened(extraction.summary, config.sae_dir, config.model_name, holding)
    contrast = None if config.contrast is None else contrast_file(config.contrast)
    with open_run(
        config.output_dir,
        command="sae localize",
        config=config,
        inputs={
            "examples": extraction.folder / "examples.jsonl",
            "summary": extraction.folder / "summary.json",
            "features": list(extraction.files.values()),
            "contrast": contrast,
            "model": found.model.identity(),
            "adapter": found.adapter,
        },
        overwrite=config.overwrite,
        seeds=[config.seed],
    ) as run:
        if not run.done:
            from whence.sae.localize.write import write_localized

            write_localized(config, extraction, found, run.folder)
    features = read_json(config.output_dir / FILE)["features"]
    return LocalizeResult(config.output_dir, features, run.done)
