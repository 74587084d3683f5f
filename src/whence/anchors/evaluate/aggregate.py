"""`whence anchors aggregate`: several probe runs in one table, a page, and a README's block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from whence.runs.config import OutputConfig
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json, write_json
from whence.runs.store import open_run
from whence.stats.intervals import DRAWS

START = "<!-- EXPERIMENT_RESULTS_START -->"
END = "<!-- EXPERIMENT_RESULTS_END -->"


class AggregateConfig(OutputConfig):
    """Put runs of `train` and `cv`, and of the earlier study, together."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"readme", "start_marker", "end_marker"})

    runs: tuple[Path, ...] = Field(
        min_length=1,
        description="Folders of `whence anchors train` or `cv`, or the earlier study's "
        "metrics_seed_<n>.json, or folders of them.",
    )
    readme: Path | None = Field(
        default=None, description="Markdown file whose marked block the tables replace."
    )
    start_marker: str = Field(default=START, min_length=1, description="Line before the block.")
    end_marker: str = Field(default=END, min_length=1, description="Line after the block.")
    draws: int = Field(default=DRAWS, ge=100, description="Bootstrap draws of every interval.")


@dataclass(frozen=True)
class AggregateResult:
    """found: what `aggregate.json` holds. readme: whether one was given and changed."""

    folder: Path
    found: Mapping[str, Any]
    done: bool
    readme: Path | None
    changed: bool

    def finding(self) -> Finding:
        """The primary metric of every probe in every run."""
        rows = [
            (table["run"], table["split"], row["probe"], row["metric"], written(row))
            for table in self.found["tables"]
            for row in table["rows"]
            if table["split"] != "val" and row["primary"]
        ]
        runs = len(self.found["runs"])
        said = f"{runs} setting{'s' * (runs != 1)} put together"
        if self.readme is not None:
            said += f"; the block in {self.readme} is {'new' if self.changed else 'as it was'}"
        files = {"report": "report.html", "tables": "aggregate.md", "numbers": "aggregate.json"}
        return Finding(
            headline=f"Already done: {said}" if self.done else said,
            columns=("run", "split", "probe", "metric", "mean"),
            rows=rows,
            files={name: self.folder / file for name, file in files.items()},
        )


def aggregate(config: AggregateConfig) -> AggregateResult:
    """Write aggregate.json, aggregate.md and report.html; replace the block of `--readme`.

    Nothing written depends on the time or the machine: equal runs give equal bytes. Raises BadInput
    for a path without metrics, two runs that contradict each other, and a README without markers.
    """
    from whence.anchors.evaluate.collected import collect, metric_files
    from whence.runs.marked_block import check_markers, replace_block

    if config.readme is not None:
        check_markers(config.readme, config.start_marker, config.end_marker)
    files = metric_files(config.runs)
    with open_run(
        config.output_dir,
        command="anchors aggregate",
        config=config,
        inputs={"metrics": files},
        overwrite=config.overwrite,
    ) as run:
        if not run.done:
            from whence.anchors.evaluate.together import markdown, together
            from whence.anchors.report import write_report
            from whence.runs.atomic import write_text

            found = together(collect(config.runs), config.draws)
            write_json(run.folder / "aggregate.json", found)
            write_text(run.folder / "aggregate.md", markdown(found))
            write_report(run.folder)
    changed = False
    if config.readme is not None:
        changed = replace_block(
            config.readme,
            config.start_marker,
            config.end_marker,
            (config.output_dir / "aggregate.md").read_text(encoding="utf-8"),
        )
    found = read_json(config.output_dir / "aggregate.json")
    return AggregateResult(config.output_dir, found, run.done, config.readme, changed)


def written(row: Mapping[str, Any]) -> str:
    """`0.162 ± 0.003 (5 seeds)`, or with an interval, or alone."""
    if row["mean"] is None:
        return "–"
    text = f"{row['mean']:.4f}"
    if row["sd"] is not None:
        text += f" ± {row['sd']:.4f} ({row['seeds']} seeds)"
    if row["interval"] is not None:
        low, high = row["interval"]
        text += f" [{low:.4f}, {high:.4f}]"
    return text
