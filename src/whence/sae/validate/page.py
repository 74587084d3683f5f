"""`report.html` of a validation.

Imports Altair (about two seconds): import this module inside the function that writes the report.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import whence.report.sae_validate_sections as sections
from whence.report.page import render_page
from whence.report.provenance_sections import rerun_section
from whence.runs.jsonfile import plain
from whence.runs.rerun import rerun_facts
from whence.sae.validate.fields import Known

TITLE = "Predicted usefulness beside the metadata"


def write_page(
    folder: Path,
    told: Mapping[str, Any],
    predicted: NDArray[np.float64],
    fields: Mapping[str, Known],
    rows: NDArray[np.bool_],
) -> Path:
    """Write `report.html` into `folder`.

    predicted: float64 [n]; rows: bool [n], those whose pictures are drawn.
    """
    whole = plain(told)
    body = [
        sections.fields_section(whole),
        sections.beyond_section(whole),
        sections.pictures_section(
            {
                name: _pairs(predicted, field, rows)
                for name, field in fields.items()
                if field.kind == "number"
            },
            {
                name: _by_level(predicted, field, rows)
                for name, field in fields.items()
                if field.kind != "number"
            },
        ),
        sections.out_of_fold_section(whole),
        sections.in_sample_section(whole),
        rerun_section(rerun_facts(folder)),
    ]
    shown = [section for section in body if section is not None]
    return render_page(
        TITLE, shown, folder / "report.html", masthead=sections.masthead(TITLE, whole, shown)
    )


def _pairs(
    predicted: NDArray[np.float64], field: Known, rows: NDArray[np.bool_]
) -> tuple[list[float], list[float]]:
    known = rows & np.isfinite(field.values)
    return field.values[known].tolist(), predicted[known].tolist()


def _by_level(
    predicted: NDArray[np.float64], field: Known, rows: NDArray[np.bool_]
) -> dict[str, list[float]]:
    """Predictions by level: in order where there is one, else the most frequent first."""
    own = {
        level: predicted[rows & (field.values == at)].tolist()
        for at, level in enumerate(field.levels)
    }
    present = {level: values for level, values in own.items() if values}
    if field.kind == "order":
        return present
    return dict(sorted(present.items(), key=lambda each: -len(each[1])))
