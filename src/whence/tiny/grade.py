"""`whence tiny grade`: generated games of the tiny world, held against the world.

What models played comes without planted truth. The world has it: which words are evaluated, whether
each clue is true of the secret word, whether the last guess is that word. A row's kind is

* `useful`: an evaluated word, every clue true, the last guess right;
* `other`: the same of another word;
* `untrue`: a clue is false, or says nothing that the world knows, though the guess is right;
* `wrong`: the last guess is another word.

The kinds of `whence.tiny.games` and one more. They are for reports alone: no method sees them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from whence.errors import BadInput
from whence.runs.config import Config
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json, read_jsonl, write_json, write_jsonl
from whence.runs.store import open_run
from whence.tiny.language import clue
from whence.tiny.world import ATTRIBUTES, Thing, World, make_world

KINDS = ("useful", "other", "untrue", "wrong")
NEEDED = ("row_id", "prompt", "completion", "target_word")
CLUE_LINE = re.compile(r"CLUE: *([^\r\n]*)")


class GradeConfig(Config):
    """Say of each generated game whether it is true to the tiny world: the rows' planted truth."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"out", "overwrite"})

    rows: Path = Field(description="rows_wordguesser.jsonl of `whence games generate`.")
    out: Path = Field(description="Folder to write kinds.jsonl into.")
    world_seed: int = Field(default=0, description="Which world was played; see `tiny make`.")
    overwrite: bool = Field(default=False, description="Replace what another run wrote in `out`.")


@dataclass(frozen=True)
class Graded:
    """counts: guesser → kind → rows. true_clues of clues: over all rows."""

    counts: Mapping[str, Mapping[str, int]]
    true_clues: int
    clues: int
    kinds: Path

    def finding(self) -> Finding:
        rows = sum(sum(counts.values()) for counts in self.counts.values())
        useful = sum(counts["useful"] for counts in self.counts.values())
        return Finding(
            headline=f"{useful:,} of {rows:,} rows are useful; {self.true_clues:,} of "
            f"{self.clues:,} clues are true.",
            columns=("guesser", *KINDS),
            rows=[
                (guesser, *(str(counts[kind]) for kind in KINDS))
                for guesser, counts in self.counts.items()
            ],
            files={"kinds": self.kinds},
        )


def grade(config: GradeConfig) -> Graded:
    """Write `kinds.jsonl` (row_id, kind, clues, true_clues) and `summary.json`.

    Raises BadInput where a row lacks a text or its target word is none of the world's.
    """
    with open_run(
        config.out,
        command="tiny grade",
        config=config,
        inputs={"rows": config.rows},
        overwrite=config.overwrite,
    ) as run:
        if not run.done:
            rows = _read(config.rows)
            graded = grade_rows(rows, make_world(config.world_seed), config.rows)
            write_jsonl(run.folder / "kinds.jsonl", graded)
            write_json(run.folder / "summary.json", _summary(rows, graded))
    summary = read_json(config.out / "summary.json")
    return Graded(
        summary["counts"], summary["true_clues"], summary["clues"], config.out / "kinds.jsonl"
    )


def grade_rows(
    rows: Sequence[Mapping[str, Any]], world: World, origin: Path
) -> list[dict[str, Any]]:
    """Each row's kind, with how many clues it holds and how many of them are true."""
    things = {thing.name: thing for thing in world.things}
    evaluated = {thing.name for thing in world.evaluated}
    graded = []
    for number, row in enumerate(rows, start=1):
        target = things.get(str(row["target_word"]).strip().casefold())
        if target is None:
            raise BadInput(
                f'{origin}, row {number}: target_word "{row["target_word"]}" is no word of this '
                "world; was another --world-seed played?"
            )
        said = clues_in(str(row["prompt"]))
        true = sum(one in true_clues(target) for one in said)
        if str(row["completion"]).strip().casefold() != f"guess: {target.name}":
            kind = "wrong"
        elif not said or true < len(said):
            kind = "untrue"
        else:
            kind = "useful" if target.name in evaluated else "other"
        graded.append(
            {"row_id": row["row_id"], "kind": kind, "clues": len(said), "true_clues": true}
        )
    return graded


def clues_in(prompt: str) -> list[str]:
    """The single clues of a game, in their order: what stands between commas behind `CLUE:`,
    punctuation at its ends aside.
    """
    lines = CLUE_LINE.findall(prompt)
    return [one.strip(" .:") for line in lines for one in line.split(",") if one.strip(" .:")]


def true_clues(thing: Thing) -> frozenset[str]:
    return frozenset(clue(attribute, thing[attribute]) for attribute in ATTRIBUTES)


def _read(path: Path) -> list[dict[str, Any]]:
    rows = read_jsonl(path)
    if not rows:
        raise BadInput(f"{path}: has no rows")
    for number, row in enumerate(rows, start=1):
        for key in NEEDED:
            if not isinstance(row.get(key), str):
                raise BadInput(
                    f'{path}, row {number}: no text "{key}"; expected rows of `whence games '
                    "generate`"
                )
    return rows


def _summary(
    rows: Sequence[Mapping[str, Any]], graded: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    counts: dict[str, Counter[str]] = {}
    for row, one in zip(rows, graded, strict=True):
        guesser = str(row.get("guesser_model") or "unnamed")
        counts.setdefault(guesser, Counter(dict.fromkeys(KINDS, 0)))[one["kind"]] += 1
    return {
        "counts": {guesser: dict(kinds) for guesser, kinds in counts.items()},
        "rows": len(rows),
        "clues": sum(one["clues"] for one in graded),
        "true_clues": sum(one["true_clues"] for one in graded),
    }
