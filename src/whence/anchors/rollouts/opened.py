"""An index as other commands open it: the tree, its folders, the problems that were drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from whence.anchors.rollouts.content import content_of
from whence.anchors.rollouts.local import LocalTree
from whence.anchors.rollouts.problem import (
    FILES,
    Problem,
    read_problem,
    read_rollouts,
    rollout_files,
)
from whence.anchors.rollouts.rollout import Rollout
from whence.anchors.rollouts.tree import Tree, open_tree
from whence.anchors.sentences import as_id
from whence.errors import BadInput
from whence.runs.jsonfile import read_json
from whence.runs.progress import track

KEYS = ("source", "split_folder", "forced_folder", "problem_ids")


@dataclass(frozen=True)
class Index:
    """folder, forced: the split folder and that of forced answers, from the root of the tree."""

    path: Path
    tree: Tree
    folder: str
    forced: str
    problem_ids: tuple[str, ...]
    splits: Mapping[str, Sequence[Any]] | None

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Read what `whence anchors index` wrote. Raises BadInput for anything else."""
        path = folder / "index.json"
        if not path.is_file():
            raise BadInput(f"{folder}: no index.json in it; make it with `whence anchors index`")
        about = read_json(path)
        absent = [key for key in KEYS if key not in about] if isinstance(about, dict) else KEYS
        if absent:
            raise BadInput(f"{path}: no {absent[0]}; make it again with `whence anchors index`")
        return cls(
            path,
            open_tree(about["source"], str(path)),
            about["split_folder"],
            about["forced_folder"],
            tuple(as_id(each) for each in about["problem_ids"]),
            about.get("splits"),
        )

    def only(self, problem_ids: Sequence[str]) -> Self:
        """The same with some of its problems."""
        kept = tuple(each for each in self.problem_ids if each in set(problem_ids))
        return replace(self, problem_ids=kept)

    def problem(self, problem_id: str) -> Problem:
        """Its text and sentences."""
        return read_problem(self.tree, self.folder, problem_id)

    def rollouts(self, problem: Problem) -> dict[int, list[Rollout]]:
        """Chunk number → rollouts. Raises BadInput where there is none at all."""
        wanted = {sentence.number for sentence in problem.sentences}
        found = read_rollouts(self.tree, self.folder, problem.problem_id, wanted)
        if not found:
            raise BadInput(
                f"{problem.place}: no chunk_i/solutions.json with a rollout in it, so nothing can "
                "be recomputed; use --source published, or leave the problem out of the index"
            )
        return found

    def forced_rollouts(self, problem: Problem) -> dict[int, list[Rollout]]:
        """Chunk number → rollouts with a forced answer; empty where there are none."""
        wanted = {sentence.number for sentence in problem.sentences}
        return read_rollouts(self.tree, self.forced, problem.problem_id, wanted)

    def content(self, with_rollouts: bool) -> Any:
        """What a record keeps of the files: a hash a problem, or the commit on the hub."""
        if not isinstance(self.tree, LocalTree):
            return dict(self.tree.source())
        found = {}
        for each in track(self.problem_ids, label="looking at files", unit="problems"):
            here = f"{self.folder}/problem_{each}"
            files = self.tree.files([f"{here}/{name}" for name in FILES])
            if with_rollouts:
                files |= rollout_files(self.tree, self.folder, each)
                files |= rollout_files(self.tree, self.forced, each)
            found[each] = content_of(files)
        return found
