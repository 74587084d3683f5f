"""`whence anchors index`: which problems a study works on, and where their files are."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field

from whence.anchors.rollouts.tree import open_tree, problem_ids
from whence.anchors.sentences import as_id, ids_for_disk
from whence.anchors.splits import make_splits
from whence.errors import BadInput
from whence.runs.config import OutputConfig, Words
from whence.runs.finding import Finding
from whence.runs.fingerprint import fingerprint
from whence.runs.jsonfile import read_json, read_jsonl, write_json, write_jsonl
from whence.runs.progress import track
from whence.runs.store import open_run

if TYPE_CHECKING:
    from whence.anchors.rollouts.tree import Tree

PUBLISHED = "uzaymacar/math-rollouts"


class IndexConfig(OutputConfig):
    """Draw problems from a data set of rollouts, and split them; no rollout is read."""

    root: Path | None = Field(
        default=None,
        description="Folder with the tree of rollouts: model folder, temperature folder, split "
        "folder, problem_N. Without it the hub is asked.",
    )
    repo_id: str = Field(default=PUBLISHED, description="Data set on the hub with that tree.")
    revision: str | None = Field(
        default=None, description="Branch, tag or commit of it; the commit found is kept."
    )
    model_dir: str = Field(
        default="deepseek-r1-distill-qwen-14b", description="Folder of the model that reasoned."
    )
    temp_dir: str = Field(
        default="temperature_0.6_top_p_0.95", description="Folder of the sampling settings."
    )
    split_dir: str = Field(
        default="correct_base_solution",
        description="Folder of the problems: correct_base_solution or incorrect_base_solution.",
    )
    forced_split_dir: str | None = Field(
        default=None, description="Folder of forced answers; by default <split-dir>_forced_answer."
    )
    num_problems: int | None = Field(
        default=None, ge=1, description="How many problems to draw; all where there are fewer."
    )
    problem_ids: Words = Field(
        default=(), description="Take these problems and draw none: 330,1591."
    )
    seed: int = Field(default=0, description="Which problems are drawn, and how they are split.")
    val_fraction: float = Field(default=0.15, gt=0, lt=1, description="Share of val problems.")
    test_fraction: float = Field(default=0.15, gt=0, lt=1, description="Share of test problems.")

    def source(self) -> dict[str, Any]:
        """Which tree is meant, as `open_tree` takes it."""
        if self.root is not None:
            return {"kind": "local", "root": str(self.root.absolute())}
        return {"kind": "hub", "repo_id": self.repo_id, "revision": self.revision}

    def folders(self) -> tuple[str, str]:
        """The split folder and the folder of forced answers, from the root of the tree."""
        forced = self.forced_split_dir or f"{self.split_dir}_forced_answer"
        above = f"{self.model_dir}/{self.temp_dir}"
        return f"{above}/{self.split_dir}", f"{above}/{forced}"


@dataclass(frozen=True)
class IndexResult:
    """problems: the lines of `problems.jsonl`. found: how many the split folder holds.

    left_out: drawn, but without sentences; problem → why.
    """

    folder: Path
    problems: Sequence[Mapping[str, Any]]
    found: int
    splits: Mapping[str, Sequence[Any]] | None
    left_out: Mapping[str, str]
    done: bool

    @classmethod
    def read(cls, folder: Path, done: bool) -> Self:
        about = read_json(folder / "index.json")
        return cls(
            folder,
            read_jsonl(folder / "problems.jsonl"),
            about["found"],
            about["splits"],
            about["left_out"],
            done,
        )

    def finding(self) -> Finding:
        """How many problems and sentences there are, and of what kind."""
        sentences = sum(row["sentences"] for row in self.problems)
        right = sum(row["answer_right"] is True for row in self.problems)
        parts = (
            f"split {'/'.join(str(len(ids)) for ids in self.splits.values())}"
            if self.splits
            else "not split: train, val and test need three problems"
        )
        files = {"problems": self.folder / "problems.jsonl", "index": self.folder / "index.json"}
        if self.splits:
            files["splits"] = self.folder / "splits.json"
        return Finding(
            f"{'Already indexed: ' if self.done else ''}{len(self.problems)} of {self.found} "
            f"problems, {sentences:,} sentences, {parts}.",
            columns=("problems", "count"),
            rows=[
                ("labelled as published", f"{sum(row['labelled'] for row in self.problems)}"),
                ("with rollouts", f"{sum(row['rollouts'] > 0 for row in self.problems)}"),
                ("with forced answers", f"{sum(row['forced'] > 0 for row in self.problems)}"),
                ("answered right", f"{right}"),
                ("left out: their sentences are not there", f"{len(self.left_out)}"),
            ],
            files=files,
        )


def index(config: IndexConfig) -> IndexResult:
    """List the problems, draw some, and write `problems.jsonl`, `splits.json`, `index.json`.

    The draw is the earlier study's: `random.Random(seed).sample` of the sorted ids. Only the split
    folder, the drawn problems' folders and their small JSON files are looked at. Raises BadInput
    where the tree, a folder or a problem is not there, and for files of another shape.
    """
    tree = open_tree(config.source(), "the command line")
    folder, forced = config.folders()
    available = problem_ids(tree, folder)
    if not available:
        raise BadInput(_nothing(tree, folder, config))
    chosen = choose(available, config.problem_ids, config.num_problems, config.seed)
    rows, left_out = _described(tree, folder, forced, chosen)
    chosen = [row["problem_id"] for row in rows]
    for row, each in zip(rows, ids_for_disk(chosen), strict=True):
        row["problem_id"] = each
    source = tree.source()
    with open_run(
        config.output_dir,
        command="anchors index",
        config=config,
        inputs={"problems": fingerprint([source, rows, left_out, len(available)])},
        overwrite=config.overwrite,
        seeds=[config.seed],
    ) as run:
        if not run.done:
            splits = _splits(chosen, config)
            if splits is not None:
                write_json(run.folder / "splits.json", splits)
            write_jsonl(run.folder / "problems.jsonl", rows)
            about = {
                "source": source,
                "split_folder": folder,
                "forced_folder": forced,
                "found": len(available),
                "problem_ids": ids_for_disk(chosen),
                "left_out": left_out,
                "splits": splits,
            }
            write_json(run.folder / "index.json", about)
    return IndexResult.read(config.output_dir, run.done)


def choose(
    available: Sequence[str], named: Sequence[str], count: int | None, seed: int
) -> list[str]:
    """The problems of a study, by number. Raises BadInput for a named one that is not there."""
    if named:
        wanted = [as_id(each) for each in named]
        absent = [each for each in wanted if each not in set(available)]
        if absent:
            raise BadInput(
                f"--problem-ids {absent[0]}: not among the {len(available)} problems there "
                f"({', '.join(available[:8])}{', …' if len(available) > 8 else ''})"
            )
        return sorted(set(wanted), key=int)
    if count is None or count >= len(available):
        return list(available)
    return sorted(random.Random(seed).sample(list(available), count), key=int)


def _splits(chosen: list[str], config: IndexConfig) -> dict[str, Any] | None:
    if len(chosen) < 3:
        return None
    parts = make_splits(chosen, config.seed, config.val_fraction, config.test_fraction)
    return {name: ids_for_disk(ids) for name, ids in parts.items()}


def _described(
    tree: Tree, folder: str, forced: str, chosen: Sequence[str]
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """A line for each problem, and why some have none. Raises BadInput where all are so."""
    from whence.anchors.rollouts.problem import NoSentences

    rows, left_out = [], {}
    for each in track(chosen, label="reading problems", unit="problems"):
        try:
            rows.append(_describe(tree, folder, forced, each))
        except NoSentences as error:
            left_out[each] = str(error).split(";", maxsplit=1)[0]
    if not rows:
        raise BadInput(f"no problem is left: {next(iter(left_out.values()))}")
    return rows, left_out


def _describe(tree: Tree, folder: str, forced: str, problem_id: str) -> dict[str, Any]:
    from whence.anchors.rollouts.problem import read_problem, rollout_numbers

    problem = read_problem(tree, folder, problem_id)
    return {
        "problem_id": problem_id,
        "place": problem.place,
        "sentences": len(problem.sentences),
        "labelled": problem.labelled,
        "rollouts": len(rollout_numbers(tree, folder, problem_id)),
        "forced": len(rollout_numbers(tree, forced, problem_id)),
        "answer_right": problem.answer_right,
    }


def _nothing(tree: Tree, folder: str, config: IndexConfig) -> str:
    """What to say where a split folder holds no problem: the first folder that is not there."""
    above = ""
    flags = zip(("model_dir", "temp_dir", "split_dir"), folder.split("/"), strict=False)
    for flag, name in flags:
        there = sorted(tree.names(above).folders)
        if name not in there:
            shown = ", ".join(there[:8]) or "no folder at all"
            spelled = f"--{flag.replace('_', '-')}"
            return f"{tree.place(above)}: no folder {name} ({spelled}); it has {shown}"
        above = f"{above}/{name}" if above else name
    return f"{tree.place(folder)}: no folder problem_N in it"
