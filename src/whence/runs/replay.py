"""`whence replay DIR`: run it again from its record and compare."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from whence.errors import BadInput
from whence.runs.compare import Comparison, compare_files
from whence.runs.config import Config, read_by_content
from whence.runs.finding import Finding
from whence.runs.record import Record, changed_inputs, read_record


class ReplayConfig(Config):
    """Which run to repeat, and how closely it must agree."""

    folder: Path = Field(description="Output folder of a finished run: the one with whence.json.")
    tolerance: float = Field(
        default=1e-5,
        ge=0,
        description="Largest relative difference |a − b| / max(|a|, |b|, 1) between two numbers "
        "that still counts as the same.",
    )


@dataclass(frozen=True)
class ReplayResult:
    """What came of a replay. `kept` is the second folder, when something in it was different."""

    folder: Path
    command: str
    tolerance: float
    files: tuple[Comparison, ...]
    kept: Path | None

    @property
    def same(self) -> bool:
        return all(file.same for file in self.files)

    def finding(self) -> Finding:
        """One line a file, and whether the run repeats."""
        agreeing = sum(file.same for file in self.files)
        headline = f"{self.command}: {agreeing} of {len(self.files)} files are the same again"
        if any(file.verdict == "within tolerance" for file in self.files):
            headline += f" (numbers within a relative {self.tolerance:g})"
        rows = [
            (
                file.name,
                file.verdict,
                "" if file.largest is None else f"{file.largest:.1e}",
                file.why,
            )
            for file in self.files
        ]
        return Finding(
            headline=headline,
            columns=("file", "verdict", "largest difference", "why"),
            rows=rows,
            files={"first run": self.folder, **({"replay": self.kept} if self.kept else {})},
            failed=not self.same,
        )


def replay(config: ReplayConfig) -> ReplayResult:
    """Run the command recorded in a folder again, beside it, and compare file by file.

    The second folder is removed when everything agrees and kept when not. Raises BadInput when the
    folder holds no finished run, an input has changed, or a file was edited since.
    """
    folder = config.folder.absolute()
    record = _finished(folder)
    beside = folder.with_name(f"{folder.name}.replay")
    if beside.exists():
        raise BadInput(f"{beside}: is left from an earlier replay; look at it and remove it")
    moved = _run_again(record, folder, beside)
    again = read_record(beside)
    outputs = sorted({*record.outputs, *(again.outputs if again else ())})
    here = Path(record.output_dir)
    spellings = [(str(beside), str(here)), *moved]
    if here.is_relative_to(record.working_folder):  # as a relative --output-dir was written
        spellings.append((str(here), str(here.relative_to(record.working_folder))))
    files = tuple(
        compare_files(name, folder / name, beside / name, config.tolerance, spellings)
        for name in outputs
    )
    same = all(file.same for file in files)
    if same:
        shutil.rmtree(beside)
    return ReplayResult(folder, record.command, config.tolerance, files, None if same else beside)


def _finished(folder: Path) -> Record:
    record = read_record(folder)
    if record is None:
        raise BadInput(f"{folder}: has no whence.json, so it is no folder of a finished run")
    if record.status != "done":
        raise BadInput(f"{folder}: the run is {record.status}; run its command again to finish it")
    changed = changed_inputs(record)
    if changed:
        raise BadInput(f"{folder}: cannot be replayed, {'; '.join(changed)}")
    return record


def _run_again(record: Record, folder: Path, beside: Path) -> list[tuple[str, str]]:
    """Call the recorded command with its recorded settings, its output going to `beside`.

    Returns the places it wrote to besides, each with the one that the first run wrote to.
    """
    # The one upward look of `runs`: which function a command's name stands for.
    from whence.commands import COMMANDS, load

    command = COMMANDS.get(record.command)
    if command is None:
        raise BadInput(f"{folder}: this version of whence has no command `{record.command}`")
    with tempfile.TemporaryDirectory(prefix="whence-replay-") as aside:
        shape = load(command.config)
        written = set(record.not_identity) - read_by_content(shape)
        settings, moved = _redirected(record, written, beside, Path(aside))
        try:
            config = shape.model_validate(settings)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            raise BadInput(
                f"{folder}: whence {record.versions.get('whence')} recorded settings that this "
                f"version does not take ({key}: {first['msg']})"
            ) from None
        with _working_in(Path(record.working_folder)):
            load(command.run)(config)
    if not beside.is_dir():
        raise BadInput(f"{folder}: `{record.command}` wrote nothing to compare")
    return moved


def _redirected(
    record: Record, places: set[str], beside: Path, aside: Path
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The recorded settings, with every place that the command writes to replaced; and (new, old)
    of each place besides the output folder.

    Those are the output folder and, among the settings in `places` (which decide nothing of what
    is computed, and are no inputs), every path: a second output such as a JSON file goes to `aside`
    and is thrown away.
    """
    moved = []

    def redirect(value: Any, name: str) -> Any:
        if isinstance(value, Mapping):
            return {k: redirect(item, f"{name}.{k}" if name else k) for k, item in value.items()}
        if value == record.output_dir:
            return str(beside)
        if name in places and isinstance(value, str) and Path(value).is_absolute():
            moved.append((str(aside / Path(value).name), value))
            return moved[-1][0]
        return value

    settings: dict[str, Any] = redirect(record.config, "")
    return settings, moved


@contextlib.contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    """Work in the folder that relative names of the record start from, while it still exists."""
    if folder.is_dir():
        with contextlib.chdir(folder):
            yield
    else:
        yield
