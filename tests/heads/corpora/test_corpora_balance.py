"""`heads corpora balance` writes corpora whose answers are equally frequent, in every part."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from whence.errors import BadInput
from whence.heads.corpora import Fields, Row, find_corpus, read_corpus, read_split
from whence.heads.corpora.balance import BalanceConfig, balance

Write = Callable[..., Path]


def rows_of(answers: str, *, prompts: int = 1000) -> list[Row]:
    """A row for each letter; its foil is the next letter."""
    return [
        Row(at, f"p{at % prompts}", f"c{at}", letter, chr(ord(letter) + 1))
        for at, letter in enumerate(answers)
    ]


@pytest.mark.parametrize("name", ["negation_single_token_v1", "logical_single_token_v1"])
def test_the_real_corpora_of_one_answer(shared_data: Path, tmp_path: Path, name: str) -> None:
    path = shared_data / "probes" / "corpora" / f"{name}.jsonl"
    result = balance(BalanceConfig(corpus=(path,), output_dir=tmp_path / "out"))
    new, file = find_corpus(tmp_path / "out" / "corpora", f"{name}_balanced")
    rows = read_corpus(new)
    assert Counter(row.target for row in rows) == {" true": 200, " false": 200}
    assert file is not None
    split = read_split(file, len(rows), new)
    seen: set[str] = set()
    for part in (split.train, split.val, split.test):
        # every part is balanced, and no prompt, clean or corrupt, is in two
        counts = Counter(rows[at].target for at in part)
        assert counts[" true"] == counts[" false"]
        prompts = {text for at in part for text in (rows[at].clean, rows[at].corrupt or "")}
        assert not prompts & seen
        seen |= prompts
    assert (len(split.train), len(split.val), len(split.test)) == (280, 60, 60)
    assert "balanced by mirror, 400 rows" in result.finding().headline
    assert ("' false'", "0", "200") in result.finding().rows


def test_a_real_corpus_of_many_answers(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "probes" / "corpora" / "facts_single_token_v1.jsonl"
    balance(BalanceConfig(corpus=(path,), output_dir=tmp_path / "out"))
    rows = read_corpus(tmp_path / "out" / "corpora" / "facts_single_token_v1_balanced.jsonl")
    # the rarest answer has 4 rows, none of them with target = foil
    assert set(Counter(row.target for row in rows).values()) == {4}
    assert len({row.clean for row in rows}) == 22


def test_errors_name_the_line(corpus: Write, tmp_path: Path) -> None:
    rows = [{"clean": "p", "corrupt": None, "target": "a", "foil": "b"}]
    path = corpus(["", *rows])
    with pytest.raises(BadInput, match=r"probe\.jsonl line 2: has no corrupt prompt"):
        balance(BalanceConfig(corpus=(path,), output_dir=tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    path = corpus([{"clean": "p", "corrupt": "c", "target": "a", "foil": "a"}])
    with pytest.raises(BadInput, match=r"no row is left to balance \(1 target = foil\)"):
        balance(BalanceConfig(corpus=(path,), output_dir=tmp_path / "out"))


def test_equal_inputs_give_equal_bytes(corpus: Write, tmp_path: Path) -> None:
    rows = rows_of("aaaaaaabbbccccccc" * 4, prompts=30)
    path = corpus([row.as_json(Fields()) for row in rows])
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        balance(BalanceConfig(corpus=(path,), output_dir=tmp_path / name, seed=seed))
    file = "corpora/probe_balanced.jsonl"
    a, b, c = ((tmp_path / name / file).read_bytes() for name in "abc")
    assert a == b
    assert a != c
    about = json.loads((tmp_path / "a" / "corpora.json").read_text())["probe_balanced"]
    assert about["answer_counts"] == {"a": [28, 12], "c": [28, 12], "b": [12, 12]}


def test_several_corpora_in_one_folder(corpus: Write, tmp_path: Path) -> None:
    rows = [row.as_json(Fields()) for row in rows_of("aaab")]
    paths = (corpus(rows, "one"), corpus(rows[:3], "two"))
    result = balance(BalanceConfig(corpus=paths, output_dir=tmp_path / "out"))
    assert [(name, found["by"], found["rows"]) for name, found in result.about.items()] == [
        ("one_balanced", "answer", 2),
        ("two_balanced", "mirror", 6),
    ]
    assert result.finding().headline == "2 corpora balanced."
    assert result.finding().rows[1][8] == "3 mirrored rows added"
    with pytest.raises(BadInput, match="would both be written as one"):
        balance(BalanceConfig(corpus=(paths[0], paths[0]), output_dir=tmp_path / "other"))
