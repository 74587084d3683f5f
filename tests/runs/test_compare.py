"""Two files hold the same result when their numbers agree; what differs is named."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from whence.runs.compare import Comparison, compare_files


def compare(
    tmp_path: Path, name: str, old: str | bytes | None, new: str | bytes | None
) -> Comparison:
    for folder, content in (("old", old), ("new", new)):
        (tmp_path / folder).mkdir(exist_ok=True)
        if content is not None:
            data = content.encode() if isinstance(content, str) else content
            (tmp_path / folder / name).write_bytes(data)
    spellings = [("/r/o.replay", "/r/o"), ("/r/o", "o")]
    return compare_files(name, tmp_path / "old" / name, tmp_path / "new" / name, 1e-5, spellings)


@pytest.mark.parametrize(
    ("name", "old", "new", "verdict"),
    [
        ("a.bin", b"\x00", b"\x00", "identical"),
        ("a.bin", b"\x00", b"\x01", "different"),
        ("a.json", '{"x": 1.0}', '{"x": 1.000001}', "within tolerance"),
        ("a.json", '{"x": 1.0}', '{"x": 1.0001}', "different"),
        ("a.json", '{"x": 1000.0}', '{"x": 1000.001}', "within tolerance"),
        ("a.json", '{"x": 0}', '{"x": 1e-7}', "within tolerance"),
        ("a.json", '{"x": 1}', '{"x": true}', "different"),
        ("a.json", '{"x": "a"}', '{"x": "b"}', "different"),
        ("a.json", '{"x": 1}', '{"x": 1, "y": null}', "different"),
        ("a.json", '{"x": [1, 2]}', '{"x": [1]}', "different"),
        ("a.json", '{"x": null}', '{"x": 0}', "different"),
        ("a.json", '{"train_runtime": 3.2}', '{"train_runtime": 9}', "within tolerance"),
        ("a.json", '{"path": "/r/o/x"}', '{"path": "/r/o.replay/x"}', "identical"),
        ("a.json", '{"path": "o/x"}', '{"path": "/r/o.replay/x"}', "identical"),
        ("a.jsonl", '{"x": 1}\n{"x": 2}\n', '{"x": 1}\n{"x": 2.000001}\n', "within tolerance"),
        ("a.md", "loss 0.5000001 at 3", "loss 0.5000002 at 3", "within tolerance"),
        ("a.md", "loss 0.5 at 3", "cost 0.5 at 3", "different"),
        ("a.md", "1 2", "1 2 3", "different"),
        ("a.json", "{}", None, "missing"),
        ("a.json", None, "{}", "new"),
    ],
)  # fmt: skip
def test_verdicts(
    tmp_path: Path, name: str, old: str | None, new: str | None, verdict: str
) -> None:
    assert compare(tmp_path, name, old, new).verdict == verdict


def test_the_difference_and_its_place_are_told(tmp_path: Path) -> None:
    near = compare(tmp_path, "a.json", json.dumps({"x": 2.0}), json.dumps({"x": 2.00001}))
    assert near.largest == pytest.approx(0.00001 / 2.00001)
    text = compare(
        tmp_path, "b.json", '{"arms": [{"name": "top"}]}', '{"arms": [{"name": "bottom"}]}'
    )
    assert text.why == "arms[0].name: 'top' → 'bottom'"
    assert not text.same


def test_tables_and_arrays_are_read_as_numbers(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    rng = np.random.default_rng(0)
    scores = rng.normal(size=50)
    scores[3] = np.nan
    for folder, shift in (("old", 0.0), ("new", 1e-7), ("far", 1e-3)):
        (tmp_path / folder).mkdir()
        values = scores + shift
        pd.DataFrame({"row_id": [f"r{i}" for i in range(50)], "score": values}).to_parquet(
            tmp_path / folder / "s.parquet"
        )
        np.save(tmp_path / folder / "s.npy", values)
        save_file({"w": values.astype(np.float32)}, tmp_path / folder / "s.safetensors")
    for name in ("s.parquet", "s.npy", "s.safetensors"):
        verdicts = [
            compare_files(name, tmp_path / "old" / name, tmp_path / new / name, 1e-5, [])
            for new in ("old", "new", "far")
        ]
        assert [v.verdict for v in verdicts] == ["identical", "within tolerance", "different"]
        assert verdicts[2].largest == pytest.approx(1e-3, rel=0.6)


def test_a_nan_agrees_with_a_nan_alone(tmp_path: Path) -> None:
    for folder, value in (("old", 1.0), ("new", np.nan)):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "a.npy", np.array([value, np.inf]))
        pd.DataFrame({"x": [value]}).to_parquet(tmp_path / folder / "a.parquet")
    for name in ("a.npy", "a.parquet"):
        found = compare_files(name, tmp_path / "old" / name, tmp_path / "new" / name, 1e-5, [])
        assert found.verdict == "different"


def test_bfloat16_weights_are_read(tmp_path: Path) -> None:
    header = b'{"w":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}'
    for folder, last in (("old", 0x3F80), ("new", 0x3F81)):  # 1 and the next bfloat16 after it
        (tmp_path / folder).mkdir()
        data = struct.pack("<Q", len(header)) + header + struct.pack("<2H", 0x4000, last)
        (tmp_path / folder / "a.safetensors").write_bytes(data)
    found = compare_files(
        "a", tmp_path / "old" / "a.safetensors", tmp_path / "new" / "a.safetensors", 1e-2, []
    )
    assert found.verdict == "within tolerance"
    assert found.largest == pytest.approx(2**-7 / (1 + 2**-7))
