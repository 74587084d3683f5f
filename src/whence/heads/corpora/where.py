"""Where a corpus and its split file lie: `<corpora>/<id>.jsonl`, `<corpora>/../splits/<id>.…`."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from whence.errors import BadInput

SPLITS = "splits"
SPLIT_SUFFIX = ".split.json"
CORPUS_SUFFIX = ".jsonl"
LISTED = 12
"""Corpora that an error names at most."""


def find_corpus(corpora: Path, dataset_id: str) -> tuple[Path, Path | None]:
    """The corpus file of a dataset id, and its split file where there is one.

    Raises BadInput naming the corpora that there are, the most similar first.
    """
    corpora = Path(corpora)
    if not corpora.is_dir():
        raise BadInput(f"{corpora}: no such folder; give the one that holds the corpora (*.jsonl)")
    path = corpora / f"{dataset_id}{CORPUS_SUFFIX}"
    if path.is_file():
        return path, split_beside(path)
    names = sorted(file.stem for file in corpora.glob(f"*{CORPUS_SUFFIX}"))
    if not names:
        inner = corpora / "corpora"
        hint = f"; did you mean {inner}?" if inner.is_dir() else ""
        raise BadInput(f"{corpora}: holds no corpora (*{CORPUS_SUFFIX}){hint}")
    near = difflib.get_close_matches(dataset_id, names, n=len(names), cutoff=0.0)
    more = f" and {len(near) - LISTED} more" if len(near) > LISTED else ""
    raise BadInput(
        f'{corpora}: no corpus "{dataset_id}" ({path.name}); there are '
        f"{', '.join(near[:LISTED])}{more}"
    )


def split_beside(corpus: Path) -> Path | None:
    """The split file that belongs to a corpus file by its name, or None where there is none."""
    name = f"{corpus.stem}{SPLIT_SUFFIX}"
    # A corpora folder may be a symbolic link: its neighbours here come before those it points to.
    here = Path(os.path.abspath(corpus)).parent.parent
    for home in (here, corpus.resolve().parent.parent):
        if (home / SPLITS / name).is_file():
            return home / SPLITS / name
    return None
