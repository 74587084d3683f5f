"""SIGKILL a real experiment again and again: it ends with what a run that nobody touched has."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

KILLS = 10
WHENCE = (sys.executable, "-m", "whence")


def whence(home: Path, *words: str) -> None:
    """Run one command to its end."""
    done = subprocess.run([*WHENCE, *words], cwd=home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def killed(home: Path, partial: Path, rng: random.Random, *words: str) -> bool:
    """Start one command and kill it at a random moment; False where it ended before that.

    The moment is up to half a second after up to eight more files have come to be, so that kills
    spread over all that the command does, however fast the machine is.
    """
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    before, files = files_below(partial), rng.randint(0, 8)
    process = subprocess.Popen([*WHENCE, *words], cwd=home, **quiet)
    while process.poll() is None and len(files_below(partial) - before) < files:
        time.sleep(0.01)
    try:
        assert process.wait(rng.uniform(0, 0.5)) == 0
    except subprocess.TimeoutExpired:
        os.kill(process.pid, 9)
        process.wait()
        return True
    return False


def files_below(folder: Path) -> set[Path]:
    # os.walk, because the folder changes under our eyes and pathlib's walk stumbles over that
    return {Path(top, name) for top, _, names in os.walk(folder) for name in names}


@pytest.mark.slow
def test_ten_kills_at_random_moments_change_nothing(games: Path) -> None:
    """A run that ends before all kills have come is compared, thrown away, and begun anew."""
    command = ("data", "experiment", "experiment.yaml", "--seeds", "0", "1", "--learning-rate")
    command = (*command, "8e-3", "--output-dir")
    whence(games, *command, "whole")
    whole, cut, partial = (games / name for name in ("whole", "cut", "cut.partial"))

    def compare() -> None:
        for name in ("verdict.json", "items.parquet", "scores.parquet"):
            assert (cut / name).read_bytes() == (whole / name).read_bytes(), name
        weights = {p.relative_to(whole) for p in whole.rglob("adapter_model.safetensors")}
        assert len(weights) == 7
        for name in weights:
            assert (cut / name).read_bytes() == (whole / name).read_bytes(), name
        assert not partial.exists()

    rng, kills = random.Random(0), 0
    while kills < KILLS:
        if killed(games, partial, rng, *command, "cut"):
            kills += 1
            finished = len(list(partial.glob("arms/*/*/cell.json")))
            found = "scored" if (partial / "scores.parquet").exists() else "not scored"
            print(f"kill {kills}: {found}, {finished} of 7 cells finished")
        else:
            compare()
            shutil.rmtree(cut)
            print("a run came to its end between kills")
    whence(games, *command, "cut")
    compare()
    whence(games, "replay", "cut")
