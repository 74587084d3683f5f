"""Rows are read as they stand, and what is wrong with one is said with file, line and key."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from whence.errors import BadInput
from whence.heads.corpora import Fields, Row, line_numbers, read_corpus

Write = Callable[..., Path]
GOOD = {"clean": "The sky is", "corrupt": "Grass is", "target": " blue", "foil": " green"}


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in GOOD.items() if name != key}


def test_a_row_with_its_other_keys(corpus: Write) -> None:
    path = corpus([GOOD, {**GOOD, "truth": True, "id": 7}])
    assert read_corpus(path)[1] == Row(
        1, "The sky is", "Grass is", " blue", " green", {"truth": True, "id": 7}
    )


def test_rows_come_back_as_they_stood(corpus: Write) -> None:
    rows = [GOOD, {**GOOD, "note": "a\u2028b", "n": [1, {"x": None}]}]
    assert [row.as_json(Fields()) for row in read_corpus(corpus(rows))] == rows


def test_blank_lines_count_as_lines_and_not_as_rows(corpus: Write) -> None:
    path = corpus(["", json.dumps(GOOD), "  ", json.dumps(GOOD)])
    assert [row.index for row in read_corpus(path)] == [0, 1]
    assert line_numbers(path) == [2, 4]


def test_other_names_of_the_keys(corpus: Write) -> None:
    path = corpus([{"q": "Sky:", "bad": "Grass:", "yes": " blue", "no": " green", "clean": 3}])
    fields = Fields(clean_field="q", corrupt_field="bad", target_field="yes", foil_field="no")
    (row,) = read_corpus(path, fields)
    assert (row.clean, row.corrupt, row.target, row.foil) == ("Sky:", "Grass:", " blue", " green")
    assert row.extra == {"clean": 3}


def test_a_corpus_without_corrupt_prompts(corpus: Write) -> None:
    (row,) = read_corpus(corpus([without("corrupt")]))
    assert row.corrupt is None
    assert "corrupt" not in row.as_json(Fields())
    (row,) = read_corpus(corpus([{**GOOD, "corrupt": None}]))
    assert row.corrupt is None


@pytest.mark.parametrize(
    ("second", "told"),
    [
        (without("target"), r'line 2: no key "target"; it has clean, corrupt, foil; .*--target'),
        ({**without("foil"), "foli": " x"}, r'line 2: no key "foil"; did you mean "foli"\?'),
        (without("corrupt"), r'line 2: no key "corrupt"'),
        ({**GOOD, "clean": ""}, r'line 2: "clean" is empty'),
        ({**GOOD, "corrupt": " \n"}, r'line 2: "corrupt" is empty'),
        ({**GOOD, "target": ""}, r'line 2: "target" is empty'),
        ({**GOOD, "target": 4}, r'line 2: "target" holds int \(4\), text was expected'),
        ({**GOOD, "clean": None}, r'line 2: "clean" holds null'),
        ({**GOOD, "foil": [" a"]}, r'line 2: "foil" holds list'),
        ('{"clean": "\\ud800", "corrupt": "b", "target": "c", "foil": "d"}', "half a character"),
        ("[1, 2]", "line 2: holds a list; one JSON object a line"),
        ('{"clean": "a"', r"line 2: not JSON \("),
        ('{"clean": NaN}', r"line 2: not JSON \(NaN"),
        ("[" * 100_000, "line 2: not JSON"),
        ("{}", 'line 2: no key "clean"; it has no keys'),
    ],
)  # fmt: skip
def test_a_broken_row(corpus: Write, second: Any, told: str) -> None:
    path = corpus([GOOD, second])
    with pytest.raises(BadInput, match=told) as raised:
        read_corpus(path)
    assert str(raised.value).startswith(f"{path} ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("lines", [[], ["", "  "]])
def test_no_rows(corpus: Write, lines: list[str]) -> None:
    with pytest.raises(BadInput, match="has no rows"):
        read_corpus(corpus(lines))


def test_a_corrupt_key_that_was_named_must_be_there(corpus: Write) -> None:
    with pytest.raises(BadInput, match=r'no key "corupt"; did you mean "corrupt"\?'):
        read_corpus(corpus([GOOD]), Fields(corrupt_field="corupt"))


def test_one_key_cannot_be_two_things(corpus: Write) -> None:
    with pytest.raises(BadInput, match='target_field and foil_field are both "target"'):
        read_corpus(corpus([GOOD]), Fields(foil_field="target"))


def test_the_real_corpora(shared_data: Path) -> None:
    files = sorted((shared_data / "probes" / "corpora").glob("*.jsonl"))
    assert len(files) == 8
    for path in files:
        rows = read_corpus(path)
        assert len(rows) == len(path.read_text().splitlines())
        written = "".join(json.dumps(row.as_json(Fields())) + "\n" for row in rows)
        assert [json.loads(line) for line in written.splitlines()] == [
            json.loads(line) for line in path.read_text().splitlines()
        ]
