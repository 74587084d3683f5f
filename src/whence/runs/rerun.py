"""What a page says of how to repeat the run that made it, from that run's own record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from whence.runs.record import read_record


def rerun_facts(folder: Path) -> Mapping[str, Any]:
    """Commands, settings, inputs and versions of the run in `folder`; empty without a record."""
    record = read_record(folder)
    if record is None:
        return {}
    inputs = {
        name: made if isinstance(made, list) else [made]
        for name, made in record.inputs.items()
        if made
    }
    facts: dict[str, Any] = {
        "commands": [f"whence replay {record.output_dir}"],
        "command": f"whence {record.command}",
        "config": dict(record.config),
        "seeds": list(record.seeds),
        "inputs": {
            name: "; ".join(f"{each['path']}, sha256 {each['sha256'][:12]}…" for each in made)
            for name, made in inputs.items()
            if all("sha256" in each for each in made)
        },
        "versions": dict(record.versions),
    }
    return {name: value for name, value in facts.items() if value}
