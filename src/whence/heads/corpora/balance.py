"""`whence heads corpora balance`: every answer equally often, no row twice.

Where one answer is more common than another, a head that pushes the common one for any prompt looks
like a head that answers. Two ways out:

- **Take rows away.** Rows are put into classes (by answer, by direction target → foil, or by answer
  within each truth value) and every class is cut to the size of the smallest. Within a class rows
  are drawn so that as many distinct clean prompts as can be remain, because those are the unit of
  every interval.
- **Add mirrored rows**, where one answer is all there is to take from: in the negation and logic
  corpora of the earlier lab every target is " true". The mirror of a row asks its corrupt prompt:
  clean ↔ corrupt, target ↔ foil. This is right exactly if the corrupt prompt's answer *is* the foil
  ("All dogs are not mammals" → " false"). That is how a corpus is defined, but a foil may also have
  been any wrong word; look at a few rows before `--by mirror`. Where the corpus itself can tell, it
  is asked: a row whose prompt has another answer elsewhere is left out, and so is its mirror.
  A mirrored row carries `"mirrored": true` in place of the row's other keys, which describe its
  first prompt. Row and mirror go into one part of the split (see `group_rows`), so that each part
  is balanced.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from whence.errors import BadInput
from whence.heads.corpora.answers import balance_of
from whence.heads.corpora.faults import answers_of, conflicting, content, repeats, same_answers
from whence.heads.corpora.rows import Fields, Row, line_numbers, read_corpus
from whence.heads.corpora.written import parts_cell, read_about, write_about, write_corpus
from whence.runs.config import OutputConfig
from whence.runs.finding import Finding
from whence.runs.store import open_run

By = Literal["auto", "answer", "direction", "truth", "mirror"]

ANSWERS_SHOWN = 10


class BalanceConfig(OutputConfig):
    """Make every answer of a corpus equally frequent, drop duplicates, and draw a new split."""

    corpus: Path = Field(description="Corpus file (JSONL).")
    by: By = Field(
        default="auto",
        description="What is made equal. answer: every target. direction: every target → foil. "
        "truth: every target within each value of the key `truth`. mirror: take no rows away, add "
        "each row's mirror (clean ↔ corrupt, target ↔ foil), which needs corrupt prompts whose "
        "answer is the foil. auto: mirror where all rows have one target, else answer.",
    )
    at_least: int = Field(
        default=1,
        ge=1,
        description="Leave out classes with fewer rows than this first, so that the smallest class "
        "does not cut all others to its size.",
    )
    truth_field: str = Field(default="truth", description="Key of the truth value, for --by truth.")
    seed: int = Field(default=0, description="Seed of which rows are kept, and of the split.")
    fields: Fields = Field(default=Fields(), description="Names of the keys in a row.")


@dataclass(frozen=True)
class BalanceResult:
    """about: the counts of the new corpus; `dropped`: reason → lines of the old file; `answers_of`:
    target → [rows before, rows after].
    """

    output_dir: Path
    name: str
    about: Mapping[str, Any]
    done_before: bool

    def finding(self) -> Finding:
        """Answers before and after, and what was dropped."""
        counts = list(self.about["answer_counts"].items())
        rows = [(repr(answer), f"{a:,}", f"{b:,}") for answer, (a, b) in counts[:ANSWERS_SHOWN]]
        if rest := counts[ANSWERS_SHOWN:]:
            before, after = (sum(count[i] for _, count in rest) for i in (0, 1))
            rows.append((f"{len(rest):,} more", f"{before:,}", f"{after:,}"))
        rows.append(("all", f"{self.about['rows_read']:,}", f"{self.about['rows']:,}"))
        dropped = [f"{len(ls):,} {why}" for why, ls in self.about["dropped"].items() if ls]
        added = [f"{self.about['added']:,} mirrored rows added"] if self.about["added"] else []
        state = "already balanced" if self.done_before else "balanced"
        told = f" ({'; '.join(added + dropped)})" if added or dropped else ""
        return Finding(
            f"{self.name}: {state} by {self.about['by']}, {self.about['rows']:,} rows of "
            f"{self.about['prompts']:,} prompts, split {parts_cell(self.about)}{told}.",
            columns=("answer", "rows before", "rows after"),
            rows=rows,
            files={
                "corpus": self.output_dir / "corpora" / f"{self.name}.jsonl",
                "split": self.output_dir / "splits" / f"{self.name}.split.json",
                "what was dropped, line by line": self.output_dir / "corpora.json",
            },
        )


@dataclass(frozen=True)
class Balanced:
    """rows: of the new corpus. dropped: reason → indices of old rows. added: mirrored rows."""

    by: By
    rows: list[Row]
    dropped: dict[str, list[int]]
    added: int


def balance(config: BalanceConfig) -> BalanceResult:
    """Write `<corpus>_balanced` and its split, 70/15/15 by clean prompt.

    Raises BadInput as `read_corpus`, and where the corpus has not what `by` needs: truth values,
    corrupt prompts, rows that are left.
    """
    path, home = config.corpus, config.output_dir
    name = f"{path.stem}_balanced"
    rows = read_corpus(path, config.fields)
    with open_run(
        home,
        command="heads corpora balance",
        config=config,
        inputs={"corpus": path},
        overwrite=config.overwrite,
        seeds=[config.seed],
    ) as run:
        if not run.done:
            lines = line_numbers(path)
            made = balanced(
                rows,
                config.by,
                seed=config.seed,
                at_least=config.at_least,
                truth_field=config.truth_field,
                where=lambda row: f"{path} line {lines[row.index]}",
            )
            if not made.rows:
                why = ", ".join(f"{len(found)} {r}" for r, found in made.dropped.items() if found)
                raise BadInput(f"{path}: no row is left to balance ({why})")
            counts = write_corpus(run.folder, name, made.rows, config.fields, config.seed)
            about = {
                "by": made.by,
                "rows_read": len(rows),
                **counts,
                "added": made.added,
                "dropped": {why: [lines[i] for i in found] for why, found in made.dropped.items()},
                "answer_counts": _before_and_after(rows, made.rows),
            }
            write_about(run.folder, {name: about})
    return BalanceResult(home, name, read_about(home)[name], run.done)


def balanced(
    rows: Sequence[Row],
    by: By = "auto",
    *,
    seed: int = 0,
    at_least: int = 1,
    truth_field: str = "truth",
    where: Callable[[Row], str] = lambda row: f"row {row.index}",
) -> Balanced:
    """Balance rows in memory; `where` says in an error where a row stands."""
    again = set(repeats(rows, content))
    dropped = {
        "given before": [rows[at].index for at in sorted(again)],
        "target = foil": [
            row.index for at, row in enumerate(rows) if at not in again and same_answers(row)
        ],
    }
    left = [row for at, row in enumerate(rows) if at not in again and not same_answers(row)]
    if by == "auto":
        by = "mirror" if len({row.target for row in left}) == 1 else "answer"
    if by == "mirror":
        kept, added, unfit = _mirrored(left, where)
        return Balanced(by, kept, dropped | unfit, added)
    kept, why = _thinned(left, _class_of(by, truth_field, where), seed, at_least)
    return Balanced(by, kept, dropped | why, 0)


def _class_of(by: By, truth_field: str, where: Callable[[Row], str]) -> Callable[[Row], Any]:
    def truth(row: Row) -> tuple[bool, str]:
        value = row.extra.get(truth_field)
        if not isinstance(value, bool):
            raise BadInput(
                f'{where(row)}: "{truth_field}" is {value!r}, true or false was expected for '
                "--by truth; name the key with --truth-field, or balance by answer"
            )
        return value, row.target

    if by == "truth":
        return truth
    if by == "direction":
        return lambda row: (row.target, row.foil)
    return lambda row: row.target


def _thinned(
    rows: Sequence[Row], class_of: Callable[[Row], Any], seed: int, at_least: int
) -> tuple[list[Row], dict[str, list[int]]]:
    """Cut every class to the smallest one that has `at_least` rows."""
    classes: dict[Any, list[Row]] = {}
    for row in rows:
        classes.setdefault(class_of(row), []).append(row)
    rare = [found for found in classes.values() if len(found) < at_least]
    common = {key: found for key, found in classes.items() if len(found) >= at_least}
    size = min(map(len, common.values()), default=0)
    rng = random.Random(f"whence.heads.corpora.balance:{seed}")
    kept = [row for key in sorted(common) for row in _spread(common[key], rng)[:size]]
    kept.sort(key=lambda row: row.index)
    taken = {row.index for row in kept} | {row.index for found in rare for row in found}
    return kept, {
        "in a class that is too rare": sorted(row.index for found in rare for row in found),
        "in a class that is too common": [row.index for row in rows if row.index not in taken],
    }


def _spread(rows: Sequence[Row], rng: random.Random) -> list[Row]:
    """Rows in random order, but every prompt's first row before any prompt's second."""
    shuffled = list(rows)
    rng.shuffle(shuffled)
    times: dict[str, int] = {}
    turns = []
    for row in shuffled:
        turns.append(times.get(row.clean, 0))
        times[row.clean] = turns[-1] + 1
    order = sorted(range(len(shuffled)), key=turns.__getitem__)
    return [shuffled[at] for at in order]


def _mirrored(
    rows: Sequence[Row], where: Callable[[Row], str]
) -> tuple[list[Row], int, dict[str, list[int]]]:
    """Every row followed by its mirror, unless the mirror is a row already."""
    answers = answers_of(rows)
    present = {content(row) for row in rows}
    kept: list[Row] = []
    unfit: dict[str, list[int]] = {"clean = corrupt": [], "prompt has another answer elsewhere": []}
    added = 0
    for row in rows:
        if row.corrupt is None:
            raise BadInput(
                f"{where(row)}: has no corrupt prompt, so the row has no mirror; "
                "balance by answer, direction or truth"
            )
        if row.clean == row.corrupt:
            unfit["clean = corrupt"].append(row.index)
        elif conflicting(row, answers):
            unfit["prompt has another answer elsewhere"].append(row.index)
        else:
            mirror = replace(
                row, clean=row.corrupt, corrupt=row.clean, target=row.foil, foil=row.target,
                extra={"mirrored": True},
            )  # fmt: skip
            kept.append(row)
            if content(mirror) not in present:
                present.add(content(mirror))
                kept.append(mirror)
                added += 1
    return kept, added, unfit


def _before_and_after(before: Sequence[Row], after: Sequence[Row]) -> dict[str, tuple[int, int]]:
    old, new = balance_of(before).counts, balance_of(after).counts
    return {key: (old.get(key, 0), new.get(key, 0)) for key in {**old, **new}}
