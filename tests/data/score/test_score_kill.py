"""A scoring process killed at every kind of step ends with the bytes of one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from whence.data.score import ScoreConfig, score

OUTPUTS = ("scores.parquet", "row_diagnostics.jsonl", "summary.json", "continuation_manifest.json")


@pytest.mark.slow
def test_killed_after_every_kind_of_step_it_ends_with_the_same_bytes(
    manifest: Path, adapter: Path, tmp_path: Path
) -> None:
    settings = {
        "manifest": manifest,
        "adapter_path": adapter,
        "preconditioning_mode": "query",
        "projection_dim": 6,
        "subset_k": 10,
        "token_batch_size": 48,
        "device": "cpu",
    }
    whole = score(ScoreConfig(**settings, output_dir=tmp_path / "whole")).folder
    flags = [
        part for key, value in settings.items() for part in (f"--{key.replace('_', '-')}", value)
    ]
    output = tmp_path / "killed"
    command = [sys.executable, "-m", "whence", "data", "score", "--output-dir", str(output)]
    scratch = output.with_name("killed.partial") / ".scratch"
    for step in ("question.json", "whitening.safetensors", "query.safetensors", "shards/00001.npz"):
        process = subprocess.Popen([*command, *map(str, flags)], stderr=subprocess.PIPE)
        while not (scratch / step).exists():
            assert process.poll() is None, process.stderr and process.stderr.read().decode()
            time.sleep(0.001)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not output.exists()
    subprocess.run([*command, *map(str, flags)], check=True, capture_output=True)
    for name in OUTPUTS:
        assert (output / name).read_bytes() == (whole / name).read_bytes(), name
