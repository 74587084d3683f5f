"""What each factor does to the ranked number, on average over all others."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from whence.sweep.summarize.board import Board, shown, telling
from whence.sweep.summarize.contest import Contest


def best_rows(board: Board) -> list[int]:
    """Each setting's best competing row, best first: a setting competes by its best series."""
    seen: set[int] = set()
    rows = []
    for row in board.ranking.tolist():
        key = board.contest.standings[row].key
        if key not in seen:
            seen.add(key)
            rows.append(row)
    return rows


def factor_means(board: Board) -> list[dict[str, Any]]:
    """A row per factor and value: the mean over settings with it, of each setting's best series.

    Means of what was run: where factors were not crossed fully, they are not effects. `spread` is
    the difference between a factor's largest and smallest mean.
    """
    frame, names = _settings(board)
    rows: list[dict[str, Any]] = []
    for name in names:
        means = frame.groupby(name, sort=False)["value"].agg(["mean", "count"])
        spread = float(means["mean"].max() - means["mean"].min())
        rows += [
            {
                "factor": name,
                "value": str(value),
                "mean": float(each["mean"]),
                "settings": int(each["count"]),
                "spread": spread,
            }
            for value, each in means.iterrows()
        ]
    return sorted(rows, key=lambda row: -row["spread"])


def grid_means(board: Board) -> tuple[str, str, pd.DataFrame] | None:
    """The two factors with the largest spreads that were crossed, and the mean of each cell:
    columns `x, y, value`. None with fewer than two."""
    frame, names = _settings(board)
    spread = {name: np.ptp(frame.groupby(name)["value"].mean()) for name in names}
    by_spread = sorted(names, key=lambda name: -spread[name])
    for y, x in combinations(by_spread, 2):
        cells = frame.groupby([y, x], sort=False)["value"].mean().reset_index()
        if len(cells) > max(frame[x].nunique(), frame[y].nunique()):
            # The longer one across.
            if frame[y].nunique() > frame[x].nunique():
                x, y = y, x
            cells = cells.rename(columns={x: "x", y: "y"})
            return x, y, cells[["x", "y", "value"]]
    return None


def _settings(board: Board) -> tuple[pd.DataFrame, list[str]]:
    contest: Contest = board.contest
    names = telling(contest)
    # In the order of the manifest, so that values stand as the sweep file has them.
    rows = sorted(best_rows(board), key=lambda row: contest.standings[row].key)
    lines = [contest.standings[row] for row in rows]
    frame = pd.DataFrame(
        {name: [shown(line, name) or "–" for line in lines] for name in names},
        index=range(len(rows)),
    )
    return frame.assign(value=board.overall.effect[rows]).dropna(subset=["value"]), names
