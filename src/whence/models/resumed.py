"""One model for a whole run, also where the run was cut off and goes on elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from whence.errors import BadInput
from whence.runs.jsonfile import read_json, write_json


def continue_with(model: Mapping[str, Any], attempt: Path, what: str) -> None:
    """Keep what decides of a model in the file `attempt`, which lies in a run's scratch folder.

    Equal settings do not make equal models: dtype auto is another one on another device, and a
    branch of the hub moves on. what: what is read with it ("traces"). Raises BadInput where an
    earlier attempt of the run had another.
    """
    if not attempt.exists():
        write_json(attempt, model)
        return
    earlier = read_json(attempt)
    differs = [
        f"{key} {earlier.get(key)} → {value}"
        for key, value in model.items()
        if earlier.get(key) != value
    ]
    if differs:
        raise BadInput(
            f"{attempt.parent.parent}: an earlier attempt read its {what} with another model "
            f"({'; '.join(differs)}); go on with that one (on the same --device, where --dtype is "
            "auto), or remove this folder"
        )
