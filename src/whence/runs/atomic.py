"""Files that are whole or not there: written beside their name, flushed, then renamed onto it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

TEMPORARY_PREFIX = ".tmp-"
"""Begins the name of every half-written file; whatever carries it may be deleted."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path` to write; it becomes `path` when the block ends well.

    The temporary name keeps the suffix, because several writers (NumPy, Altair) choose their format
    by it. If the block raises, `path` is as it was before and the temporary file is gone. A reader,
    or a process killed at any moment, sees the old file or the new one, never a part.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A number of a process is not enough: on a shared file system another host may have the same.
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(4)}-{path.name}")
    try:
        yield temporary
        flush(temporary)
        os.replace(temporary, path)
        flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def remove_temporaries(folder: Path) -> None:
    """Delete what killed processes left half-written anywhere below `folder`."""
    for leftover in folder.rglob(f"{TEMPORARY_PREFIX}*"):
        if leftover.is_file():
            leftover.unlink(missing_ok=True)


def lock_beside(path: Path) -> FileLock:
    """A lock on `<path>.lock`, held by one process; the kernel drops it when that process dies.

    `remove_lock` takes the file away again; a lock file that lies about guards nothing by itself.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path.with_name(f"{path.name}.lock"))


def remove_lock(lock: FileLock) -> None:
    """Unlink the file of a lock that is still held, just before it is released.

    Safe because `filelock` (≥ 4) looks, after it has won the kernel lock, whether the file still
    has a name, and starts over when it has none.
    """
    Path(lock.lock_file).unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Ask the disk to hold `path` before anything that depends on it is written."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        # Some network and container file systems refuse fsync on a folder; the rename still stands.
        if not path.is_dir():
            raise
    finally:
        os.close(descriptor)
