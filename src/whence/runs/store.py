"""Output folders that are whole or not there.

A run writes into `<output-dir>.partial`, which is renamed when everything is in it. Killed at any
moment, it leaves either the finished folder or a partial one that the same command continues from.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import Timeout
from pydantic import BaseModel

from whence.errors import BadInput, Busy
from whence.runs.atomic import lock_beside, remove_lock, remove_temporaries
from whence.runs.fingerprint import files_below, hash_folder
from whence.runs.publish import SCRATCH, finish_publishing, publish
from whence.runs.record import (
    Record,
    Status,
    begin,
    differences,
    end,
    read_record,
    write_record,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """One run of a command, inside `open_run`.

    folder: write everything here. Whatever was finished before a kill is still here. When `done`,
        this is the finished output folder.
    done: the same run finished earlier; there is nothing to do.
    resumed: an earlier attempt was cut off, and `folder` holds what it finished.
    """

    folder: Path
    done: bool
    resumed: bool

    @property
    def scratch(self) -> Path:
        """A folder that survives a kill as `folder` does, but is deleted instead of published."""
        path = self.folder / SCRATCH
        path.mkdir(parents=True, exist_ok=True)
        return path


@contextmanager
def open_run(
    output_dir: Path,
    *,
    command: str,
    config: BaseModel,
    inputs: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    seeds: Sequence[int] = (),
) -> Iterator[Run]:
    """Hold `output_dir` for one run and publish what the block wrote when it ends well.

    command: its words, as in "data score". inputs: name → Path (or list of Paths) of files and
    folders whose content counts, or a JSON value for what has no file; None is skipped.

    Raises BadInput, before anything is written, when an input is absent, when another process is
    writing here (Busy), and, unless `overwrite`, when the folder or its partial holds a run with
    other settings. If the block raises, what it wrote is kept for the next attempt; after a
    BadInput it is removed, because a repaired input makes another run.
    """
    output_dir = Path(output_dir).absolute()
    if output_dir.exists() and not output_dir.is_dir():
        raise BadInput(f"{output_dir}: is a file, a folder was expected")
    record = begin(command, output_dir, config, inputs or {}, seeds)
    with _held(output_dir):
        partial = output_dir.with_name(f"{output_dir.name}.partial")
        finish_publishing(partial, output_dir)
        if _already_done(output_dir, record, overwrite):
            logger.info("already done: %s", output_dir)
            yield Run(folder=output_dir, done=True, resumed=False)
            return
        record = _prepare(partial, record, overwrite)
        run = Run(folder=partial, done=False, resumed=record.attempts > 1)
        if run.resumed:
            logger.info("continuing the unfinished run in %s", partial)
        started = time.monotonic()
        try:
            yield run
        except BaseException as error:
            _close_failed(run, record, time.monotonic() - started, error)
            raise
        publish(partial, output_dir, end(record, "done", time.monotonic() - started))


@contextmanager
def _held(output_dir: Path) -> Iterator[None]:
    """Hold the lock beside `output_dir`; leave no empty folders behind that only it needed."""
    made = [p for p in output_dir.parents if not p.exists()]
    try:
        lock = lock_beside(output_dir)
        lock.acquire(timeout=0)
    except Timeout:
        if not Path(lock.lock_file).exists():  # the lock's file could not even be made
            kind = Busy if os.access(output_dir.parent, os.W_OK) else BadInput
            raise kind(
                f"{output_dir}: no file can be made in {output_dir.parent}; write to another "
                "folder, or try again if another whence process was just ending"
            ) from None
        holder = ""
        with suppress(OSError):
            holder = Path(lock.lock_file).read_text().strip()
        raise Busy(
            f"{output_dir}: another whence process ({holder or 'pid not known yet'}) is writing "
            "here; wait for it, stop it, or write to another folder"
        ) from None
    except OSError as error:
        raise BadInput(f"{output_dir}: cannot be written ({error.strerror})") from None
    try:
        Path(lock.lock_file).write_text(f"pid {os.getpid()}\n")
        yield
    finally:
        remove_lock(lock)
        lock.release()
        for folder in made:
            with suppress(OSError):
                folder.rmdir()


def _already_done(output_dir: Path, record: Record, overwrite: bool) -> bool:
    """Whether `output_dir` holds this very run, whole. Raises BadInput when it holds another."""
    old = read_record(output_dir)
    if old is None:
        return False
    found = differences(old, record)
    if not found:
        hashes = hash_folder(output_dir, list(old.outputs))
        found = [
            f"{name} was changed after it was made"
            for name, output in old.outputs.items()
            if name in hashes and hashes[name] != output["sha256"]
        ]
        if not found and len(hashes) == len(old.outputs):
            return True
    if found and not overwrite:
        raise BadInput(
            f"{output_dir} holds another run: {'; '.join(found)}; "
            "use --overwrite, or write to another folder"
        )
    return False


def _prepare(partial: Path, record: Record, overwrite: bool) -> Record:
    """Make or take over the partial folder. Raises BadInput when it holds another run's work."""
    if partial.exists():
        old = read_record(partial)
        found = ["it has no record"] if old is None else differences(old, record)
        if old is not None and not found:
            remove_temporaries(partial)
            record = replace(record, attempts=old.attempts + 1)
        elif files_below(partial) and not overwrite:
            raise BadInput(
                f"{partial} holds an unfinished run: {'; '.join(found)}; "
                "use --overwrite to discard it, or write to another folder"
            )
        else:
            shutil.rmtree(partial)
    partial.mkdir(parents=True, exist_ok=True)
    write_record(partial, record)
    return record


def _close_failed(run: Run, record: Record, seconds: float, error: BaseException) -> None:
    """Keep the work of a failed attempt, or remove a partial folder that nothing can use."""
    wrong_input = isinstance(error, BadInput) and not isinstance(error, Busy)
    if not files_below(run.folder) or (wrong_input and not run.resumed):
        shutil.rmtree(run.folder, ignore_errors=True)
        return
    status: Status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
    summary = f"{type(error).__name__}: {error}".splitlines()[0]
    # A full disk may be why the attempt failed; saying so must not hide the first error.
    with suppress(OSError):
        write_record(run.folder, end(record, status, seconds, summary))
