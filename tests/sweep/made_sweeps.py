"""Measured tables with planted truth, and the stage that they are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from whence.sweep.entries import Entry
from whence.sweep.summarize.finished import Stage


def stage_of(entries: Sequence[Entry], missing: Sequence[str] = ()) -> Stage:
    """A stage all of whose runs but those are finished."""
    runs = dict.fromkeys(entry.run for entry in entries)
    return Stage(
        home=Path("/nowhere"),
        name="one",
        plan={"name": "made", "command": "anchors run", "per": []},
        entries=entries,
        results={run: f"mark of {run}" for run in runs if run not in missing},
        missing=list(missing),
    )


def entry(
    setting: str, factors: Mapping[str, Any], seed: int | None = None, run: str | None = None
) -> Entry:
    name = setting if seed is None else f"{setting}-{seed}"
    return Entry(
        id=name,
        stage="one",
        setting=setting,
        factors=dict(factors),
        seed={} if seed is None else {"training.random_seed": seed},
        run=run or name,
        output=f"runs/{run or name}",
    )


def rows(
    run: str,
    series: str,
    values: Sequence[float] | np.ndarray,
    *,
    seed: int = -1,
    baseline: bool = False,
    part: str = "",
    metric: str = "score",
    higher: bool = True,
    question: str = "",
) -> pd.DataFrame:
    """One series of one run: a value a unit, u000, u001, …"""
    units = [f"{part}u{number:03d}" for number in range(len(values))]
    return pd.DataFrame(
        {
            "run": run,
            "series": series,
            "baseline": baseline,
            "part": part,
            "unit": units,
            "seed": seed,
            "value": np.asarray(values, dtype=float),
            "metric": metric,
            "higher_is_better": higher,
            "question": question,
        }
    ).dropna(subset=["value"])


def grid(
    worth: Sequence[float], units: int, noise: float, seed: int, *, hard: float = 0.0
) -> tuple[list[Entry], pd.DataFrame]:
    """A setting a value of `worth`, one probe each, independent noise a unit."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(0, hard, units) if hard else 0.0
    entries = [entry(f"s{at}", {"layer": at}) for at in range(len(worth))]
    parts = [
        rows(f"s{at}", "probe", value + shared + rng.normal(0, noise, units))
        for at, value in enumerate(worth)
    ]
    return entries, pd.concat(parts, ignore_index=True)
