"""SIGKILL a real experiment again and again: the verdict is that of the run nobody touched."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

EXPERIMENT = """
build:
  {run_dir: data, train_file: games/pool.jsonl, test_file: games/test.jsonl, train_size: 60,
   query_size: 12, eval_size: 16, stratify_by: [], withhold: [kind]}
base_model: tiny
arms: [top=top:12, matched_random=matched_random:of=top]
seeds: [0, 1]
judges: [words, loss]
max_length: 128
lora: {lora_r: 4, lora_alpha: 64}
optim:
  {learning_rate: 4e-3, num_train_epochs: 6, per_device_train_batch_size: 4,
   gradient_accumulation_steps: 1}
planted: {file: data/withheld.parquet, oracle: 12}
"""
WHENCE = (sys.executable, "-m", "whence")


@pytest.mark.slow
def test_ten_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    quiet = {"cwd": tmp_path, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    games = "tiny make --kind games --out games --count 60 --query 12 --evaluation 16".split()
    subprocess.run([*WHENCE, *games], check=True, **quiet)
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    command = [*WHENCE, "data", "experiment", "experiment.yaml", "--output-dir"]
    started = time.monotonic()
    subprocess.run([*command, "whole"], check=True, **quiet)
    seconds = time.monotonic() - started

    rng = random.Random(0)
    kills = 0
    while kills < 10:
        process = subprocess.Popen([*command, "killed"], **quiet)
        try:
            # Up to the middle of the work, so that ten kills come before the end does.
            process.wait(rng.uniform(0.1, 0.5) * seconds)
            break
        except subprocess.TimeoutExpired:
            os.kill(process.pid, 9)
            process.wait()
            kills += 1
    assert kills >= 5
    subprocess.run([*command, "killed"], check=True, **quiet)
    for name in ("verdict.json", "items.parquet", "scores.parquet"):
        assert (tmp_path / "killed" / name).read_bytes() == (
            tmp_path / "whole" / name
        ).read_bytes(), name
