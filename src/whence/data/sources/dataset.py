"""A data set by its name: a folder here, or a repository on the hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from whence.data.sources.hub import choose_config, pin, stream
from whence.data.sources.local import read_folder
from whence.data.sources.source import Source
from whence.errors import BadInput
from whence.runs.fingerprint import hash_path


def local_folder(name: str, flag: str = "--dataset-name") -> Path | None:
    """The folder that `name` is, or None for a hub id. Raises BadInput for a path with nothing.

    flag: what asked for it, for the error.
    """
    path = Path(name).expanduser()
    if name.strip() and path.is_dir():
        return path
    if path.is_file():
        raise BadInput(f"{flag} {name}: is a file; give it as --train-file")
    if name.startswith(("/", ".", "~")) or name.count("/") > 1 or not name.strip():
        raise BadInput(f"{flag} {name}: no such folder, nor is it a hub id (owner/name)")
    return None


def read_dataset(
    name: str,
    config: str,
    *,
    default_config: str,
    revision: str | None,
    limits: Mapping[str, int | None],
) -> tuple[list[Source], dict[str, Any]]:
    """The train split of a data set, its held-out split if it has one, and what it was.

    A folder is read whole, from its subfolder `config` where there is one; a hub data set, and a
    folder laid out like one, is streamed up to `limits` (see `stream`). A `config` that the data
    set lacks is refused, unless it is `default_config`, that is, the value of a flag nobody set.
    The description has no path in it, because the same data may lie elsewhere tomorrow.
    """
    folder = local_folder(name)
    if folder:
        inner = folder / config
        chosen = inner if inner.is_dir() else folder
        found = read_folder(chosen)
        if found:
            if chosen is folder and config != default_config:
                raise BadInput(
                    f"--dataset-config {config}: {folder} has no folder of that name; "
                    "leave the flag out to read the folder itself"
                )
            return found, {
                "name": folder.resolve().name,
                "config": config if chosen is inner else None,
                "files": {source.split: {"name": source.file} for source in found},
                "sha256": hash_path(chosen),
            }
        name = str(folder)
    commit = None if folder else pin(name, revision)
    chosen_config = choose_config(name, config, revision=commit, default=default_config)
    return stream(name, chosen_config, revision=commit, limits=limits), {
        "name": folder.resolve().name if folder else name,
        "config": chosen_config,
        "revision": commit,
        "sha256": hash_path(folder) if folder else None,
    }
