"""Content hashes: of values, of files, of folders."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from whence.errors import BadInput
from whence.runs.atomic import TEMPORARY_PREFIX, write_text
from whence.runs.jsonfile import plain

RECORD_NAME = "whence.json"
"""The record of a run. It holds times, so it is not part of what its folder contains."""

REMEMBERED_FROM = 8 * 2**20
"""Bytes from which a file's hash is remembered: reading less costs no more than looking it up."""


def fingerprint(value: Any) -> str:
    """SHA-256, as 64 hex digits, of `value` as canonical JSON (sorted keys, no spaces)."""
    text = json.dumps(
        plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()


def text_digest(*texts: str) -> bytes:
    """16 bytes that stand for these texts in this order."""
    digest = hashlib.blake2b(digest_size=16)
    # The length keeps the seam: ("ab", "c") is not ("a", "bc").
    for text in texts:
        encoded = text.encode()
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.digest()


def hash_path(path: Path) -> str:
    """SHA-256 of a file's bytes, or of a folder's files with their names below it.

    A folder's hash does not depend on where it lies, on times, or on `whence.json` in it. Raises
    BadInput when there is nothing at `path`.
    """
    path = Path(path)
    if path.is_file():
        return _hash_file(path)
    if not path.is_dir():
        raise BadInput(f"{path}: no such file or folder")
    return fingerprint(hash_folder(path))


def hash_folder(folder: Path, names: Sequence[str] | None = None) -> dict[str, str]:
    """Relative name → SHA-256 of every file below `folder`, or of those `names` that exist."""
    names = files_below(folder) if names is None else [n for n in names if (folder / n).is_file()]
    return {name: _hash_file(folder / name) for name in names}


def files_below(folder: Path) -> list[str]:
    """Relative POSIX names of the finished files below `folder`, sorted; records are left out."""
    names = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return sorted(n for n in names if not _is_ours(n.rpartition("/")[2]))


def _is_ours(name: str) -> bool:
    return name == RECORD_NAME or name.startswith(TEMPORARY_PREFIX)


def _hash_file(path: Path) -> str:
    status = path.stat()
    remembered = _memory(status) if status.st_size >= REMEMBERED_FROM else None
    if remembered is not None:
        try:
            known = remembered.read_text()
        except OSError:
            known = ""
        if len(known) == 64:
            return known
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    after = path.stat()
    # A file that grew while it was read has a hash of neither state: do not remember it.
    if remembered is not None and after.st_mtime_ns == status.st_mtime_ns:
        with suppress(OSError):  # a read-only home only costs the time of hashing again
            write_text(remembered, digest)
    return digest


def _memory(status: os.stat_result) -> Path:
    """Where a file's hash is remembered: one small file each, so that writers cannot collide."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    return cache / "whence" / "hashes" / "-".join(map(str, identity))
