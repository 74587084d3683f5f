"""`report.html` of a summary.

Imports Altair: import this module inside the function that writes the report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import whence.report.sweep_sections as sections
from whence.report.page import Section, render_page
from whence.report.provenance_sections import rerun_section
from whence.report.verdict_sections import comparisons_section
from whence.runs.rerun import rerun_facts
from whence.sweep.summarize.board import Board
from whence.sweep.summarize.factor_means import grid_means
from whence.sweep.summarize.told import headline

SHOWN_COMPARISONS = 40


def write_page(boards: Sequence[Board], facts: Mapping[str, Any], path: Path) -> Path:
    """Draw what `summary.json` says. boards: in the order of its groups."""
    groups = facts["groups"]
    comparisons = [
        each | {"higher_is_better": group["higher_is_better"]}
        for group in groups
        for each in group["comparisons"]
    ]
    body: list[Section | None] = [
        sections.matrix_section(facts["matrix"]) if facts.get("matrix") else None,
        sections.confirmation_section(groups),
        sections.leaderboard_section(groups, facts["unit"]),
        comparisons_section(comparisons[:SHOWN_COMPARISONS]) if comparisons else None,
        sections.stability_section(groups),
        sections.factors_section(groups, [grid_means(board) for board in boards]),
        rerun_section(rerun_facts(path.parent)),
    ]
    shown = [section for section in body if section is not None]
    title = f"{facts['name']}: {facts['stage']}"
    head = sections.masthead(title, headline(facts), groups[0], facts["unit"], shown)
    return render_page(title, shown, path, masthead=head)
