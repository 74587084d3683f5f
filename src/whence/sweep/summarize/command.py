"""`whence sweep summarize`: who is best, by how much, and how much of that is luck of the best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from whence.errors import BadInput
from whence.runs.config import Config, Words
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json, write_json, write_jsonl
from whence.runs.store import open_run
from whence.stats.intervals import DRAWS
from whence.sweep.layout import MANIFEST, PLAN, plan_folder, summary_folder

if TYPE_CHECKING:
    import pandas as pd

    from whence.sweep.campaigns.campaign import Campaign
    from whence.sweep.settings import RankSettings
    from whence.sweep.summarize.finished import Stage
    from whence.sweep.summarize.summary import Summary

START = "<!-- SWEEP_RESULTS_START -->"
END = "<!-- SWEEP_RESULTS_END -->"
SUMMARY, RESULTS = "summary.json", "results.jsonl"
NOUNS = {"anchors": "problem", "heads": "prompt", "data": "item"}
"""What commands of each group measure on."""


class SummarizeConfig(Config):
    """Rank the configurations of a stage, and estimate the winner on data that did not choose
    it."""

    not_identity: ClassVar[frozenset[str]] = frozenset(
        {"sweep", "overwrite", "readme", "start_marker", "end_marker"}
    )

    sweep: Path = Field(description="Folder of the sweep.")
    stage: str | None = Field(
        default=None, description="Which stage; default: the last whose runs are all finished."
    )
    partial: bool = Field(
        default=False, description="Summarise what is finished of a stage that is not."
    )
    per: Words = Field(
        default=(),
        description="Factors of which each value has a winner of its own; those that the stage was "
        "refined by are always among them.",
    )
    draws: int = Field(default=DRAWS, ge=100, description="Bootstrap draws of every interval.")
    seed: int = Field(
        default=0, description="Which units or seeds choose, and of every random draw."
    )
    readme: Path | None = Field(
        default=None,
        description="Markdown file whose marked block the tables of all summarised stages replace.",
    )
    start_marker: str = Field(default=START, min_length=1, description="Line before the block.")
    end_marker: str = Field(default=END, min_length=1, description="Line after the block.")
    overwrite: bool = Field(
        default=False, description="Replace an earlier summary of other results or settings."
    )


@dataclass(frozen=True)
class SummarizeResult:
    """facts: what `summary.json` holds. changed: whether a README was given and is another now."""

    folder: Path
    facts: Mapping[str, Any]
    done: bool
    readme: Path | None
    changed: bool

    def finding(self) -> Finding:
        """The winner on selection and on confirmation, over the first ten."""
        from whence.sweep.summarize.told import COLUMNS, headline, rows

        said = headline(self.facts)
        if self.readme is not None:
            said += f" The block in {self.readme} is {'new' if self.changed else 'as it was'}."
        names = {
            "report": "report.html",
            "leaderboard": "leaderboard.csv",
            "differences": "deltas.csv",
            "shortlist": "shortlist.json",
            "numbers": SUMMARY,
        }
        return Finding(
            headline=f"Already done: {said}" if self.done else said,
            columns=COLUMNS,
            rows=rows(self.facts),
            files={name: self.folder / file for name, file in names.items()},
        )


def summarize(config: SummarizeConfig) -> SummarizeResult:
    """Write `DIR/summary/<stage>/`: leaderboard, differences, stability, shortlist and report.

    Raises BadInput where no stage is planned or finished, where runs are missing and `partial` was
    not asked for, for a factor of `per` that the stage has not, and for a README without markers.
    """
    from whence.runs.marked_block import check_markers, replace_block
    from whence.sweep.campaigns import of
    from whence.sweep.settings import RankSettings
    from whence.sweep.summarize.finished import last_finished, read_stage

    if config.readme is not None:
        check_markers(config.readme, config.start_marker, config.end_marker)
    home = config.sweep.absolute()
    stage = read_stage(home, config.stage) if config.stage else last_finished(home)
    _check_finished(stage, partial=config.partial)
    per = tuple(dict.fromkeys([*stage.plan["per"], *config.per]))
    _check_factors(stage, per)
    rank = RankSettings(**stage.plan["rank"])
    folder = summary_folder(home, stage.name)
    plan = plan_folder(home, stage.name)
    resolved = config.model_copy(update={"stage": stage.name, "per": per})
    with open_run(
        folder,
        command="sweep summarize",
        config=resolved,
        inputs={
            "plan": plan / PLAN,
            "manifest": plan / MANIFEST,
            "results": _marks(stage),
        },
        overwrite=config.overwrite,
        seeds=(config.seed,),
    ) as run:
        if not run.done:
            measured = measure(stage, of(stage.plan["command"], rank), rank)
            _write(stage, measured, rank, resolved, run.folder)
    changed = False
    if config.readme is not None:
        changed = replace_block(
            config.readme, config.start_marker, config.end_marker, readme_block(home)
        )
    facts = read_json(folder / SUMMARY)
    return SummarizeResult(folder, facts, run.done, config.readme, changed)


def measure(stage: Stage, campaign: Campaign, rank: RankSettings) -> pd.DataFrame:
    """What every finished run measured, with a column `run`. Raises BadInput naming the run."""
    import pandas as pd

    from whence.runs.progress import track

    outputs = {entry.run: stage.home / entry.output for entry in stage.entries}
    parts = []
    for run in track(list(stage.results), label="reading runs", unit="runs"):
        try:
            parts.append(campaign.measured(outputs[run], rank).assign(run=run))
        except BadInput as error:
            raise BadInput(f"run {run}: {error}") from None
    measured = pd.concat(parts, ignore_index=True)
    if "question" not in measured.columns:
        measured["question"] = ""
    for name in ("series", "part", "unit", "metric", "question", "run"):
        measured[name] = measured[name].astype(str)
    return measured


def summaries(home: Path) -> list[Mapping[str, Any]]:
    """`summary.json` of every stage that has one, in the order of the sweep."""
    from whence.sweep.layout import stages_planned

    paths = [summary_folder(home, stage) / SUMMARY for stage in stages_planned(home)]
    return [read_json(path) for path in paths if path.is_file()]


def readme_block(home: Path) -> str:
    """What a README's block says of this sweep now."""
    from whence.sweep.summarize.told import block

    return block(summaries(home))


def _marks(stage: Stage) -> str:
    """One mark of all results."""
    from whence.runs.fingerprint import fingerprint

    return fingerprint(dict(stage.results))


def _check_finished(stage: Stage, *, partial: bool) -> None:
    done, total = len(stage.results), len(stage.results) + len(stage.missing)
    if not total:
        raise BadInput(f"stage {stage.name}: its manifest is empty; plan the stage again")
    if not done:
        raise BadInput(
            f"stage {stage.name}: none of its {total} runs is finished; `whence sweep run "
            f"{stage.home} --stage {stage.name}` runs them"
        )
    if stage.missing and not partial:
        raise BadInput(
            f"stage {stage.name}: {len(stage.missing)} of {total} runs are not finished "
            f"({', '.join(stage.missing[:3])}{', …' if len(stage.missing) > 3 else ''}); run them, "
            "or summarise the others with --partial"
        )


def _check_factors(stage: Stage, per: tuple[str, ...]) -> None:
    from whence.runs.validation import nearest

    known = list(dict.fromkeys(name for entry in stage.entries for name in entry.factors))
    for name in per:
        if name not in known:
            near = nearest(name, known) or f"; it has {', '.join(known) or 'none'}"
            raise BadInput(f"--per {name}: no factor of stage {stage.name}{near}")


def _write(
    stage: Stage,
    measured: pd.DataFrame,
    rank: RankSettings,
    config: SummarizeConfig,
    folder: Path,
) -> None:
    from whence.sweep.summarize.matrix import matrix_of
    from whence.sweep.summarize.page import write_page
    from whence.sweep.summarize.summary import summary_of
    from whence.sweep.summarize.told import headline, markdown

    command = stage.plan["command"]
    noun = rank.unit or NOUNS.get(command.split()[0], "unit")
    found = summary_of(
        stage, measured, rank, per=config.per, draws=config.draws, seed=config.seed, noun=noun
    )
    matrix = matrix_of(stage.plan, found.facts["groups"], stage.entries, stage.home)
    facts = {**found.facts, "matrix": matrix}
    facts = {"headline": headline(facts), **facts}
    _tables(found, folder)
    _table(measured, folder / "measured.parquet")
    write_jsonl(
        folder / RESULTS,
        ({"run": run, "results": mark} for run, mark in stage.results.items()),
    )
    write_json(folder / "shortlist.json", found.shortlist)
    (folder / "leaderboard.md").write_text(markdown(facts), encoding="utf-8")
    write_page(found.boards, facts, folder / "report.html")
    # Last: a folder with a summary has everything that it rests on.
    write_json(folder / SUMMARY, facts)


def _tables(found: Summary, folder: Path) -> None:
    for name, table in (
        ("leaderboard", found.leaderboard),
        ("deltas", found.deltas),
        ("stability", found.stability),
    ):
        _table(table, folder / f"{name}.parquet")
        if name != "stability":
            table.to_csv(folder / f"{name}.csv", index=False)


def _table(frame: pd.DataFrame, path: Path) -> None:
    import pyarrow as pa

    from whence.runs.tables import write_parquet

    write_parquet(pa.Table.from_pandas(frame, preserve_index=False), path)
