"""`report.html` and `report.md` of a folder of probe results: the verdict first.

Imports Altair (about two seconds): import this module inside the function that writes the report.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import whence.report.anchors_sections as sections
from whence.anchors.defer.cost import Costs
from whence.anchors.defer.plan import Goal, plan
from whence.anchors.defer.sides import read_sides
from whence.anchors.defer.words import cautions
from whence.anchors.markdown import markdown
from whence.anchors.page import trace_sections
from whence.anchors.predictions import SCORE, of_seed, probe_of, read_predictions, score_columns
from whence.anchors.probes.registry import BASELINES
from whence.errors import BadInput
from whence.models.load import model_source
from whence.report.anchors_deferral import deferral_section
from whence.report.anchors_headline import headline
from whence.report.anchors_together import (
    comparisons_by_run,
    selected_section,
    together_sections,
    tripwires_section,
)
from whence.report.anchors_together import headline as together_headline
from whence.report.anchors_told import Told, read_told
from whence.report.anchors_trace import legend
from whence.report.page import Section, render_page
from whence.report.provenance_sections import rerun_section
from whence.runs.atomic import write_text
from whence.runs.jsonfile import read_json
from whence.runs.rerun import rerun_facts

if TYPE_CHECKING:
    import pandas as pd

METRICS, TOGETHER, PREDICTIONS = "metrics.json", "aggregate.json", "predictions.parquet"
PAGE, TEXT = "report.html", "report.md"

TITLES = {"train": "Probes on one split of problems", "cv": "Probes on problems not seen"}

BUDGET = 0.2
"""Deferral budget of the plan that a report shows."""
SENTENCES, COLUMNS = 80, 6
"""Most sentences and score columns of the example trace."""


def write_report(folder: Path) -> Path:
    """Write `report.html` (and of one run `report.md`) from what is in `folder`; return the page.

    Reads `metrics.json` (train, cv) or `aggregate.json`, and `predictions.parquet` where there is
    one. Sections whose numbers are absent are left out. Raises BadInput for neither file.
    """
    if (folder / METRICS).is_file():
        return _of_one(folder, read_told(read_json(folder / METRICS)))
    if (folder / TOGETHER).is_file():
        return _of_several(folder, read_json(folder / TOGETHER))
    raise BadInput(f"{folder}: neither {METRICS} nor {TOGETHER}, so there is nothing to report")


def _of_one(folder: Path, told: Told) -> Path:
    answer = headline(told)
    path = folder / PREDICTIONS
    frame = read_predictions(path) if path.is_file() else None
    planned, unplanned = _deferral(told, frame, path)
    body: list[Section | None] = [
        sections.probes_section(told) if told.levels else None,
        sections.baselines_section(told) if told.comparisons else None,
        sections.bins_section(told),
        sections.calibration_section(told),
        deferral_section(planned, cautions(planned)) if planned else None,
        sections.trust_section(told),
        _example(told, frame),
        rerun_section(_rerun(folder, told)),
    ]
    shown = [section for section in body if section is not None]
    title = _title(told.raw)
    write_text(folder / TEXT, markdown(title, told, answer, planned, unplanned))
    return render_page(
        title, shown, folder / PAGE, masthead=sections.masthead(title, answer, shown)
    )


def _of_several(folder: Path, raw: Mapping[str, Any]) -> Path:
    """The page alone: `aggregate` itself writes the tables as Markdown."""
    comparisons = comparisons_by_run(raw)
    told = read_told({**raw, "comparisons": comparisons})
    body: list[Section | None] = [
        *together_sections(raw, BASELINES),
        sections.baselines_section(told) if comparisons else None,
        selected_section(raw),
        tripwires_section(raw),
        rerun_section(rerun_facts(folder)),
    ]
    shown = [section for section in body if section is not None]
    return render_page(f"{together_headline(raw, BASELINES)}.", shown, folder / PAGE)


def _deferral(
    told: Told, frame: pd.DataFrame | None, path: Path
) -> tuple[dict[str, Any] | None, str]:
    """A plan with the probe that validation prefers, or None and why there is none."""
    if told.kind != "train" or frame is None:
        return None, "a deferral needs validation and test rows (`whence anchors train`)"
    column = _preferred(told, frame)
    if column is None:
        return None, "no probe has scores to defer by"
    own, seed = of_seed(frame, None, path)
    try:
        sides = read_sides(own, path, column)
    except BadInput as error:
        return None, str(error).removeprefix(f"{path}: ")
    planned = plan(sides, Goal("budget", BUDGET), Costs()).told
    return {
        "score_column": column,
        "group_column": None,
        "objective": "budget",
        "limit": BUDGET,
        "seed": seed,
        "seeds_in_table": [seed] if seed is not None else [],
        **planned,
        "unlabelled_rows": sides.unlabelled,
        "unmatched_groups": sides.unmatched,
    }, ""


def _preferred(told: Told, frame: pd.DataFrame) -> str | None:
    """The score column of the probe chosen on validation, else of the best of them there."""
    available = score_columns(frame)
    selected = (told.raw.get("selected") or {}).get("probe")
    if selected and f"{SCORE}{selected}" in available:
        return f"{SCORE}{selected}"
    val = told.raw.get("val") or {}

    def value(column: str) -> float:
        found = (val.get(probe_of(column)) or {}).get(told.primary)
        return -float("inf") if found is None else float(found)

    return max(available, key=value) if available else None


def _example(told: Told, frame: pd.DataFrame | None) -> Section | None:
    """The shortest test trace, its first sentences: one that a reader can look through."""
    from dataclasses import replace

    if frame is None or not {"chunk_idx", "chunk_text"} <= set(frame.columns):
        return None
    own, _ = of_seed(frame, None, Path(PREDICTIONS))
    if "split" in own.columns:
        own = own[own["split"] == "test"]
    if own.empty or own.duplicated(["problem_id", "chunk_idx"]).any():
        return None
    problem = own.groupby("problem_id", sort=False).size().idxmin()
    trace = own[own["problem_id"] == problem].sort_values("chunk_idx", kind="stable")
    available = score_columns(own)
    ranked = [f"{SCORE}{probe}" for probe in told.ranked() if f"{SCORE}{probe}" in available]
    columns = (ranked or available)[:COLUMNS]
    section = trace_sections(trace.head(SENTENCES), [str(problem)], columns)[0]
    cut = f" The first {SENTENCES} of {len(trace)}." if len(trace) > SENTENCES else ""
    more = (
        f" Of {len(available)} probes the {len(columns)} best."
        if len(columns) < len(available)
        else ""
    )
    return replace(
        section,
        title=f"One trace: problem {problem}",
        lead=f"{section.lead}{cut}{more} whence anchors page shows any of them.",
        html=legend() + section.html,
    )


def _rerun(folder: Path, told: Told) -> dict[str, Any]:
    about = ("model", "layer", "pooling", "target", "anchor_percentile", "folds", "splits")
    known = {name: told.raw[name] for name in about if told.raw.get(name) is not None}
    return known | dict(rerun_facts(folder))


def _title(raw: Mapping[str, Any]) -> str:
    """What was done to which model; not where it lies, or equal runs would not be equal."""
    name = TITLES.get(str(raw.get("kind")), "Probes")
    model = raw.get("model")
    source = model.get("name") if isinstance(model, Mapping) else model
    if source and Path(source).is_absolute():
        source = "tiny" if source == model_source("tiny") else Path(source).name
    return f"{name}: {source}" if source else name
