"""One problem of a rollout data set: its text, its sentences, what was published of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from whence.anchors.rollouts.rollout import Rollout, parse_rollouts
from whence.anchors.rollouts.tree import Tree, chunk_numbers
from whence.anchors.traces import reasoning_start
from whence.errors import BadInput
from whence.runs.jsonfile import read_json

FILES = ("problem.json", "base_solution.json", "chunks.json", "chunks_labeled.json")

SHORTEST = 4
"""Pieces under this many characters got no rollouts and no label in the published data."""


class NoSentences(BadInput):
    """A problem whose sentences are not in the files: nothing is wrong with what is there."""


@dataclass(frozen=True)
class Sentence:
    """number: which chunk it is in the files, whose numbers may have gaps (short pieces).

    published: its entry of `chunks_labeled.json`, empty where there is none.
    """

    number: int
    text: str
    published: Mapping[str, Any]

    @property
    def tag(self) -> str:
        """The first of its function tags, "unknown" where there is none."""
        tags = self.published.get("function_tags") or ["unknown"]
        return str(tags[0] if isinstance(tags, list) else tags)


@dataclass(frozen=True)
class Problem:
    """text: the prompt and the reasoning, which begins at character `start`, as the model wrote it.

    place: where the files lie.
    """

    problem_id: str
    text: str
    sentences: tuple[Sentence, ...]
    start: int
    labelled: bool
    answer_right: bool | None
    place: str


def read_problem(tree: Tree, folder: str, problem_id: str) -> Problem:
    """Read the four JSON files of a problem, and no rollout.

    folder: the split folder. Raises NoSentences for a problem that has neither
    `chunks_labeled.json` nor `chunks.json`, and BadInput naming the file for another shape.
    """
    here = f"{folder}/problem_{problem_id}"
    files = tree.files([f"{here}/{name}" for name in FILES])
    raw = {path.rpartition("/")[2]: read_json(file) for path, file in files.items()}
    base = _object(raw, "base_solution.json", tree.place(here))
    statement = _object(raw, "problem.json", tree.place(here))
    sentences = _sentences(raw, tree.place(here))
    written = (base.get("full_cot"), base.get("solution"), statement.get("problem"))
    joined = " ".join(sentence.text for sentence in sentences)
    text = next((each for each in written if isinstance(each, str) and each.strip()), joined)
    prompt = base.get("prompt") or statement.get("problem")
    right = base.get("is_correct")
    return Problem(
        problem_id,
        text,
        sentences,
        start=reasoning_start(text, prompt if isinstance(prompt, str) else None),
        labelled="chunks_labeled.json" in raw,
        answer_right=right if isinstance(right, bool) else None,
        place=tree.place(here),
    )


def rollout_numbers(tree: Tree, folder: str, problem_id: str) -> list[int]:
    """Which chunks have a folder of rollouts; one listing, nothing is read."""
    return chunk_numbers(tree.names(f"{folder}/problem_{problem_id}"))


def read_rollouts(
    tree: Tree, folder: str, problem_id: str, wanted: set[int]
) -> dict[int, list[Rollout]]:
    """Chunk number → its rollouts, in order of number, where there are any.

    wanted: the numbers of the problem's sentences; folders of other chunks are passed over, as the
    published analysis does. Raises BadInput naming the file and the entry that is not a rollout.
    """
    here = f"{folder}/problem_{problem_id}"
    numbers = [each for each in rollout_numbers(tree, folder, problem_id) if each in wanted]
    paths = {f"{here}/chunk_{number}/solutions.json": number for number in numbers}
    found = {
        paths[path]: parse_rollouts(read_json(file), tree.place(path))
        for path, file in tree.files(list(paths)).items()
    }
    return {number: found[number] for number in sorted(found) if found[number]}


def rollout_files(tree: Tree, folder: str, problem_id: str) -> dict[str, Path]:
    """Every `solutions.json` of a problem: path in the tree → file here."""
    here = f"{folder}/problem_{problem_id}"
    numbers = rollout_numbers(tree, folder, problem_id)
    return tree.files([f"{here}/chunk_{number}/solutions.json" for number in numbers])


def _sentences(raw: Mapping[str, Any], place: str) -> tuple[Sentence, ...]:
    if "chunks_labeled.json" in raw:
        entries = raw["chunks_labeled.json"]
        where = f"{place}/chunks_labeled.json"
        if not isinstance(entries, list):
            raise BadInput(f"{where}: a list of sentences was expected")
        sentences = [_labelled(entry, f"{where} entry {n}") for n, entry in enumerate(entries)]
        sentences.sort(key=lambda sentence: sentence.number)
        for before, after in pairwise(sentences):
            if before.number == after.number:
                raise BadInput(f"{where}: chunk_idx {after.number} occurs twice")
    elif "chunks.json" in raw:
        where = f"{place}/chunks.json"
        content = raw["chunks.json"]
        chunks = content.get("chunks") if isinstance(content, Mapping) else content
        if not isinstance(chunks, list) or not all(isinstance(each, str) for each in chunks):
            raise BadInput(f'{where}: {{"chunks": [texts]}} was expected')
        sentences = [Sentence(n, text, {}) for n, text in enumerate(chunks)]
        sentences = [each for each in sentences if len(each.text) >= SHORTEST]
    else:
        raise NoSentences(
            f"{place}: has neither chunks_labeled.json nor chunks.json, so its sentences are not "
            "known; make the index again, which leaves it out"
        )
    if not sentences:
        raise NoSentences(f"{where}: no sentence in it; make the index again, which leaves it out")
    return tuple(sentences)


def _labelled(entry: Any, where: str) -> Sentence:
    if not isinstance(entry, Mapping):
        raise BadInput(f"{where}: an object was expected, not {type(entry).__name__}")
    number, text = entry.get("chunk_idx"), entry.get("chunk")
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise BadInput(f"{where}: chunk_idx is {number!r}; a whole number was expected")
    if not isinstance(text, str) or not text.strip():
        raise BadInput(f"{where}: chunk is {text!r}; the sentence was expected")
    return Sentence(number, text, entry)


def _object(raw: Mapping[str, Any], name: str, place: str) -> Mapping[str, Any]:
    value = raw.get(name, {})
    if not isinstance(value, Mapping):
        raise BadInput(f"{place}/{name}: an object was expected, not {type(value).__name__}")
    return value
