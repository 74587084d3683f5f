"""Subsets of a ranked pool, for training on: `whence data select`.

One ranking, several arms: is it the number of rows that helps, or which rows? (The notes' question
of scale against rank window.) How arms are written is explained in `whence.data.arms`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from whence.data.arms import GRAMMAR, Arm, parse_arm, parse_arms
from whence.data.draws import LENGTH_BINS, Drawn, default_match_on, draw, draw_arms
from whence.data.matched import matched_random
from whence.data.subsets import write_subsets
from whence.runs.config import OutputConfig
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json
from whence.runs.manifest import Manifest, load_manifest, read_split_table
from whence.runs.ranking import check_covers, read_ranking, scores_file
from whence.runs.store import open_run

__all__ = [
    "Arm",
    "Drawn",
    "SelectConfig",
    "SelectResult",
    "draw",
    "draw_arms",
    "matched_random",
    "parse_arm",
    "parse_arms",
    "select",
]


class SelectConfig(OutputConfig):
    """Draw subsets from one ranking of a pool: top, bottom, rank windows, and random controls."""

    scores: Path = Field(
        description="Folder of `whence data score`, or a table with row_id and score."
    )
    manifest: Path = Field(description="Manifest whose pool was scored.")
    arm: tuple[str, ...] = Field(
        min_length=1, description=f"An arm to draw; may be given several times. One of {GRAMMAR}."
    )
    pool_split: str = Field(default="score_pool", description="Split that was scored.")
    match_on: tuple[str, ...] | None = Field(
        default=None,
        description="Columns that matched random rows share with the rows they are matched to, "
        "beside length. Default: what the data was stratified by.",
    )
    allow_random_overlap: bool = Field(
        default=False, description="Let matched random rows be among the rows they are matched to."
    )
    seed: int = Field(default=42, description="Seed of the random arms.")


@dataclass(frozen=True)
class SelectResult:
    """manifest: the continuation manifest, arms as splits. arms: name → what its subset holds
    (rows, tokens, score, rank, shared_rows, match), as in `subset_manifest.json`.
    """

    manifest: Manifest
    arms: Mapping[str, Mapping[str, Any]]
    done_before: bool

    def finding(self) -> Finding:
        """A line for each arm; in the last column, where a control falls short of its match."""
        rows = []
        for name, arm in self.arms.items():
            rank, match = arm["rank"], arm["match"]
            rows.append(
                (
                    name,
                    f"{arm['rows']:,}",
                    f"{arm['tokens']:,}",
                    f"{rank['min']:,}-{rank['max']:,}",
                    f"{arm['score']['mean']:.4g}",
                    "; ".join(match["notes"]) if match else "",
                )
            )
        folder = self.manifest.path.parent
        state = "already drawn" if self.done_before else "drawn"
        plural = "subset" if len(rows) == 1 else "subsets"
        return Finding(
            headline=f"{len(rows)} {plural} {state}.",
            columns=("arm", "rows", "tokens", "ranks", "mean score", "to know"),
            rows=rows,
            files={
                "manifest to train from": self.manifest.path,
                "what was drawn": folder / "subsets" / "subset_manifest.json",
            },
        )


def select(config: SelectConfig) -> SelectResult:
    """Draw the arms and write their rows.

    Raises BadInput when an arm cannot be read or asks for more rows than there are, and when the
    scores are not those of the pool.
    """
    arms = parse_arms(config.arm)
    parent = load_manifest(config.manifest)
    split = parent.split(config.pool_split)
    home = config.output_dir
    scores = scores_file(config.scores)
    with open_run(
        home,
        command="data select",
        config=config,
        inputs={"scores": scores, "manifest": parent.path, "pool": split.path},
        overwrite=config.overwrite,
        seeds=[config.seed],
    ) as run:
        if not run.done:
            ranking = read_ranking(scores)
            pool = read_split_table(parent, split.name)
            frame = pool.to_pandas()
            check_covers(ranking, frame, scores, split)
            match_on = config.match_on
            if match_on is None:
                match_on = default_match_on(parent, pool.column_names)
            drawn = draw_arms(
                arms,
                ranking,
                frame,
                config.seed,
                match_on=match_on,
                allow_overlap=config.allow_random_overlap,
            )
            write_subsets(
                run.folder,
                drawn,
                home=home,
                parent=parent,
                pool=pool,
                ranking=ranking,
                pool_split=split.name,
                settings={
                    "seed": config.seed,
                    "match_on": match_on,
                    "length_bins": LENGTH_BINS,
                    "allow_random_overlap": config.allow_random_overlap,
                },
            )
    return SelectResult(
        manifest=load_manifest(home / "continuation_manifest.json"),
        arms=read_json(home / "subsets" / "subset_manifest.json")["arms"],
        done_before=run.done,
    )
