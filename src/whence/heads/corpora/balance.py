"""`whence heads corpora balance`: every answer equally often, no row twice.

How, and what a mirrored row is, is explained in `whence.heads.corpora.even_out`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from whence.errors import BadInput
from whence.heads.corpora.answers import balance_of
from whence.heads.corpora.even_out import Balanced, By, even_out
from whence.heads.corpora.rows import Fields, Row, line_numbers, read_corpus
from whence.heads.corpora.written import (
    check_names,
    parts_cell,
    plural,
    read_about,
    write_about,
    write_corpus,
)
from whence.runs.config import OutputConfig
from whence.runs.finding import Finding
from whence.runs.store import open_run

ANSWERS_SHOWN = 10


class BalanceConfig(OutputConfig):
    """Make every answer of a corpus equally frequent, drop duplicates, and draw a new split."""

    corpus: tuple[Path, ...] = Field(
        min_length=1, description="Corpus file (JSONL); several may be given."
    )
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
    """about: new corpus name → its counts; `dropped`: reason → lines of the old file;
    `answer_counts`: target → [rows before, rows after].
    """

    output_dir: Path
    about: Mapping[str, Mapping[str, Any]]
    done_before: bool

    def finding(self) -> Finding:
        """What became of each corpus, and of a single one's answers."""
        state = "already balanced" if self.done_before else "balanced"
        files = {
            "corpora": self.output_dir / "corpora",
            "splits": self.output_dir / "splits",
            "what was dropped, line by line": self.output_dir / "corpora.json",
        }
        if len(self.about) == 1:
            ((name, found),) = self.about.items()
            return Finding(
                f"{name}: {state} by {found['by']}, {found['rows']:,} rows of "
                f"{found['prompts']:,} prompts, split {parts_cell(found)}; {_changes(found)}.",
                columns=("answer", "rows before", "rows after"),
                rows=_answer_rows(found),
                files=files,
            )
        columns = ("corpus", "by", "rows before", "rows after", "prompts", "train / val / test",
                   "answers", "most common", "changes")  # fmt: skip
        rows = [
            (
                name,
                found["by"],
                f"{found['rows_read']:,}",
                f"{found['rows']:,}",
                f"{found['prompts']:,}",
                parts_cell(found),
                f"{found['answers']:,}",
                f"{found['most_common_share']:.1%}",
                _changes(found),
            )
            for name, found in self.about.items()
        ]
        headline = f"{plural(len(rows), 'corpus')} {state}."
        return Finding(headline, columns=columns, rows=rows, files=files)


def _answer_rows(about: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    counts = list(about["answer_counts"].items())
    rows = [(repr(answer), f"{a:,}", f"{b:,}") for answer, (a, b) in counts[:ANSWERS_SHOWN]]
    if rest := counts[ANSWERS_SHOWN:]:
        before, after = (sum(count[i] for _, count in rest) for i in (0, 1))
        rows.append((f"{len(rest):,} more", f"{before:,}", f"{after:,}"))
    return [*rows, ("all", f"{about['rows_read']:,}", f"{about['rows']:,}")]


def _changes(about: Mapping[str, Any]) -> str:
    told = [f"{about['added']:,} mirrored rows added"] if about["added"] else []
    told += [f"{len(lines):,} dropped: {why}" for why, lines in about["dropped"].items() if lines]
    return "; ".join(told) or "nothing dropped"


def balance(config: BalanceConfig) -> BalanceResult:
    """Write `<corpus>_balanced` of every corpus and its split, 70/15/15 by clean prompt.

    Raises BadInput as `read_corpus`, where two corpora have one name, and where a corpus has not
    what `by` needs: truth values, corrupt prompts, rows that are left.
    """
    home = config.output_dir
    check_names(config.corpus)
    corpora = {path: read_corpus(path, config.fields) for path in config.corpus}
    with open_run(
        home,
        command="heads corpora balance",
        config=config,
        inputs={"corpora": list(config.corpus)},
        overwrite=config.overwrite,
        seeds=[config.seed],
    ) as run:
        if not run.done:
            about = {}
            for path, rows in corpora.items():
                name, lines = f"{path.stem}_balanced", line_numbers(path)
                made = _balanced_file(path, rows, lines, config)
                counts = write_corpus(run.folder, name, made.rows, config.fields, config.seed)
                dropped = {why: [lines[i] for i in found] for why, found in made.dropped.items()}
                about[name] = {
                    "by": made.by,
                    "rows_read": len(rows),
                    **counts,
                    "added": made.added,
                    "dropped": dropped,
                    "answer_counts": _before_and_after(rows, made.rows),
                }
            write_about(run.folder, about)
    return BalanceResult(home, read_about(home), run.done)


def _balanced_file(
    path: Path, rows: Sequence[Row], lines: Sequence[int], config: BalanceConfig
) -> Balanced:
    made = even_out(
        rows,
        config.by,
        seed=config.seed,
        at_least=config.at_least,
        truth_field=config.truth_field,
        where=lambda row: f"{path} line {lines[row.index]}",
    )
    if not made.rows:
        why = ", ".join(f"{len(found)} {reason}" for reason, found in made.dropped.items() if found)
        raise BadInput(f"{path}: no row is left to balance ({why})")
    return made


def _before_and_after(before: Sequence[Row], after: Sequence[Row]) -> dict[str, tuple[int, int]]:
    old, new = balance_of(before).counts, balance_of(after).counts
    return {key: (old.get(key, 0), new.get(key, 0)) for key in {**old, **new}}
