"""A tree of rollout files, wherever it lies: what both a folder and the hub can answer.

    {model_dir}/{temp_dir}/{split_dir}/problem_N/
        problem.json base_solution.json chunks.json chunks_labeled.json
        chunk_i/solutions.json
    {model_dir}/{temp_dir}/{forced_split_dir}/problem_N/chunk_i/solutions.json

Paths are relative to the root of the tree and separated by "/".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from whence.errors import BadInput

PROBLEM_FOLDER = re.compile(r"problem_(\d+)")
CHUNK_FOLDER = re.compile(r"chunk_(\d+)")


@dataclass(frozen=True)
class Names:
    """Names directly in one folder; both are empty where there is no such folder."""

    files: frozenset[str] = frozenset()
    folders: frozenset[str] = frozenset()


class Tree(Protocol):
    """One way to list and read the files of a tree.

    `names` lists one folder and nothing below it. `files` makes files readable here (downloads
    them, where they are elsewhere) and leaves out those that do not exist. `place` is how a person
    finds a path again. `source` says which tree this is, for `index.json`.
    """

    def names(self, folder: str) -> Names: ...

    def files(self, paths: Sequence[str]) -> dict[str, Path]: ...

    def place(self, path: str) -> str: ...

    def source(self) -> Mapping[str, Any]: ...


def open_tree(source: Mapping[str, Any], where: str) -> Tree:
    """The tree that an `index.json` names. Raises BadInput naming `where` it was read."""
    from whence.anchors.rollouts.hub import HubTree
    from whence.anchors.rollouts.local import LocalTree

    if source.get("kind") == "local" and isinstance(source.get("root"), str):
        return LocalTree(Path(source["root"]))
    if source.get("kind") == "hub" and isinstance(source.get("repo_id"), str):
        return HubTree(source["repo_id"], source.get("revision"))
    raise BadInput(
        f"{where}: source names neither a local root nor a hub repo_id; make the index again with "
        "`whence anchors index`"
    )


def problem_ids(tree: Tree, folder: str) -> list[str]:
    """Ids of the problems in a split folder, by number."""
    found = (PROBLEM_FOLDER.fullmatch(name) for name in tree.names(folder).folders)
    return sorted((match[1] for match in found if match), key=int)


def chunk_numbers(names: Names) -> list[int]:
    """Numbers of the sentences that have a folder of rollouts, in order."""
    found = (CHUNK_FOLDER.fullmatch(name) for name in names.folders)
    return sorted(int(match[1]) for match in found if match)
