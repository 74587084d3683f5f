"""A later stage begins from the best settings of an earlier one, chosen on selection data alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from whence.errors import BadInput
from whence.runs.fingerprint import fingerprint
from whence.runs.jsonfile import read_json
from whence.sweep.layout import summary_folder
from whence.sweep.settings import RefineSettings

SHORTLIST = "shortlist.json"


def shortlist_file(home: Path, stage: str) -> Path:
    """What `sweep summarize` leaves for later stages: settings by their selection estimate."""
    return summary_folder(home, stage) / SHORTLIST


def best_of(home: Path, refine: RefineSettings) -> list[dict[str, Any]]:
    """Factors of the settings to begin from, best first: `top` of each group of `per`.

    Raises BadInput where the earlier stage is not summarised, and for a factor of `per` that it has
    not.
    """
    path = shortlist_file(home, refine.stage)
    if not path.is_file():
        raise BadInput(
            f"{path}: stage {refine.stage} is not summarised; run it, then `whence sweep summarize "
            f"{home} --stage {refine.stage}`"
        )
    taken: dict[str, int] = {}
    found = []
    for setting in read_json(path)["settings"]:
        factors: Mapping[str, Any] = setting["factors"]
        absent = [key for key in refine.per if key not in factors]
        if absent:
            raise BadInput(
                f"refine.per: {absent[0]} is no factor of stage {refine.stage}; it has "
                f"{', '.join(factors) or 'none'}"
            )
        group = fingerprint([factors[key] for key in refine.per])
        if taken.get(group, 0) < refine.top:
            taken[group] = taken.get(group, 0) + 1
            found.append(dict(factors))
    if not found:
        raise BadInput(f"{path}: holds no setting; was any run of {refine.stage} measured?")
    return found
