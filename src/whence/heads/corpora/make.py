"""`whence heads corpora make`: probe corpora of the tiny world, where the truth is planted.

Every clean prompt is asked once; negation, counterfactual and logic have as many true rows as false
ones (key `truth`); the shipped tiny model has read about the things they ask for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from whence.heads.corpora.rows import Fields, Row
from whence.heads.corpora.written import (
    parts_cell,
    plural,
    read_about,
    write_about,
    write_corpus,
)
from whence.runs.config import OutputConfig
from whence.runs.finding import Finding
from whence.runs.store import open_run
from whence.tiny.probes import PROBES, make_probes
from whence.tiny.world import make_world

MOST = 900
"""Rows a corpus may have: the world has 120 known things with 4 claims each, so that logic, half of
it true, ends at 960 distinct prompts."""


class MakeConfig(OutputConfig):
    """Write facts, negation, counterfactual and logic corpora of the tiny world, with splits."""

    count: int = Field(
        default=200, ge=4, le=MOST, description=f"Rows of each corpus, at most {MOST}."
    )
    seed: int = Field(default=0, description="Which draw of rows, and of the splits.")
    world_seed: int = Field(default=0, description="Which world; the shipped model knows world 0.")


@dataclass(frozen=True)
class MakeResult:
    """about: corpus name → its counts; `true` is how many rows have the truth value true."""

    output_dir: Path
    about: Mapping[str, Mapping[str, Any]]
    done_before: bool

    def finding(self) -> Finding:
        """A line for each corpus."""
        rows = [
            (
                name,
                f"{found['rows']:,}",
                f"{found['prompts']:,}",
                f"{found['true']:,}",
                f"{found['answers']:,}",
                parts_cell(found),
            )
            for name, found in self.about.items()
        ]
        state = "already made" if self.done_before else "made"
        return Finding(
            f"{plural(len(rows), 'corpus')} of the tiny world {state}.",
            columns=("corpus", "rows", "prompts", "true", "answers", "train / val / test"),
            rows=rows,
            files={
                "corpora": self.output_dir / "corpora",
                "splits": self.output_dir / "splits",
            },
        )


def make(config: MakeConfig) -> MakeResult:
    """Write the four corpora. The same configuration gives the same bytes."""
    home = config.output_dir
    with open_run(
        home,
        command="heads corpora make",
        config=config,
        overwrite=config.overwrite,
        seeds=[config.seed],
    ) as run:
        if not run.done:
            world = make_world(config.world_seed)
            about = {}
            for name in PROBES:
                rows = [
                    _row(index, probe)
                    for index, probe in enumerate(
                        make_probes(world, name, config.count, config.seed)
                    )
                ]
                counts = write_corpus(run.folder, name, rows, Fields(), config.seed)
                about[name] = {**counts, "true": sum(row.extra["truth"] for row in rows)}
            write_about(run.folder, about)
    return MakeResult(home, read_about(home), run.done)


def _row(index: int, probe: Mapping[str, Any]) -> Row:
    extra = {
        key: value for key, value in probe.items() if key not in Fields().model_dump().values()
    }
    return Row(index, probe["clean"], probe["corrupt"], probe["target"], probe["foil"], extra=extra)
