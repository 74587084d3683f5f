"""The leaderboard: a row per line of settings and series, ranked by what chose and nothing else."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from whence.stats.many_over_seeds import ManyMeans, many_over_seeds, within
from whence.sweep.summarize.bounds import bounds
from whence.sweep.summarize.contest import Contest, Floats, Standing, one_seed
from whence.sweep.summarize.sides import Sides

if TYPE_CHECKING:
    import pandas as pd

FACTOR = "factor."
"""Begins the name of a factor's column."""
SHOWN_VALUES = 4


@dataclass(frozen=True)
class Board:
    """A contest, its sides, and every row's estimates [rows].

    selection: mean on the side that chooses. overall: on all test cells. confirmed: on the other
    side, None without one. rank: place among those that compete, 0 for others. sd: over seeds.
    chosen_units: how many units of the side that chooses a row has. notes: what to say of the
    choice, those of the sides among it.
    """

    contest: Contest
    sides: Sides
    selection: Floats
    overall: ManyMeans
    confirmed: ManyMeans | None
    rank: NDArray[np.int64]
    sd: Floats
    chosen_units: NDArray[np.int64]
    notes: Sequence[str]

    @property
    def ranking(self) -> NDArray[np.int64]:
        """Rows that compete, best first."""
        placed = np.flatnonzero(self.rank > 0)
        return placed[np.argsort(self.rank[placed], kind="stable")]


def make_board(contest: Contest, sides: Sides, *, draws: int, seed: int, noun: str) -> Board:
    """Estimate every row. Ties go to what the manifest has first.

    A row that chooses on fewer than half as many units as another is not ranked: the mean of a few
    easy ones would win.
    """
    selection = cell_means(sides.selection)
    chosen_units = (~np.isnan(sides.selection)).any(axis=1).sum(axis=1)
    competing = contest.competing
    enough = 2 * chosen_units[competing] >= chosen_units[competing].max(initial=0)
    notes = [*sides.notes, *_left_out(int((~enough).sum()), noun)]
    competing = competing[enough]
    order = competing[np.argsort(-selection[competing] * contest.sign, kind="stable")]
    order = order[~np.isnan(selection[order])]
    rank = np.zeros(len(contest), dtype=np.int64)
    rank[order] = np.arange(1, len(order) + 1)
    settings: dict[str, Any] = {"draws": draws, "seed": seed, "noun": noun}
    ends = bounds(contest.metric, contest.test)
    overall = within(many_over_seeds(contest.test, **settings), *ends)
    confirmed = None
    if sides.confirmation is not None:
        # Where validation chose, all that was not used to choose is all there is of test.
        if sides.confirmation is contest.test:
            confirmed = overall
        else:
            confirmed = within(many_over_seeds(_new(contest, sides), **settings), *ends)
    return Board(
        contest=contest,
        sides=sides,
        selection=selection,
        overall=overall,
        confirmed=confirmed,
        rank=rank,
        sd=sd_over_seeds(contest),
        chosen_units=chosen_units,
        notes=notes,
    )


def _left_out(count: int, noun: str) -> tuple[str, ...]:
    if not count:
        return ()
    told = "1 line has" if count == 1 else f"{count:,} lines have"
    return (f"{told} fewer than half as many {noun}s to choose by as others, and no rank",)


def _new(contest: Contest, sides: Sides) -> Floats:
    """The confirming side, blank where it has only what chose: other seeds are no news of what no
    seed changes."""
    assert sides.confirmation is not None
    if sides.kind != "seeds":
        return sides.confirmation
    return np.where(contest.seeded[:, None, None], sides.confirmation, np.nan)


def cell_means(values: Floats) -> Floats:
    """Mean of the cells of each row [rows]; NaN for none."""
    there = ~np.isnan(values)
    count = there.sum(axis=(1, 2))
    total = np.where(there, values, 0.0).sum(axis=(1, 2))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def seed_means(values: Floats) -> Floats:
    """Mean over units under each seed [rows, seeds]; NaN for none."""
    return one_seed(values.transpose(0, 2, 1))


def sd_over_seeds(contest: Contest) -> Floats:
    """Standard deviation of the means under single seeds [rows]; NaN under two."""
    means = seed_means(contest.test)
    found = np.full(len(means), np.nan)
    several = (~np.isnan(means)).sum(axis=1) > 1
    if several.any():
        found[several] = np.nanstd(means[several], axis=1, ddof=1)
    return found


def leaderboard(boards: Sequence[Board]) -> pd.DataFrame:
    """One table of all contests: those that compete by rank, then the others."""
    import pandas as pd

    factors = list(_factor_names(boards))
    parts = []
    for board in boards:
        contest = board.contest
        order = [*board.ranking, *np.flatnonzero(board.rank == 0)]
        at = np.array(order, dtype=np.int64)
        lines = [contest.standings[row] for row in order]
        confirmed = board.confirmed
        columns: dict[str, Any] = {
            "group": contest.name,
            "rank": pd.array(np.where(board.rank[at] > 0, board.rank[at], 0), dtype="Int64"),
            "series": [contest.series[row] for row in order],
            "role": contest.role[at],
            **{FACTOR + name: [shown(line, name) for line in lines] for name in factors},
            "metric": contest.metric,
            "higher_is_better": contest.higher_is_better,
            "mean": board.overall.effect[at],
            "low": board.overall.low[at],
            "high": board.overall.high[at],
            "units": board.overall.units[at],
            "seeds": np.where(contest.seeded[at], board.overall.seeds[at], 0),
            "sd_over_seeds": board.sd[at],
            "selection": board.selection[at],
            "confirmation": np.nan if confirmed is None else confirmed.effect[at],
            "confirmation_low": np.nan if confirmed is None else confirmed.low[at],
            "confirmation_high": np.nan if confirmed is None else confirmed.high[at],
            "confirmation_units": 0 if confirmed is None else confirmed.units[at],
            "settings": [line.settings for line in lines],
            "configurations": [line.configurations for line in lines],
            "runs": [len(line.runs) for line in lines],
            "repeated_seeds": contest.repeats[at],
            "run": [line.runs[0] for line in lines],
            "no_interval": [board.overall.reason[row] for row in order],
        }
        frame = pd.DataFrame(columns)
        frame.loc[frame["rank"] == 0, "rank"] = pd.NA
        parts.append(frame)
    return pd.concat(parts, ignore_index=True)


def shown(line: Standing, name: str) -> str | None:
    """A factor's value in a table; several where the line stands for settings that differ in it."""
    if name in line.differing:
        values = [written(value) for value in line.differing[name]]
        more = f", … ({len(values)})" if len(values) > SHOWN_VALUES else ""
        return f"any of {', '.join(values[:SHOWN_VALUES])}{more}"
    return written(line.factors[name]) if name in line.factors else None


def written(value: Any) -> str:
    """A factor's value as it stands in the sweep file."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def label(line: Standing, series: str, names: Sequence[str] | None = None) -> str:
    """`linear_probe, layer 3, target importance_abs`: a row's name in sentences and charts.

    names: the factors to say; default all.
    """
    last = {name: name.rpartition(".")[2] for name in line.factors}
    shared = {word for word, count in Counter(last.values()).items() if count > 1}
    told = [
        f"{name if last[name] in shared else last[name]} {shown(line, name)}"
        for name in (line.factors if names is None else names)
        if name in line.factors
    ]
    return ", ".join([series, *told])


def telling(contest: Contest) -> list[str]:
    """Factors that differ within a contest: those worth saying."""
    lines = {id(line): line for line in contest.standings}
    if len(lines) == 1:
        return list(contest.standings[0].differing)
    values: dict[str, set[str]] = {}
    for line in lines.values():
        for name in line.factors:
            values.setdefault(name, set()).add(str(shown(line, name)))
    return [name for name, each in values.items() if len(each) > 1]


def _factor_names(boards: Sequence[Board]) -> Mapping[str, None]:
    lines = {id(line): line for board in boards for line in board.contest.standings}
    return dict.fromkeys(name for line in lines.values() for name in line.factors)
