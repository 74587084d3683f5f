"""Corpora and their splits are found by dataset id; one that is not there is told with those."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from whence.errors import BadInput
from whence.heads.corpora import find_corpus, split_beside


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name in ("facts_v1", "facts_v1_tiny", "logic_v1"):
        (tmp_path / "data" / "corpora").mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / "corpora" / f"{name}.jsonl").write_text("{}\n")
    (tmp_path / "data" / "splits").mkdir()
    (tmp_path / "data" / "splits" / "facts_v1.split.json").write_text("{}")
    return tmp_path / "data"


def test_corpus_and_split(home: Path) -> None:
    corpus, split = find_corpus(home / "corpora", "facts_v1")
    assert corpus == home / "corpora" / "facts_v1.jsonl"
    assert split == home / "splits" / "facts_v1.split.json"
    assert find_corpus(home / "corpora", "logic_v1")[1] is None


def test_from_inside_the_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home / "corpora")
    assert find_corpus(Path(), "facts_v1")[1] == home / "splits" / "facts_v1.split.json"
    assert split_beside(Path("facts_v1.jsonl")) == home / "splits" / "facts_v1.split.json"


def test_through_a_link(home: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "corpora"
    link.symlink_to(home / "corpora")
    assert find_corpus(link, "facts_v1")[1] == home / "splits" / "facts_v1.split.json"
    near = tmp_path / "elsewhere" / "splits"
    near.mkdir()
    (near / "facts_v1.split.json").write_text("{}")
    assert find_corpus(link, "facts_v1")[1] == near / "facts_v1.split.json"


def test_one_that_is_not_there_is_named_with_those_that_are(home: Path) -> None:
    with pytest.raises(BadInput) as raised:
        find_corpus(home / "corpora", "logic_v1_balanced")
    told = str(raised.value)
    assert '"logic_v1_balanced"' in told
    assert re.search(r"there are logic_v1, facts_v1", told)
    assert "facts_v1_tiny" in told


def test_folders_without_corpora(home: Path) -> None:
    with pytest.raises(BadInput, match="no such folder"):
        find_corpus(home / "none", "facts_v1")
    with pytest.raises(BadInput, match=r"holds no corpora .*did you mean .*corpora\?"):
        find_corpus(home, "facts_v1")
