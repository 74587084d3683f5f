"""`whence tiny make` writes what it says, the same bytes every time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from whence.tiny.make import MakeConfig, make

FILES = {
    "games": {"pool.jsonl": 20, "test.jsonl": 8},
    "players": {"describer.jsonl": 20, "guesser.jsonl": 20},
    "probes": {f"{n}.jsonl": 20 for n in ("facts", "negation", "counterfactual", "logic")},
    "traces": {"traces.jsonl": 20},
    "corpus": {"corpus.jsonl": 20},
}


@pytest.mark.parametrize("kind", FILES)
def test_files_rows_and_bytes(kind: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        make(MakeConfig(kind=kind, out=tmp_path / name, count=20, query=4, evaluation=4))
    for file, rows in FILES[kind].items():
        text = (tmp_path / "a" / file).read_text()
        assert text == (tmp_path / "b" / file).read_text()
        assert len([json.loads(line) for line in text.splitlines()]) == rows


def test_another_seed_gives_other_games(tmp_path: Path) -> None:
    for seed in (0, 1):
        make(MakeConfig(kind="games", out=tmp_path / str(seed), count=20, seed=seed))
    first, second = ((tmp_path / s / "pool.jsonl").read_text() for s in ("0", "1"))
    assert first != second
