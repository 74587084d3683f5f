"""Features come back beside the rows that are asked for, in their order, or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open

from whence.anchors.features.store import load, problem_file, write_arrays, write_index
from whence.anchors.spans.locate import Span
from whence.anchors.spans.tokens import Placed
from whence.anchors.traces import Trace
from whence.errors import BadInput

D = 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two problems, one named with a slash; every number says where it is from."""
    placed = []
    for number, (problem, spans) in enumerate(
        {"7": [Span(2, 4), Span(4, 5)], "a/b": [Span(0, 1), Span(1, 4), Span(3, 6)]}.items()
    ):
        trace = Trace(problem, "", tuple(f"{problem} {i}." for i in range(len(spans))))
        placed.append(Placed(trace, tuple(range(6)), 0, (), tuple(spans)))
        arrays = {}
        for layer in (1, 3, 8):
            base = 1000 * number + 100 * layer
            mean = [[base + i] * D for i in range(len(spans))]
            places = [place for a, b in spans for place in range(a, b)]
            arrays[f"blocks.{layer}.hook_resid_post.mean"] = np.asarray(mean, dtype=np.float16)
            arrays[f"blocks.{layer}.hook_resid_post.tokens"] = np.asarray(
                [[base + 10 * place] * D for place in places], dtype=np.float16
            )
            arrays[f"blocks.{layer}.vertical"] = np.asarray(
                [base + 50 + i for i in range(len(spans))], dtype=np.float32
            )
        write_arrays(arrays, tmp_path / problem_file(problem))
    write_index(placed, tmp_path / "sentences.parquet")
    facts = {
        "format": 1, "layers": [1, 3, 8], "poolings": ["mean", "tokens"], "dtype": "float16",
        "vertical": {"mode": "light"}, "per_head": False, "model": {"d_model": D, "n_layers": 9},
        "fingerprint": "f", "texts": {},
    }  # fmt: skip
    (tmp_path / "features.json").write_text(json.dumps(facts))
    gone = [{"problem_id": "9", "cause": "too long"}]
    (tmp_path / "failures.json").write_text(json.dumps(gone))
    return tmp_path


def rows(*pairs: tuple[str, int]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "problem_id": [problem for problem, _ in pairs],
            "chunk_idx": [index for _, index in pairs],
            "chunk_text": [f"{problem} {index}." for problem, index in pairs],
        }
    )


def test_rows_in_the_order_asked_for(folder: Path) -> None:
    features = load(folder)
    frame = rows(("a/b", 2), ("7", 1), ("a/b", 0), ("7", 0)).assign(importance_signed=[1, 2, 3, 4])
    data = features.data(frame, tokens=True, vertical=True)
    assert features.layer(None) == 3  # the middle one
    assert data.mean is not None
    assert data.mean.dtype == np.float32
    assert data.mean.tolist() == [[n] * D for n in (1302, 301, 1300, 300)]
    assert data.vertical is not None
    assert data.vertical.tolist() == [[1352], [351], [1350], [350]]
    assert data.tokens is not None
    assert data.tokens.values.dtype == np.float16
    own = [data.tokens.tokens(row)[:, 0].tolist() for row in range(4)]
    assert own == [[1330, 1340, 1350], [340], [1300], [320, 330]]
    assert data.frame["token_count"].tolist() == [3, 1, 1, 2]
    assert data.frame["token_start"].tolist() == [3, 4, 0, 2]
    assert data.frame["importance_signed"].tolist() == [1, 2, 3, 4]
    kept = data.take(np.asarray([2, 0])).tokens
    assert kept is not None
    assert kept.tokens(1)[:, 0].tolist() == [1330, 1340, 1350]


def test_a_table_with_token_counts_keeps_its_own(folder: Path) -> None:
    frame = rows(("7", 0)).assign(token_count=99)
    data = load(folder).data(frame, layer=1)
    assert data.frame["token_count"].tolist() == [99]
    assert data.frame["token_end"].tolist() == [4]


def test_only_what_is_asked_for_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    class Watched:
        def __init__(self, path: Path, framework: str) -> None:
            self.file = safe_open(path, framework)

        def __enter__(self) -> Watched:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def get_tensor(self, name: str) -> np.ndarray:
            read.append(name)
            return self.file.get_tensor(name)

    monkeypatch.setattr("safetensors.safe_open", Watched)
    data = load(folder).data(rows(("7", 0), ("7", 1)), layer=8)
    assert read == ["blocks.8.hook_resid_post.mean"]
    assert data.tokens is None
    assert data.vertical is None
    del read[:]
    assert load(folder).data(rows(("7", 0)), pooling=None).mean is None
    assert read == []


def test_problems_left_out_are_left_out(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = load(folder).data(rows(("9", 0), ("7", 1), ("9", 1)), layer=1)
    assert data.frame["problem_id"].tolist() == ["7"]
    assert data.mean is not None
    assert data.mean.tolist() == [[101] * D]
    assert "too long" in caplog.text
    with pytest.raises(BadInput, match="none of these sentences"):
        load(folder).data(rows(("9", 0)), layer=1)


def test_what_does_not_fit_is_named(folder: Path) -> None:
    features = load(folder)
    with pytest.raises(BadInput, match="no layer 2; it has 1, 3, 8"):
        features.data(rows(("7", 0)), layer=2)
    with pytest.raises(BadInput, match="without last"):
        features.data(rows(("7", 0)), pooling="last")
    with pytest.raises(BadInput, match="no sentence 5 of problem 7"):
        features.data(rows(("7", 0), ("7", 5)))
    with pytest.raises(BadInput, match="no sentence 0 of problem 8"):
        features.data(rows(("8", 0)))
    with pytest.raises(BadInput, match="sentence 0 of problem 7 is another text"):
        features.data(rows(("7", 0)).assign(chunk_text="Another."))
    (folder / problem_file("a/b")).write_bytes(b"half")
    with pytest.raises(BadInput, match=r"problem_a%2Fb\.safetensors: cannot be read"):
        features.data(rows(("a/b", 0)))


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="whence anchors extract"):
        load(tmp_path)
    (tmp_path / "features.json").write_text('{"format": 2}')
    with pytest.raises(BadInput, match="format 2"):
        load(tmp_path)


def test_equal_arrays_give_equal_bytes(tmp_path: Path) -> None:
    arrays = {f"blocks.{n}.vertical": np.full(n + 1, n, dtype=np.float32) for n in range(30)}
    write_arrays(arrays, tmp_path / "a")
    write_arrays(dict(reversed(arrays.items())), tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_problem_of_any_name_has_a_file_of_its_own():
    names = ["330", "a/b", "..", "x" * 300, "x" * 299 + "y", "问题" * 60]
    files = [problem_file(name) for name in names]
    assert files[0] == "problem_330.safetensors"
    assert len(set(files)) == len(names)
    assert all(len(file.encode()) < 255 and "/" not in file for file in files)
