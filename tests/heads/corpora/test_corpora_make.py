"""`heads corpora make` writes corpora that `check` has nothing against."""

from __future__ import annotations

from pathlib import Path

import pytest

from whence.heads.corpora import find_corpus, read_corpus, read_split
from whence.heads.corpora.check import CheckConfig, check
from whence.heads.corpora.make import MOST, MakeConfig, make

NAMES = ("facts", "negation", "counterfactual", "logic")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "out"
    make(MakeConfig(output_dir=folder, count=80))
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_unique_prompts_and_a_split(made: Path, name: str) -> None:
    path, file = find_corpus(made / "corpora", name)
    rows = read_corpus(path)
    assert len(rows) == len({row.clean for row in rows}) == 80
    assert file is not None
    split = read_split(file, 80, path)
    assert (len(split.train), len(split.val), len(split.test)) == (56, 12, 12)


@pytest.mark.parametrize("name", NAMES[1:])
def test_both_truth_values(made: Path, name: str) -> None:
    rows = read_corpus(made / "corpora" / f"{name}.jsonl")
    assert sum(row.extra["truth"] for row in rows) == 40


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_wrong_with_them(made: Path, name: str) -> None:
    result = check(CheckConfig(corpus=made / "corpora" / f"{name}.jsonl", tokenizer="tiny"))
    # a supposition states the answer: that is what the counterfactual corpus asks for
    expected = ["answer_in_clean", "answer_in_corrupt"] if name == "counterfactual" else []
    assert [c.name for c in result.checks if c.rows and c.kind == "problem"] == expected
    assert result.balance.even


def test_the_same_bytes_again(made: Path, tmp_path: Path) -> None:
    make(MakeConfig(output_dir=tmp_path / "again", count=80))
    make(MakeConfig(output_dir=tmp_path / "other", count=80, seed=1))
    files = [f"corpora/{name}.jsonl" for name in NAMES]
    files += [f"splits/{name}.split.json" for name in NAMES]
    for file in files:
        assert (made / file).read_bytes() == (tmp_path / "again" / file).read_bytes()
        assert (made / file).read_bytes() != (tmp_path / "other" / file).read_bytes()


def test_as_many_as_the_world_has(tmp_path: Path) -> None:
    about = make(MakeConfig(output_dir=tmp_path / "most", count=MOST)).about
    assert {found["prompts"] for found in about.values()} == {MOST}
    with pytest.raises(ValueError, match="count"):
        MakeConfig(output_dir=tmp_path, count=MOST + 1)
