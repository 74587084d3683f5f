"""JSON on disk: what goes in comes out, what cannot is named."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
from pydantic import BaseModel

from whence.errors import BadInput, WhenceError
from whence.runs.jsonfile import merge_json, plain, read_json, read_jsonl, write_json, write_jsonl


class Mode(Enum):
    MEAN = "mean"


@dataclass
class Point:
    x: float
    where: Path


class Settings(BaseModel):
    rank: int = 3


def test_everything_that_has_a_meaning_becomes_plain() -> None:
    value = {
        "point": Point(1.5, Path("a/b")),
        "model": Settings(),
        "mode": Mode.MEAN,
        "set": {"b", "a"},
        "array": np.arange(4, dtype=np.float32).reshape(2, 2),
        "scalar": np.int64(7),
        "double": np.float64(0.5),
        "flag": np.bool_(True),
        "rows": (row for row in [(1, None), (2, True)]),
        3: "three",
    }
    assert json.loads(json.dumps(plain(value))) == {
        "point": {"x": 1.5, "where": "a/b"},
        "model": {"rank": 3},
        "mode": "mean",
        "set": ["a", "b"],
        "array": [[0.0, 1.0], [2.0, 3.0]],
        "scalar": 7,
        "double": 0.5,
        "flag": True,
        "rows": [[1, None], [2, True]],
        "3": "three",
    }


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), np.float32("-inf")])
def test_a_number_that_is_none_is_refused_by_its_place(tmp_path: Path, bad: float) -> None:
    path = tmp_path / "summary.json"
    with pytest.raises(WhenceError, match=r"summary\.json: arms\.top\[1\]\.loss is -?(nan|inf)"):
        write_json(path, {"arms": {"top": [{"loss": 1.0}, {"loss": bad}]}})
    assert not path.exists()


def test_keys_keep_their_order_and_bytes_repeat(tmp_path: Path) -> None:
    value = {"b": 1, "a": {"z": "é\u2028", "y": [1e-5, 2.0]}}
    write_json(tmp_path / "1.json", value)
    write_json(tmp_path / "2.json", value)
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()
    assert list(read_json(tmp_path / "1.json")) == ["b", "a"]
    assert read_json(tmp_path / "1.json") == value


def test_rows_go_out_and_come_back(tmp_path: Path) -> None:
    rows = [{"text": "line\u2028one\nline two", "n": n} for n in range(3)]
    write_jsonl(tmp_path / "a.jsonl", iter(rows))
    assert read_jsonl(tmp_path / "a.jsonl") == rows


def test_a_bad_row_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n\n{"a": }\n')
    with pytest.raises(BadInput, match=r"a\.jsonl line 3: not JSON"):
        read_jsonl(path)
    with pytest.raises(WhenceError, match=r"a\.jsonl row 2: loss is nan"):
        write_jsonl(path, [{"loss": 1.0}, {"loss": float("nan")}])
    assert path.read_text().startswith('{"a": 1}')


@pytest.mark.parametrize(
    ("content", "message"),
    [(b'{"a": 1,\n"b" 2}', "not JSON at line 2"), (b"\xff\xfe{}", "not UTF-8"), (None, "no such")],
)
def test_unreadable_files_are_bad_input(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInput, match=message):
        read_json(path)


def _merge_many(path: Path, worker: int) -> None:
    for n in range(20):
        merge_json(path, f"{worker}-{n}", n)


def test_merging_processes_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "loss.json"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_merge_many, args=(path, w)) for w in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert read_json(path) == {f"{w}-{n}": n for w in range(3) for n in range(20)}
    assert [p.name for p in tmp_path.iterdir()] == ["loss.json"]
