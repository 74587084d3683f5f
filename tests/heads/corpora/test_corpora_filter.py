"""`heads corpora filter` keeps single-token answers and says what became of every other row."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from whence.errors import BadInput
from whence.heads.corpora import find_corpus, read_corpus, read_split
from whence.heads.corpora.filter import FilterConfig, filter_corpora

Write = Callable[..., Path]

COLOURS = ("red", "blue", "green", "grey", "white", "black")


def sound(n: int) -> dict[str, Any]:
    colours = COLOURS[n % 6], COLOURS[(n + 1) % 6]
    return {
        "clean": f"Thing {n} is",
        "corrupt": f"Thing {n} seems",
        "target": f" {colours[0]}",
        "foil": f" {colours[1]}",
        "id": n,
    }


BROKEN = [
    {**sound(90), "target": " red", "foil": " red "},
    {**sound(91), "target": " red fish"},
    {**sound(92), "foil": " red fish"},
]


def run(paths: Sequence[Path], folder: Path, **settings: Any) -> Any:
    return filter_corpora(
        FilterConfig(
            corpus=tuple(paths), tokenizer="tiny", suffix="t", output_dir=folder, **settings
        )
    )


def test_rows_kept_and_dropped(corpus: Write, tmp_path: Path) -> None:
    rows = [sound(0), *BROKEN, *map(sound, range(1, 40))]
    path = corpus(rows)
    result = run([path], tmp_path / "out")
    about = result.about["probe_t"]
    assert about["dropped"] == {
        "target = foil": [2],
        "target of several tokens": [3],
        "foil of several tokens": [4],
        "answer unknown to the tokenizer": [],
        "one token for both": [],
    }
    assert (about["rows_read"], about["rows"]) == (43, 40)
    new, split = find_corpus(tmp_path / "out" / "corpora", "probe_t")
    assert [json.loads(line) for line in new.read_text().splitlines()] == [*map(sound, range(40))]
    assert split is not None
    parts = read_split(split, 40, new)
    assert (len(parts.train), len(parts.val), len(parts.test)) == (28, 6, 6)
    finding = result.finding()
    assert finding.headline == "1 corpus filtered: 40 of 43 rows kept."
    assert finding.columns[4:] == (
        "target = foil", "target of several tokens", "foil of several tokens",
    )  # fmt: skip
    assert finding.rows == [("probe_t", "40 of 43", "40", "28 / 6 / 6", "1", "1", "1")]


def test_single_tokens_by_the_tokenizer_itself(corpus: Write, tmp_path: Path) -> None:
    from whence.models.load import load_tokenizer

    run([corpus([sound(0), *BROKEN, *map(sound, range(1, 9))])], tmp_path / "out")
    tokenizer = load_tokenizer("tiny")
    for row in read_corpus(tmp_path / "out" / "corpora" / "probe_t.jsonl"):
        for answer in (row.target, row.foil):
            assert len(tokenizer(answer, add_special_tokens=False)["input_ids"]) == 1


def test_several_corpora_and_one_with_nothing_left(corpus: Write, tmp_path: Path) -> None:
    paths = [corpus(map(sound, range(12)), "one"), corpus(BROKEN, "two")]
    result = run(paths, tmp_path / "out")
    assert result.about["two_t"]["rows"] == 0
    assert [p.name for p in (tmp_path / "out" / "corpora").iterdir()] == ["one_t.jsonl"]
    assert "Not written, as nothing is left of it: two_t." in result.finding().headline


def test_nothing_left_at_all(corpus: Write, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no row has a one-token .*1 target = foil, 1 target of"):
        run([corpus(BROKEN)], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.partial").exists()


def test_two_corpora_of_one_name(corpus: Write, tmp_path: Path) -> None:
    path = corpus([sound(0)])
    other = tmp_path / "probe.jsonl"
    other.write_bytes(path.read_bytes())
    with pytest.raises(BadInput, match="would both be written as probe"):
        run([path, other], tmp_path / "out")


def test_equal_inputs_give_equal_bytes(corpus: Write, tmp_path: Path) -> None:
    path = corpus([sound(n % 30) for n in range(60)])
    a, b, c = (tmp_path / name for name in "abc")
    run([path], a, seed=1)
    # the same corpus with Windows line ends is the same corpus
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    run([path], b, seed=1)
    run([path], c, seed=2)
    for name in ("corpora/probe_t.jsonl", "splits/probe_t.split.json", "corpora.json"):
        assert (a / name).read_bytes() == (b / name).read_bytes()
    split = "splits/probe_t.split.json"
    assert (a / split).read_bytes() != (c / split).read_bytes()


def test_a_second_call_finds_the_first_one_done(corpus: Write, tmp_path: Path) -> None:
    path = corpus(map(sound, range(12)))
    first, second = run([path], tmp_path / "out"), run([path], tmp_path / "out")
    assert (first.done_before, second.done_before) == (False, True)
    assert second.about == first.about


def test_the_suffix_is_part_of_a_file_name() -> None:
    with pytest.raises(ValueError, match="suffix"):
        FilterConfig(corpus=(Path("x"),), tokenizer="tiny", suffix="a/b", output_dir=Path("y"))


def test_a_real_corpus_has_no_prompt_in_two_parts(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "probes" / "corpora" / "facts_single_token_v1.jsonl"
    run([path], tmp_path / "out")
    new, file = find_corpus(tmp_path / "out" / "corpora", "facts_single_token_v1_t")
    assert file is not None
    rows = read_corpus(new)
    split = read_split(file, len(rows), new)
    parts = [{rows[at].clean for at in part} for part in (split.train, split.val, split.test)]
    assert sum(map(len, parts)) == len(set().union(*parts))
    assert all(parts)
    assert json.loads(file.read_text())["hash_of"] == "normalised text"
