"""Cells that were made before and by themselves (`whence data cell`), taken into an experiment.

A cell is taken only where its record says what the experiment's own would have said: rows, seed,
settings and the content of every input. Nothing is ever reused on the word of a folder's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from whence.data.experiment.cells import FINISHED, Cell
from whence.data.experiment.one_cell import ABOUT, COMMAND, cell_inputs, cell_settings
from whence.data.experiment.plan import Plan
from whence.data.experiment.settings import ExperimentConfig
from whence.errors import BadInput
from whence.runs.fingerprint import hash_folder
from whence.runs.jsonfile import read_json, write_json
from whence.runs.manifest import Manifest
from whence.runs.record import Record, begin, differences, read_record
from whence.runs.tables import read_table, write_parquet

TABLES = ("items.parquet", "bench.parquet")


def finished_cells(
    config: ExperimentConfig,
    manifest: Manifest,
    plan: Plan,
    cells: Sequence[Cell],
    *,
    scores: Path,
    adapter: Path | None,
) -> dict[str, Path]:
    """A cell's place → the folder of `config.cells` that has it.

    Raises BadInput, naming what differs, for a folder that is no finished cell of this experiment.
    """
    found: dict[str, Path] = {}
    wanted = {}
    for cell in cells if config.cells else ():
        own = cell_settings(
            config,
            cell.arm,
            cell.seed,
            manifest,
            scores=scores,
            adapter=adapter,
            output_dir=config.output_dir,
        )
        seeds = [] if cell.seed is None else [cell.seed]
        record = begin(COMMAND, config.output_dir, own, cell_inputs(own, manifest), seeds)
        wanted[cell.place] = (cell, record)
    for folder in config.cells:
        record = _read(folder)
        differ = {
            place: differences(record, expected)
            for place, (_, expected) in wanted.items()
            if expected.config["seed"] == record.config["seed"]
        }
        fitting = [place for place, told in differ.items() if not told]
        if not fitting:
            told = min(differ.values(), key=len, default=["no cell has its seed"])
            raise BadInput(
                f"cells: {folder} is of no cell of this experiment: {'; '.join(told)}; leave it "
                "out, or make it anew with the settings of this experiment"
            )
        for place in fitting:
            _check_rows(folder, wanted[place][0])
            found[place] = folder
    return found


def take_over(cell: Cell, taken: Path, folder: Path) -> None:
    """Put a finished cell's answers and what is said of it into the experiment's `folder`.

    The adapter stays where it is; `cell.json` says where.
    """
    if (folder / cell.place / FINISHED).is_file():
        return
    import pyarrow as pa

    there = taken / read_json(taken / ABOUT)["place"]
    for name in TABLES:
        if (there / name).is_file():
            table = read_table(there / name)
            at = table.column_names.index("arm")
            names = pa.array([cell.arm] * table.num_rows, table.schema.field(at).type)
            write_parquet(table.set_column(at, "arm", names), folder / cell.place / name)
    said = {**read_json(there / FINISHED), "arm": cell.arm, "taken_from": str(taken.absolute())}
    write_json(folder / cell.place / FINISHED, said)


def ran_on(taken: Iterable[Path]) -> dict[str, Any]:
    """What `describe` said where the cells ran; of several machines, each."""
    each = [read_json(folder / ABOUT)["ran_on"] for folder in taken]
    machines = [found["hardware"] for found in each]
    distinct = [one for at, one in enumerate(machines) if one not in machines[:at]]
    others: Mapping[str, Any] = {"other hardware": distinct[1:]} if len(distinct) > 1 else {}
    return {**each[0], **others}


def _read(folder: Path) -> Record:
    """The record of a finished cell whose answers are as it left them."""
    record = read_record(folder)
    if record is None or record.command != COMMAND or record.status != "done":
        state = "no run" if record is None else f"a run of {record.command} ({record.status})"
        raise BadInput(f"cells: {folder}: a finished cell was expected, found {state}")
    small = [name for name in record.outputs if not name.endswith(".safetensors")]
    hashes = hash_folder(folder, small)
    for name in small:
        if hashes.get(name) != record.outputs[name]["sha256"]:
            raise BadInput(f"cells: {folder}: {name} was changed after it was made; make it anew")
    return record


def _check_rows(folder: Path, cell: Cell) -> None:
    there = folder / read_json(folder / ABOUT)["place"] / FINISHED
    if list(read_json(there)["row_ids"]) != list(cell.row_ids):
        raise BadInput(
            f"cells: {folder}: it trained on other rows than arm {cell.arm}, seed {cell.seed}, of "
            "this experiment; make it anew"
        )
