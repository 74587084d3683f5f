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
from whence.sweep.summarize.told import briefs, title

SHOWN_COMPARISONS = 40
"""Shared among the questions."""


def write_page(boards: Sequence[Board], facts: Mapping[str, Any], path: Path) -> Path:
    """Draw what `summary.json` says. boards: in the order of its groups."""
    groups = facts["groups"]
    body: list[Section | None] = [
        sections.matrix_section(facts["matrix"]) if facts.get("matrix") else None,
        sections.confirmation_section(groups),
        sections.leaderboard_section(groups, facts["unit"]),
        _comparisons(groups),
        sections.stability_section(groups),
        sections.factors_section(groups, [grid_means(board) for board in boards]),
        rerun_section(rerun_facts(path.parent)),
    ]
    shown = [section for section in body if section is not None]
    name = f"{facts['name']}: {facts['stage']}"
    head = sections.masthead(name, title(facts), briefs(facts), groups[0], shown)
    return render_page(name, shown, path, masthead=head)


def _comparisons(groups: Sequence[Mapping[str, Any]]) -> Section | None:
    """Differences of the best rows of every question."""
    each = max(1, SHOWN_COMPARISONS // len(groups))
    parts = []
    for group in groups:
        places = {line["name"]: line for line in group["top"]}
        shown = [
            found
            | {
                "higher_is_better": group["higher_is_better"],
                # Beside a chart there is room for the place and what it is of.
                "label": f"{places[found['arm']]['rank']}  {places[found['arm']]['series']} − "
                f"{found['control']}",
            }
            for found in group["comparisons"][:each]
        ]
        if shown:
            parts.append((group["name"], comparisons_section(shown)))
    return sections.comparisons_of_groups(parts) if parts else None
