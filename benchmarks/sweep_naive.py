"""A sweep of `anchors run` against its configurations one by one, each a process of its own.

    whence anchors make --output-dir runs/traces
    mkdir -p runs/unsplit && cp runs/traces/{sentence_metadata.parquet,traces.jsonl} runs/unsplit
    uv run --no-sync python benchmarks/sweep_naive.py examples/anchors-sweep/sweep.yaml

Plans and runs the first stage, then times `whence anchors run` on 8 of its configurations drawn at
random, as often at once as the sweep had workers. Says both, their ratio, and how much of it is
collapsing (configurations that are not run) and how much sharing (runs that are cheaper). Seconds
of the processor stand beside those of the clock: others on the machine change them less. Fails
below a ratio of 50.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from whence.sweep.campaigns.anchors_run import AnchorsRun
from whence.sweep.entries import Entry, read_manifest
from whence.sweep.factors import put
from whence.sweep.layout import MANIFEST, PLAN, plan_folder
from whence.sweep.settings import RankSettings

EXPECTED = 50.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--sample", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    sweep = yaml.safe_load(given.sweep.read_text())
    stage = sweep["stages"][0]["name"]
    with tempfile.TemporaryDirectory(prefix="whence-naive-") as name:
        home = Path(name) / "sweep"
        planned = timed("sweep", "plan", str(given.sweep), "--output-dir", str(home), "--no-trial")
        ran = timed("sweep", "run", str(home), "--workers", str(given.workers))
        own_cpu = cpu()
        entries = read_manifest(plan_folder(home, stage) / MANIFEST)
        chosen = random.Random(0).sample(entries, min(given.sample, len(entries)))
        files = []
        for number, entry in enumerate(chosen):
            files.append(Path(name) / f"{number}.yaml")
            files[-1].write_text(yaml.safe_dump(settings_of(sweep["base"], entry)))
        before = time.monotonic()
        with ThreadPoolExecutor(given.workers) as pool:
            alone = list(pool.map(study, files))
        wall = time.monotonic() - before
        naive_cpu = (cpu() - own_cpu) / len(chosen)
        runs = json.loads((plan_folder(home, stage) / PLAN).read_text())["runs"]
    naive = wall / len(chosen) * len(entries)
    own = planned + ran
    collapsing = len(entries) / runs
    print(f"plan {planned:.1f} s, run {ran:.1f} s with {given.workers} workers: {own:.1f} s")
    print(f"one by itself: {sum(alone) / len(alone):.1f} s (mean of {len(alone)})")
    print(f"all {len(entries)} by themselves, {given.workers} at once: {naive:,.0f} s")
    print(
        f"ratio {naive / own:.0f}: {len(entries)} configurations are {runs} runs "
        f"({collapsing:.1f}×), and a run is {naive / own / collapsing:.1f}× cheaper by sharing"
    )
    print(
        f"processor: {own_cpu:.1f} s against {naive_cpu:.1f} s each, "
        f"ratio {naive_cpu * len(entries) / own_cpu:.0f}"
    )
    return 0 if naive / own >= EXPECTED else 1


def settings_of(base: dict[str, Any], entry: Entry) -> dict[str, Any]:
    """A study's own file of one configuration."""
    settings = json.loads(json.dumps(base))
    for key, value in {**entry.factors, **entry.seed}.items():
        put(settings, key, value)
    return dict(AnchorsRun(RankSettings()).expand(settings))


def study(file: Path) -> float:
    return timed("anchors", "run", str(file), "--output-dir", str(file.with_suffix("")))


def cpu() -> float:
    """Processor seconds of all ended children and theirs, so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def timed(*words: str) -> float:
    """Seconds of a whence command in a process of its own."""
    before = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "whence", *words],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return time.monotonic() - before


if __name__ == "__main__":
    sys.exit(main())
