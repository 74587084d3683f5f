"""What each factor does to the ranked number, on average over all others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from whence.sweep.summarize.board import Board, telling, written
from whence.sweep.summarize.contest import Contest


@dataclass(frozen=True)
class Best:
    """A row, and the settings that have none better. key: of the first of their runs, in the order
    of the manifest. factors: of each setting."""

    row: int
    key: int
    factors: Sequence[Mapping[str, Any]]

    @property
    def settings(self) -> int:
        return len(self.factors)


def best_settings(board: Board) -> list[Best]:
    """Each setting by its best competing row, best first; settings that share it are together."""
    seen: set[int] = set()
    found = []
    for row in board.ranking.tolist():
        every = board.contest.standings[row].every
        new = [key for key in every if key not in seen]
        if new:
            seen.update(new)
            found.append(Best(row, new[0], [factors for key in new for factors in every[key]]))
    return found


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
    best = sorted(best_settings(board), key=lambda each: each.key)
    settings = [(each.row, factors) for each in best for factors in each.factors]
    frame = pd.DataFrame(
        {
            name: [written(own[name]) if name in own else "–" for _, own in settings]
            for name in names
        },
        index=range(len(settings)),
    )
    rows = [row for row, _ in settings]
    return frame.assign(value=board.overall.effect[rows]).dropna(subset=["value"]), names
