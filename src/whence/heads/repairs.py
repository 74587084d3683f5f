"""An unfinished run whose plan or corpora were repaired goes on with what it had finished.

A run folder belongs to its inputs: with other inputs it is another run. But a condition that failed
(a corpus that was not there, a broken row, a mistyped id) has used none of its own. Its inputs may
change in the record of the unfinished run; those of finished conditions may not.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from whence.runs.publish import SCRATCH
from whence.runs.record import begin, read_record, write_record


def partial_of(output_dir: Path) -> Path:
    """Where the unfinished run of an output folder lies."""
    home = Path(output_dir).absolute()
    return home.with_name(f"{home.name}.partial")


def scratch_of(output_dir: Path) -> Path:
    """The scratch folder of the unfinished run of an output folder."""
    return partial_of(output_dir) / SCRATCH


def take_up_repairs(
    output_dir: Path,
    command: str,
    config: BaseModel,
    inputs: Mapping[str, Any],
    seeds: Sequence[int],
    repairable: Collection[str],
) -> None:
    """Let the record of an unfinished run name the present state of its `repairable` inputs.

    Whatever else differs still makes it another run, which `open_run` says.
    """
    folder = partial_of(output_dir)
    old = read_record(folder)
    if old is None or old.status not in ("failed", "interrupted", "running"):
        return
    new = begin(command, output_dir, config, inputs, seeds)
    if old.command != new.command:
        return
    kept = {name: value for name, value in old.inputs.items() if name not in repairable}
    present = {name: value for name, value in new.inputs.items() if name in repairable}
    if {**kept, **present} != old.inputs:
        write_record(folder, replace(old, inputs={**kept, **present}))
