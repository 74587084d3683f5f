"""Moving a finished partial folder to where it belongs, so that a kill at any point loses nothing.

Where the output folder does not exist yet this is one rename. Where it does (an earlier run, or
somebody's files) the record in the partial folder first says what is to be moved and what the
earlier run owned; then files move one by one; `whence.json`, which says that the folder is whole,
comes last. The next process that opens the folder finishes an interrupted publication.
"""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path

from whence.errors import BadInput
from whence.runs.atomic import flush, remove_temporaries, whole_file
from whence.runs.fingerprint import RECORD_NAME, files_below, hash_folder
from whence.runs.record import Record, read_record, write_record

SCRATCH = ".scratch"
"""Folder in a partial folder whose files are deleted instead of published."""


def publish(partial: Path, output_dir: Path, record: Record) -> None:
    """Make everything in `partial`, scratch aside, the content of `output_dir`.

    record: the run's record with status "done"; its outputs are filled in here. Raises BadInput,
    with the work kept in `partial`, when a file that whence did not make is in the way.
    """
    remove_temporaries(partial)
    names = [n for n in files_below(partial) if not n.startswith(f"{SCRATCH}/")]
    for name in names:
        flush(partial / name)
    hashes = hash_folder(partial, names)
    outputs = {n: {"sha256": hashes[n], "bytes": (partial / n).stat().st_size} for n in names}
    earlier = read_record(output_dir)
    owned = sorted(earlier.outputs) if earlier else []
    _refuse_foreign(names, output_dir, set(owned))
    record = replace(record, status="publishing", outputs=outputs, replaces=owned)
    write_record(partial, record)
    finish_publishing(partial, output_dir)


def finish_publishing(partial: Path, output_dir: Path) -> None:
    """Carry a publication that was begun to its end; do nothing when none was begun.

    Every step may have happened before: files that were moved are no longer in `partial`.
    """
    record = read_record(partial)
    if record is None and partial.is_dir() and not files_below(partial):
        shutil.rmtree(partial)  # all that was left of one that came to its end
    if record is None or record.status not in ("publishing", "done"):
        return
    remove_temporaries(partial)
    shutil.rmtree(partial / SCRATCH, ignore_errors=True)
    done = replace(record, status="done", replaces=())
    if not output_dir.exists():
        write_record(partial, done)
        os.rename(partial, output_dir)
        flush(output_dir.parent)
        return
    (output_dir / RECORD_NAME).unlink(missing_ok=True)
    for name in set(record.replaces) - set(record.outputs):
        _remove(output_dir, name)
    for name in files_below(partial):
        (output_dir / name).parent.mkdir(parents=True, exist_ok=True)
        _move(partial / name, output_dir / name)
    # Written here and moved, so that a kill leaves no half-written file in the output folder.
    write_record(partial, done)
    _move(partial / RECORD_NAME, output_dir / RECORD_NAME)
    shutil.rmtree(partial)


def _refuse_foreign(names: list[str], output_dir: Path, owned: set[str]) -> None:
    """Raise BadInput when publishing would write over a file that no earlier run made."""
    for name in names:
        target = output_dir / name
        if target.is_dir():
            in_the_way = [path for path in target.rglob("*") if path.is_file()]
        else:  # the file itself, or a file where a folder of its path would be
            above = [path for path in target.parents if path.is_relative_to(output_dir)]
            in_the_way = [path for path in (target, *above) if path.is_file()]
        for path in in_the_way:
            if path.relative_to(output_dir).as_posix() not in owned:
                raise BadInput(
                    f"{path} is in the way and was not made by whence; move it and run the same "
                    f"command again (the finished work is in {output_dir}.partial)"
                )


def _move(source: Path, target: Path) -> None:
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:  # the output folder may be a mount of its own
            raise
        with whole_file(target) as temporary:
            shutil.copy2(source, temporary)
        source.unlink()


def _remove(folder: Path, name: str) -> None:
    """Delete one file and the folders that it leaves empty below `folder`."""
    (folder / name).unlink(missing_ok=True)
    for parent in (folder / name).parents:
        if parent == folder or not parent.is_dir() or any(parent.iterdir()):
            return
        parent.rmdir()
