"""`report.html` of a contrast.

Imports Altair (about two seconds): import this module inside the function that writes the report.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import whence.report.sae_contrast_sections as sections
from whence.report.page import render_page
from whence.report.provenance_sections import rerun_section
from whence.runs.jsonfile import plain
from whence.runs.rerun import rerun_facts
from whence.sae.contrast.enrichment import ALPHA

if TYPE_CHECKING:
    import pandas as pd

TITLE = "Top attributed rows against the rest"


def write_page(folder: Path, told: Mapping[str, Any], features: pd.DataFrame) -> Path:
    """Write `report.html` into `folder` from what `contrast.json` and `features.parquet` hold."""
    whole = plain(told)
    body = [
        sections.layers_section(whole, ALPHA),
        sections.comparisons_section(whole),
        sections.features_section(whole, features, ALPHA),
        sections.statistics_section(whole),
        rerun_section(rerun_facts(folder)),
    ]
    shown = [section for section in body if section is not None]
    return render_page(
        TITLE,
        shown,
        folder / "report.html",
        masthead=sections.masthead(TITLE, whole, shown),
    )
