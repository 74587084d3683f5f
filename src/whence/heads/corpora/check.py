"""`whence heads corpora check`: what is wrong with a corpus, before a GPU measures on it.

A prompt that names its answer measures copying; one in train and test, memory; a corpus of
one answer is answered right by a constant; a target that begins like its foil has no logit
difference. None of these stops a run, so they are looked for here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from whence.errors import BadInput
from whence.heads.corpora.answers import Balance, balance_of
from whence.heads.corpora.content import content_hash
from whence.heads.corpora.faults import Check, row_checks, split_checks, token_checks
from whence.heads.corpora.rows import Fields, Row, line_numbers, read_corpus
from whence.heads.corpora.splits import PARTS, Split, read_split
from whence.heads.corpora.tokens import RowTokens, row_tokens, tokenizer_of
from whence.heads.corpora.where import split_beside
from whence.runs.config import Config
from whence.runs.finding import Finding
from whence.runs.jsonfile import write_json

LINES_SHOWN = 5
SNIPPET = 60
"""Characters of the first offending prompt that the table shows."""


class CheckConfig(Config):
    """Look for what makes a corpus measure something else than it seems to."""

    corpus: Path = Field(description="Corpus file (JSONL).")
    tokenizer: str | None = Field(
        default=None,
        description="Count tokens as this model does: a Hugging Face folder, a hub id, or tiny.",
    )
    split: Path | None = Field(
        default=None,
        description="Split file. Default: ../splits/<corpus>.split.json, where there is one.",
    )
    output_json: Path | None = Field(
        default=None, description="Write the report, with every line number, to this file."
    )
    strict: bool = Field(default=False, description="Exit with code 1 if there is any problem.")
    fields: Fields = Field(default=Fields(), description="Names of the keys in a row.")


@dataclass(frozen=True)
class CheckResult:
    """What was found. lines: position of a row → its line in the file. split: None without one;
    misfit: why the split file beside the corpus cannot be used, or None.
    """

    config: CheckConfig
    rows: Sequence[Row]
    lines: Sequence[int]
    checks: Sequence[Check]
    balance: Balance
    split: Split | None
    misfit: str | None
    tokens: Sequence[RowTokens] | None

    @property
    def problems(self) -> int:
        """Checks of kind "problem" that found something, uneven answers among them."""
        found = sum(bool(check.rows) for check in self.checks if check.kind == "problem")
        return found + (not self.balance.even) + (self.misfit is not None)

    def report(self) -> dict[str, Any]:
        """What `--output-json` holds."""
        return {
            "corpus": self.config.corpus.name,
            "data_hash": content_hash(self.config.corpus),
            "rows": len(self.rows),
            "prompts": len({row.clean for row in self.rows}),
            "problems": self.problems,
            "checks": {
                check.name: {
                    "what": check.what,
                    "kind": check.kind,
                    "rows": len(check.rows),
                    "lines": [self.lines[i] for i in check.rows],
                }
                for check in self.checks
            },
            "answers": {
                "distinct": len(self.balance.counts),
                "most_common_share": self.balance.most_common_share,
                "entropy_bits": self.balance.entropy,
                "evenness": self.balance.evenness,
                "even": self.balance.even,
                "counts": self.balance.counts,
            },
            "split": self.split and {name: len(self.split.part(name)) for name in PARTS},
            "split_misfit": self.misfit,
            "tokens": self.tokens and _token_counts(self.tokens),
        }

    def finding(self) -> Finding:
        """A line for each thing looked for, also where nothing was found."""
        rows = [self._line(check) for check in self.checks]
        answers = "answers" if len(self.balance.counts) > 1 else "answer"
        uneven = "problem" if not self.balance.even else ""
        rows.append(
            (uneven, f"distinct {answers}", f"{len(self.balance.counts):,}", "",
             self.balance.sentence())
        )  # fmt: skip
        if self.misfit is not None:
            rows.append(("problem", "split file does not fit", "1", "", self.misfit))
        if self.tokens:
            for what, counts in _token_counts(self.tokens).items():
                rows.append(("", f"{what} tokens", "", "", _spread(counts)))
        prompts = len({row.clean for row in self.rows})
        told = f"{self.problems or 'no'} problem{'' if self.problems == 1 else 's'}"
        without = [] if self.split or self.misfit else ["no split file was there to check"]
        without += [] if self.tokens else ["tokens are counted with --tokenizer"]
        note = f" ({'; '.join(without)})" if without else ""
        output = self.config.output_json
        return Finding(
            headline=f"{self.config.corpus.name}: {len(self.rows):,} rows, {prompts:,} distinct "
            f"clean prompts, {told}{note}.",
            columns=("", "looked for", "rows", "share", "where"),
            rows=rows,
            files={} if output is None else {"every line": output},
            failed=self.config.strict and self.problems > 0,
        )

    def _line(self, check: Check) -> tuple[str, str, str, str, str]:
        if not check.rows:
            return "", check.what, "0", "", ""
        share = len(check.rows) / len(self.rows)
        lines = ", ".join(str(self.lines[i]) for i in check.rows[:LINES_SHOWN])
        more = ", …" if len(check.rows) > LINES_SHOWN else ""
        shown = _snippet(check, self.rows[check.rows[0]])
        s = "s" if len(check.rows) > 1 else ""
        return (
            check.kind, check.what, f"{len(check.rows):,}", f"{share:.0%}",
            f"line{s} {lines}{more}: {shown}",
        )  # fmt: skip


def check(config: CheckConfig) -> CheckResult:
    """Look for everything in `faults` and count the answers.

    A split file found beside the corpus that does not fit it is a problem reported; one that was
    named is refused. Raises BadInput as `read_corpus`, `read_split` and `load_tokenizer`.
    """
    rows = read_corpus(config.corpus, config.fields)
    checks = row_checks(rows)
    split, misfit = _split(config, len(rows))
    if split is not None:
        checks += split_checks(rows, split)
    tokens = None
    if config.tokenizer is not None:
        tokens = row_tokens(rows, tokenizer_of(config.tokenizer))
        checks += token_checks(tokens)
    result = CheckResult(
        config=config,
        rows=rows,
        lines=line_numbers(config.corpus),
        checks=checks,
        balance=balance_of(rows),
        split=split,
        misfit=misfit,
        tokens=tokens,
    )
    if config.output_json is not None:
        write_json(config.output_json, result.report())
    return result


def _split(config: CheckConfig, rows: int) -> tuple[Split | None, str | None]:
    if config.split is not None:
        return read_split(config.split, rows, config.corpus), None
    beside = split_beside(config.corpus)
    if beside is None:
        return None, None
    try:
        return read_split(beside, rows, config.corpus), None
    except BadInput as error:
        return None, str(error)


def _token_counts(tokens: Sequence[RowTokens]) -> dict[str, dict[str, float]]:
    counts = {
        "clean": [row.clean for row in tokens],
        "corrupt": [row.corrupt for row in tokens if row.corrupt is not None],
        "target": [len(row.target) for row in tokens],
        "foil": [len(row.foil) for row in tokens],
    }
    return {
        what: {"min": min(found), "mean": math.fsum(found) / len(found), "max": max(found)}
        for what, found in counts.items()
        if found
    }


def _spread(counts: Mapping[str, float]) -> str:
    if counts["min"] == counts["max"]:
        return f"{counts['min']} in every row"
    return f"{counts['min']} to {counts['max']}, mean {counts['mean']:.1f}"


def _snippet(check: Check, row: Row) -> str:
    """What of a row shows the fault best."""
    if check.name in ("target_tokens", "foil_tokens", "begin_alike", "target_is_foil"):
        return f"{row.target!r} / {row.foil!r}"
    about_corrupt = check.name == "answer_in_corrupt"
    text, answer = (row.corrupt or "", row.foil) if about_corrupt else (row.clean, row.target)
    cut = text if len(text) <= SNIPPET else f"{text[: SNIPPET - 1]}…"
    return f'"{cut}" → {answer!r}'
