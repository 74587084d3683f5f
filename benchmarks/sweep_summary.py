"""Is `sweep summarize` linear in the number of configurations? 1,000 to 100,000 of them × 60 units.

Measured tables are made up and go straight into what follows reading: contests, intervals, paired
differences, winner, correction, stability, shortlist. Ends with exit code 1 where the time of a
configuration at the largest size is more than twice that at the smallest but one.

    uv run --no-sync python benchmarks/sweep_summary.py [--most 100000]
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np
import pandas as pd

from whence.sweep.entries import Entry
from whence.sweep.settings import RankSettings
from whence.sweep.summarize.finished import Stage
from whence.sweep.summarize.summary import summary_of

UNITS = 60
LIMIT = 2.0


def made(count: int, seeds: int) -> tuple[Stage, pd.DataFrame]:
    """A stage of `count` configurations (settings × seeds), each with a probe and a baseline."""
    rng = np.random.default_rng(0)
    settings = count // seeds
    entries = [
        Entry(
            id=f"{setting}-{seed}",
            stage="one",
            setting=str(setting),
            factors={"layer": setting % 40, "width": setting // 40},
            seed={"seed": seed} if seeds > 1 else {},
            run=f"{setting}-{seed}",
            output=f"runs/{setting}-{seed}",
        )
        for setting in range(settings)
        for seed in range(seeds)
    ]
    runs = [entry.run for entry in entries]
    worth = np.repeat(rng.normal(0.5, 0.05, settings), seeds)
    hard = rng.normal(0, 0.1, UNITS)
    units = [f"p{unit}" for unit in range(UNITS)]
    parts = []
    for name, baseline in (("probe", False), ("position", True)):
        level = np.full(len(runs), 0.5) if baseline else worth
        value = level[:, None] + hard + rng.normal(0, 0.1, (len(runs), UNITS))
        parts.append(
            pd.DataFrame(
                {
                    "run": np.repeat(runs, UNITS),
                    "series": name,
                    "baseline": baseline,
                    "part": "",
                    "unit": np.tile(units, len(runs)),
                    "seed": -1 if baseline else np.tile(np.repeat(range(seeds), UNITS), settings),
                    "value": value.ravel(),
                    "metric": "score",
                    "higher_is_better": True,
                    "question": "",
                }
            )
        )
    stage = Stage(
        Path("/nowhere"), "one", {"name": "made", "command": "anchors run"}, entries,
        dict.fromkeys(runs, ""), [],
    )  # fmt: skip
    return stage, pd.concat(parts, ignore_index=True)


def seconds(count: int, seeds: int) -> float:
    stage, measured = made(count, seeds)
    started = time.process_time()
    summary_of(stage, measured, RankSettings(), per=(), draws=10_000, seed=0, noun="problem")
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--most", type=int, default=100_000)
    most = parser.parse_args().most
    seconds(100, 1)  # imports
    sizes = [size for size in (1_000, 10_000, 30_000, 100_000) if size <= most]
    slow = False
    for seeds in (1, 5):
        each = {}
        for size in sizes:
            took = seconds(size, seeds)
            each[size] = took / size
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            print(
                f"{size:>7,} configurations, {seeds} seed(s): {took:6.1f} s of CPU, "
                f"{1e3 * each[size]:.2f} ms each, peak {peak:.1f} GB",
                flush=True,
            )
        if len(sizes) > 2:
            slow |= each[sizes[-1]] > LIMIT * each[sizes[1]]
    if slow:
        raise SystemExit("not linear")


if __name__ == "__main__":
    main()
