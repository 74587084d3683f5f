"""`whence heads corpora filter`: the rows whose answers are one token for a given model.

The logit difference of the first token says all there is about a one-token answer; of longer ones
it says something about their first piece.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from whence.errors import BadInput
from whence.heads.corpora.faults import same_answers
from whence.heads.corpora.rows import Fields, Row, line_numbers, read_corpus
from whence.heads.corpora.splits import PARTS
from whence.heads.corpora.tokens import RowTokens, row_tokens, tokenizer_hash, tokenizer_of
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

REASONS = (
    "target = foil",
    "target of several tokens",
    "foil of several tokens",
    "answer unknown to the tokenizer",
    "one token for both",
)
"""Why a row is left out; the first that holds counts."""


class FilterConfig(OutputConfig):
    """Keep the rows whose target and foil are single tokens, and draw new splits."""

    corpus: tuple[Path, ...] = Field(
        min_length=1, description="Corpus file (JSONL); several may be given."
    )
    tokenizer: str = Field(
        description="Whose tokens count: a Hugging Face folder, a hub id, or tiny."
    )
    suffix: str = Field(
        pattern=r"^[A-Za-z0-9._-]+$",
        description="Ending of the new names: <corpus>_<suffix>. Letters, digits and . _ - only.",
    )
    seed: int = Field(default=0, description="Seed of the splits.")
    fields: Fields = Field(default=Fields(), description="Names of the keys in a row.")


@dataclass(frozen=True)
class FilterResult:
    """about: new corpus name → counts, and `dropped`: reason → lines of the old file."""

    output_dir: Path
    about: Mapping[str, Mapping[str, Any]]
    done_before: bool

    def finding(self) -> Finding:
        """Per corpus: what was kept, and how many rows were dropped for which reason."""
        reasons = [r for r in REASONS if any(found["dropped"][r] for found in self.about.values())]
        rows = [
            (
                name,
                f"{found['rows']:,} of {found['rows_read']:,}",
                f"{found['prompts']:,}",
                parts_cell(found),
                *(f"{len(found['dropped'][reason]):,}" for reason in reasons),
            )
            for name, found in self.about.items()
        ]
        kept = sum(found["rows"] for found in self.about.values())
        read = sum(found["rows_read"] for found in self.about.values())
        empty = [name for name, found in self.about.items() if not found["rows"]]
        note = f" Not written, as nothing is left of it: {', '.join(empty)}." if empty else ""
        state = "already filtered" if self.done_before else "filtered"
        return Finding(
            f"{plural(len(rows), 'corpus')} {state}: {kept:,} of {read:,} rows kept.{note}",
            columns=("corpus", "rows kept", "prompts", "train / val / test", *reasons),
            rows=rows,
            files={
                "corpora": self.output_dir / "corpora",
                "splits": self.output_dir / "splits",
                "what was dropped, line by line": self.output_dir / "corpora.json",
            },
        )


def filter_corpora(config: FilterConfig) -> FilterResult:
    """Write the rows with single-token answers of every corpus, split 70/15/15 by clean prompt.

    An answer is tokenised as it continues its prompt, without special tokens. Raises BadInput as
    `read_corpus` and `load_tokenizer`, where two corpora have one name, and where no row of any is
    left; of several corpora, one that has none left is not written.
    """
    home = config.output_dir
    check_names(config.corpus)
    corpora = {path: read_corpus(path, config.fields) for path in config.corpus}
    tokenizer = tokenizer_of(config.tokenizer)
    with open_run(
        home,
        command="heads corpora filter",
        config=config,
        inputs={"corpora": list(config.corpus), "tokenizer": tokenizer_hash(tokenizer)},
        overwrite=config.overwrite,
        seeds=[config.seed],
    ) as run:
        if not run.done:
            about = {}
            for path, rows in corpora.items():
                name = f"{path.stem}_{config.suffix}"
                kept, dropped = sift(rows, row_tokens(rows, tokenizer), line_numbers(path))
                counts = dict.fromkeys(("rows", "prompts", *PARTS), 0)
                if kept:
                    counts = write_corpus(run.folder, name, kept, config.fields, config.seed)
                about[name] = {"rows_read": len(rows), **counts, "dropped": dropped}
            if not any(found["rows"] for found in about.values()):
                raise BadInput(_nothing_left(config, about))
            write_about(run.folder, about)
    return FilterResult(home, read_about(home), run.done)


def sift(
    rows: Sequence[Row], tokens: Sequence[RowTokens], lines: Sequence[int]
) -> tuple[list[Row], dict[str, list[int]]]:
    """The rows to keep, and reason → lines of those to drop."""
    kept: list[Row] = []
    dropped: dict[str, list[int]] = {reason: [] for reason in REASONS}
    for row, counted, line in zip(rows, tokens, lines, strict=True):
        reason = _reason(row, counted)
        if reason is None:
            kept.append(row)
        else:
            dropped[reason].append(line)
    return kept, dropped


def _reason(row: Row, tokens: RowTokens) -> str | None:
    holds = (
        same_answers(row),
        len(tokens.target) != 1,
        len(tokens.foil) != 1,
        tokens.unknown,
        tokens.begin_alike,
    )
    return next((reason for reason, so in zip(REASONS, holds, strict=True) if so), None)


def _nothing_left(config: FilterConfig, about: Mapping[str, Mapping[str, Any]]) -> str:
    files = ", ".join(map(str, config.corpus))
    counts = {r: sum(len(found["dropped"][r]) for found in about.values()) for r in REASONS}
    why = ", ".join(f"{count} {reason}" for reason, count in counts.items() if count)
    return (
        f"{files}: no row has a one-token target and foil under {config.tokenizer} ({why}); "
        "measure the corpus as it is, with --metric-span full_target"
    )
