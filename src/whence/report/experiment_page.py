"""The report of a training-data experiment: verdict first, then what it rests on.

Imports Altair (about two seconds): import this module inside the function that writes the report.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.report.arm_sections import arms_section, training_section
from whence.report.page import render_page
from whence.report.provenance_sections import controls_section, rerun_section
from whence.report.ranking_sections import ranking_section
from whence.report.verdict_sections import arm_colours, comparisons_section, masthead

if TYPE_CHECKING:
    import pandas as pd


def write_experiment_report(
    output: Path,
    *,
    title: str,
    question: str,
    verdict: Mapping[str, Any],
    items: pd.DataFrame,
    ranking: pd.DataFrame | None,
    planted: Mapping[str, Any] | None,
    curves: pd.DataFrame | None,
    controls: Mapping[str, Any],
    rerun: Mapping[str, Any],
    top_k: int | None = None,
) -> Path:
    """Write the report to `output` (one HTML file under a megabyte) and return that path.

    verdict: the content of verdict.json; its first comparison is the headline.
    items: `arm, seed, row_id, correct, loss` (loss in nats per supervised token).
    ranking: `row_id, score, rank, length_tokens, loss, prompt, completion` and perhaps `kind`.
    planted: verdict.json's planted table; `useful` in it names the kinds that teach.
    curves: training loss, `arm, seed, step, loss`.
    controls, rerun: see `provenance_sections.Controls` and `Rerun`.
    top_k: how many rows the leading arm took.
    """
    comparisons = verdict["comparisons"]
    trained = [] if curves is None else curves["arm"].unique()
    colours = arm_colours(comparisons, [*verdict["arms"], *trained])
    sections = [comparisons_section(comparisons)] if comparisons else []
    sections.append(arms_section(items, verdict["arms"], comparisons, colours))
    if ranking is not None:
        sections.append(ranking_section(ranking, planted, top_k))
    if curves is not None and not curves.empty:
        sections.append(training_section(curves, colours))
    if controls:
        sections.append(controls_section(controls))
    if rerun:
        sections.append(rerun_section(rerun))
    head = masthead(title, question, comparisons, sections)
    return render_page(title, sections, output, masthead=head)
