"""New corpora on disk: `corpora/<name>.jsonl`, `splits/<name>.split.json`, `corpora.json`.

The folder is what `--corpora <folder>/corpora` expects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from whence.errors import BadInput
from whence.heads.corpora.answers import balance_of
from whence.heads.corpora.content import content_hash
from whence.heads.corpora.rows import Fields, Row
from whence.heads.corpora.splits import PARTS, split_file
from whence.heads.corpora.where import CORPUS_SUFFIX, SPLIT_SUFFIX, SPLITS
from whence.runs.jsonfile import read_json, write_json, write_jsonl

CORPORA = "corpora"
ABOUT = "corpora.json"


def write_corpus(
    folder: Path, name: str, rows: Sequence[Row], fields: Fields, seed: int
) -> dict[str, Any]:
    """Write one corpus and its split into `folder`; return the counts that `corpora.json` keeps."""
    path = corpus_file(folder, name)
    write_jsonl(path, [row.as_json(fields) for row in rows])
    split = split_file(rows, seed, content_hash(path))
    write_json(folder / SPLITS / f"{name}{SPLIT_SUFFIX}", split)
    answers = balance_of(rows)
    return {
        "rows": len(rows),
        "prompts": len({row.clean for row in rows}),
        "data_hash": split["data_hash"],
        "kept_together": split["kept_together"],
        **{part: len(split[part]) for part in PARTS},
        "answers": len(answers.counts),
        "most_common_share": answers.most_common_share,
    }


def corpus_file(folder: Path, name: str) -> Path:
    """Where a corpus lies below the output folder."""
    return folder / CORPORA / f"{name}{CORPUS_SUFFIX}"


def write_about(folder: Path, about: Mapping[str, Mapping[str, Any]]) -> None:
    """Write `corpora.json`: corpus name → counts, and what was left out of it and why."""
    write_json(folder / ABOUT, about)


def read_about(folder: Path) -> dict[str, dict[str, Any]]:
    """Read what `write_about` wrote. Raises BadInput where it is not there."""
    found = read_json(folder / ABOUT)
    if not isinstance(found, dict):
        raise BadInput(f"{folder / ABOUT}: an object was expected")
    return found


def parts_cell(about: Mapping[str, Any]) -> str:
    """Rows of train, validation and test, for a table."""
    return " / ".join(f"{about[part]:,}" for part in PARTS)


def plural(count: int, noun: str) -> str:
    """As in "1 corpus", "3 corpora", "1 row", "20 rows"."""
    several = "corpora" if noun == "corpus" else f"{noun}s"
    return f"{count:,} {noun if count == 1 else several}"


def check_names(paths: Sequence[Path]) -> None:
    """Raise BadInput where two corpora have one name, so that one would overwrite the other."""
    named: dict[str, Path] = {}
    for path in paths:
        if path.stem in named:
            raise BadInput(
                f"{named[path.stem]} and {path} would both be written as {path.stem}; "
                "give them to two calls, with two output folders"
            )
        named[path.stem] = path
