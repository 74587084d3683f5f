"""Tables of several formats read to the same rows; what is wrong with one is said by line."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from whence.errors import BadInput
from whence.runs.tables import LINES_PER_CHUNK, read_table, write_parquet

ROWS = [
    {"text": "ünï ✨", "n": 1, "chat": [{"role": "user", "content": "hi"}]},
    {"text": "b", "n": None, "chat": []},
    {"text": "c\u2028d", "n": 3, "chat": None},
]


def jsonl(path: Path, rows: list[object]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_every_format_gives_the_same_rows(tmp_path: Path) -> None:
    from datasets import Dataset

    (tmp_path / "rows.json").write_text(json.dumps(ROWS))
    jsonl(tmp_path / "rows.jsonl", ROWS)
    write_parquet(pa.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
    Dataset.from_list([*ROWS, {**ROWS[0], "text": "dropped"}]).select(range(3)).save_to_disk(
        tmp_path / "saved"
    )
    for name in ("rows.json", "rows.jsonl", "rows.parquet", "saved"):
        table = read_table(tmp_path / name)
        assert table.to_pylist() == ROWS, name
        assert table.schema.field("n").type == pa.int64(), name


def test_columns_that_begin_late_or_stay_empty_for_long(tmp_path: Path) -> None:
    rows: list[object] = [{"a": None, "b": i} for i in range(LINES_PER_CHUNK)]
    rows += [{"a": "late", "b": 0.5, "c": True}]
    table = read_table(jsonl(tmp_path / "rows.jsonl", rows))
    assert table.num_rows == LINES_PER_CHUNK + 1
    assert table["a"].null_count == LINES_PER_CHUNK
    assert table["a"][-1].as_py() == "late"
    assert table["b"].to_pylist()[-2:] == [LINES_PER_CHUNK - 1, 0.5]
    assert table["c"][-1].as_py() is True


def test_byte_order_mark_blank_lines_and_windows_line_ends(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\r\n{"a": 2}\r\n')
    assert read_table(tmp_path / "rows.jsonl").to_pylist() == [{"a": 1}, {"a": 2}]


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("\n")
    assert read_table(tmp_path / "rows.jsonl").num_rows == 0


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("r.jsonl", b'{"a": 1}\n\n{"a": 2\n', r"r\.jsonl, line 3: not valid JSON"),
        ("r.jsonl", b'{"a": 1}\n[2]\n', r"r\.jsonl, line 2: expected an object, found list"),
        ("r.jsonl", b'{"a": "\xff"}\n', r"r\.jsonl, line 1: not valid JSON"),
        ("r.jsonl", b'{"a": 1}\n{"a": "x"}\n', r'r\.jsonl: column "a" mixes types'),
        ("r.jsonl", b'{"a": ["so \\ud83d"]}\n', r'column "a" has half a character .* after "so"'),
        ("r.json", b'{"a": 1}', r"r\.json: expected a list of objects"),
        ("r.json", b"[", r"r\.json: not valid JSON"),
        ("r.parquet", b"PAR1 no", r"r\.parquet: not a readable Parquet file"),
        ("r.csv", b"a,b", r"r\.csv: cannot read \.csv files"),
    ],
)
def test_unreadable(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=says) as error:
        read_table(tmp_path / name)
    assert "\n" not in str(error.value)


def test_types_that_differ_between_far_lines(tmp_path: Path) -> None:
    rows: list[object] = [{"a": i} for i in range(LINES_PER_CHUNK)]
    with pytest.raises(BadInput, match=r"rows\.jsonl: a column changes its type"):
        read_table(jsonl(tmp_path / "rows.jsonl", [*rows, {"a": "x"}]))


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        read_table(tmp_path / "rows.jsonl")
    with pytest.raises(BadInput, match="not one saved data set"):
        read_table(tmp_path)
