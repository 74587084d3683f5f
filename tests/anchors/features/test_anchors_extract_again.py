"""Extractions that were cut off, or have something to take over from another."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import started
from extractions import Case, run
from safetensors.numpy import load_file

from whence.errors import BadInput
from whence.models.load import load_model
from whence.runs.fingerprint import hash_folder


def test_an_attempt_in_another_dtype_does_not_go_on_from_this_one(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """dtype auto is bfloat16 on a GPU and float32 here, and the device is no setting of the run."""
    from whence.anchors.features import capture_trace as module
    from whence.models import load

    output = tmp_path / "E"
    capture, left = module.capture_trace, [2]

    def cut_off(*given: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return capture(*given)

    def on_a_gpu(model: str, **given: Any) -> Any:
        return load_model(model, **{**given, "dtype": "bfloat16"})

    with monkeypatch.context() as there:
        there.setattr(load, "load_model", on_a_gpu)
        there.setattr(module, "capture_trace", cut_off)
        with pytest.raises(KeyboardInterrupt):
            run(case, output, dtype="auto")
    with pytest.raises(BadInput, match=r"compute_dtype bfloat16 → float32.*remove this folder"):
        run(case, output, dtype="auto")
    assert len(list((tmp_path / "E.partial").glob("problem_*"))) == 2
    monkeypatch.setattr(load, "load_model", on_a_gpu)
    assert run(case, output, dtype="auto").facts["model"]["compute_dtype"] == "bfloat16"


def slow_start(case: Case, output: Path) -> started.Started:
    """The command in a process of its own, half a second a trace, so that it can be killed."""
    code = (
        "import sys, time\n"
        "from whence.anchors.features import store\n"
        "write = store.write_arrays\n"
        "def slow(arrays, path):\n"
        "    time.sleep(0.5)\n"
        "    write(arrays, path)\n"
        "store.write_arrays = slow\n"
        "from whence.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    words = [
        "anchors", "extract", "--metadata", str(case.metadata), "--model", "tiny",
        "--layers", "1,4", "--pooling", "mean,tokens,last", "--vertical", "full", "--per-head",
        "--device", "cpu", "--dtype", "float32", "--output-dir", str(output),
    ]  # fmt: skip
    return started.python(code, *words)


def test_killed_and_started_again(case: Case, extracted: Path, tmp_path: Path) -> None:
    output, partial = tmp_path / "E", tmp_path / "E.partial"
    process = slow_start(case, output)
    deadline = time.monotonic() + 120
    while len(list(partial.glob("problem_*"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with pytest.raises(BadInput, match="another whence process"):
        run(case, output, vertical="full", per_head=True)
    process.kill()
    assert not output.exists()
    before = {path.name: path.stat().st_mtime_ns for path in partial.glob("problem_*")}
    assert 2 <= len(before) < 6
    result = run(case, output, vertical="full", per_head=True)
    assert not result.done
    after = {path.name: path.stat().st_mtime_ns for path in output.glob("problem_*")}
    assert {name: after[name] for name in before} == before
    assert hash_folder(output) == hash_folder(extracted)


def test_another_extraction_is_used_again(
    case: Case, extracted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layers 1 and 4 are copied, layer 2 is captured, and the whole is as if captured at once."""
    from whence.anchors.features import capture_trace as module

    asked: list[tuple[int, ...]] = []
    capture = module.capture_trace

    def watched(anatomy: Any, ids: Any, spans: Any, wanted: Any, what: str) -> Any:
        asked.append(wanted.layers)
        return capture(anatomy, ids, spans, wanted, what)

    monkeypatch.setattr(module, "capture_trace", watched)
    run(case, tmp_path / "new", layers=("1", "2", "4"), pooling=("mean",), reuse=extracted)
    assert asked == [(2,)] * 6
    run(case, tmp_path / "alone", layers=("1", "2", "4"), pooling=("mean",))
    for path in sorted((tmp_path / "alone").glob("problem_*")):
        alone, reused = load_file(path), load_file(tmp_path / "new" / path.name)
        assert list(alone) == list(reused)
        assert all(np.allclose(alone[name], reused[name], atol=2e-5) for name in alone)
    del asked[:]
    run(case, tmp_path / "same", layers=("4",), pooling=("tokens",), reuse=extracted)
    assert asked == []
    other = {"vertical": "full", "layers": ("4",), "pooling": ("mean",)}
    run(case, tmp_path / "other", reuse=extracted, depth_control=False, **other)
    assert asked == [(4,)] * 6
    with pytest.raises(BadInput, match="another model, adapter, dtype"):
        run(case, tmp_path / "half", reuse=extracted, storage_dtype="float16")


def test_only_traces_that_are_the_same_are_used_again(
    case: Case, extracted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from whence.anchors.features import capture_trace as module

    rows = [json.loads(line) for line in case.traces.read_text().splitlines()]
    rows[2]["text"] += " Really."
    traces = tmp_path / "traces.jsonl"
    traces.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked: list[str] = []
    capture = module.capture_trace
    monkeypatch.setattr(module, "capture_trace", lambda *a: asked.append(a[-1]) or capture(*a))
    run(case, tmp_path / "E", traces=traces, layers=("4",), pooling=("mean",), reuse=extracted)
    assert asked == ["problem trace-00002"]
