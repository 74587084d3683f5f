"""Subsets of a ranked pool, for training on: `whence data select`.

One ranking, several arms: is it the number of rows that helps, or which rows? (The notes' question
of scale against rank window.) Several rankings, one size: does it matter what rows are ranked by?
How arms are written is explained in `whence.data.arms`, what they can be ranked by in
`whence.data.rankings`.
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
from whence.data.rankings import (
    Sources,
    asked_rankings,
    check_rankings,
    make_rankings,
    ranked_by,
    ranking_inputs,
)
from whence.data.subsets import write_subsets
from whence.runs.config import OutputConfig
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json
from whence.runs.manifest import Manifest, load_manifest, read_split_table
from whence.runs.ranking import check_covers, read_ranking, scores_file
from whence.runs.store import open_run
from whence.text.embedding import TFIDF

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

QUERY_SPLIT = "attr_query"


class SelectConfig(OutputConfig):
    """Draw subsets from one ranking of a pool: top, bottom, rank windows, and random controls."""

    scores: Path = Field(
        description="Folder of `whence data score`, or a table with row_id and score."
    )
    manifest: Path = Field(description="Manifest whose pool was scored.")
    arm: tuple[str, ...] = Field(
        min_length=1, description=f"An arm to draw; may be given several times. One of {GRAMMAR}."
    )
    by: str | None = Field(
        default=None,
        description="What arms without a `by=` of their own are ranked by: attribution, predictor, "
        "length, loss, bm25, embedding, column:NAME of the pool, or a name of --rankings. Default: "
        "the scores.",
    )
    rankings: dict[str, Path] = Field(
        default={},
        description="Further rankings, as in predictor=runs/predicted: each a folder with "
        "scores.parquet, or a table with row_id and score.",
    )
    embedding_model: str | None = Field(
        default=None,
        description="Model of the embedding ranking: a sentence-transformers model or any Hugging "
        "Face encoder (hub id or folder), tiny, or tfidf, the default.",
    )
    query_split: str | None = Field(
        default=None,
        description="Split that bm25 and embedding compare rows with. Default: attr_query.",
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
    (rows, tokens, score, rank, shared_rows, match, and ranked_by or trained_on where there is
    something to say), as in `subset_manifest.json`.
    """

    manifest: Manifest
    arms: Mapping[str, Mapping[str, Any]]
    done_before: bool

    def finding(self) -> Finding:
        """A line for each arm; in the last column, what it was ranked by if not by the scores,
        how many of its rows the predictor was fitted on, and where a control falls short.
        """
        rows = []
        for name, arm in self.arms.items():
            rank, match = arm["rank"], arm["match"]
            by, seen = arm.get("ranked_by"), arm.get("trained_on", 0)
            notes = [f"by {by}"] if by and not match else []
            if seen:
                notes.append(f"{seen} of its rows trained the {by or 'predictor'} that ranked them")
            notes += match["notes"] if match else []
            rows.append(
                (
                    name,
                    f"{arm['rows']:,}",
                    f"{arm['tokens']:,}",
                    f"{rank['min']:,}-{rank['max']:,}",
                    f"{arm['score']['mean']:.4g}",
                    "; ".join(notes),
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

    Raises BadInput when an arm cannot be read or asks for more rows than there are, when scores or
    rankings are not those of the pool, and when there is no ranking of a name.
    """
    arms = ranked_by(parse_arms(config.arm), config.by)
    parent = load_manifest(config.manifest)
    split = parent.split(config.pool_split)
    home = config.output_dir
    scores = scores_file(config.scores)
    asked = asked_rankings(arms, config.by)
    query = config.query_split or QUERY_SPLIT
    embedding = config.embedding_model or TFIDF
    with open_run(
        home,
        command="data select",
        config=config,
        inputs={
            "scores": scores,
            "manifest": parent.path,
            "pool": split.path,
            **ranking_inputs(asked, config.rankings, parent, query, embedding),
        },
        overwrite=config.overwrite,
        seeds=[config.seed],
    ) as run:
        if not run.done:
            ranking = read_ranking(scores)
            pool = read_split_table(parent, split.name)
            frame = pool.to_pandas()
            check_covers(ranking, frame, scores, split)
            sources = Sources(
                parent, split, frame, config.scores, config.rankings, query, embedding
            )
            check_rankings(asked, sources, ranking)
            rankings = make_rankings(asked, sources, ranking)
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
                rankings=rankings,
            )
            write_subsets(
                run.folder,
                drawn,
                home=home,
                parent=parent,
                pool=pool,
                ranking=ranking,
                rankings=rankings,
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
