"""The page of `whence anchors defer`.

Imports Altair (about two seconds): import this module inside the function that writes the page.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from whence.anchors.defer.words import cautions, headline
from whence.report.anchors_deferral import deferral_section
from whence.report.page import render_page
from whence.report.provenance_sections import rerun_section
from whence.runs.rerun import rerun_facts


def write_page(path: Path, told: Mapping[str, Any], folder: Path) -> None:
    """told: what `deferral.json` holds. folder: the run's, whose record says how to repeat it."""
    sections = [deferral_section(told, cautions(told)), rerun_section(rerun_facts(folder))]
    render_page(f"{headline(told)}.", sections, path)
