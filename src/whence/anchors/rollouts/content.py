"""What the files of a problem hold, as one hash, so that a run knows whether they changed.

A problem with rollouts is 15,000 of them in some 150 files, over a hundred megabytes. Its hash is
remembered under what the file system says of the files, so that "already done" need not read them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from whence.runs.atomic import write_text
from whence.runs.fingerprint import fingerprint, hash_path


def content_of(files: Mapping[str, Path]) -> str:
    """A hash of the names and bytes of `files` (name in the tree → file here)."""
    remembered = _memory(_stats(files))
    with suppress(OSError):
        known = remembered.read_text()
        if len(known) == 64:
            return known
    before = _stats(files)
    digest = fingerprint({name: hash_path(file) for name, file in files.items()})
    # What changed while it was read has a hash of neither state: do not remember it.
    if _stats(files) == before:
        with suppress(OSError):  # a read-only home only costs the time of hashing again
            write_text(remembered, digest)
    return digest


def _stats(files: Mapping[str, Path]) -> dict[str, list[int]]:
    found = {name: file.stat() for name, file in files.items()}
    return {
        name: [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns]
        for name, status in found.items()
    }


def _memory(stats: Mapping[str, list[int]]) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "whence" / "hashes" / f"rollouts-{fingerprint(stats)}"
