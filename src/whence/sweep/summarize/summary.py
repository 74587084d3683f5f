"""From measured runs to everything that a summary says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.errors import BadInput
from whence.sweep.settings import RankSettings
from whence.sweep.summarize.board import Board, label, leaderboard, make_board, telling
from whence.sweep.summarize.contest import contests
from whence.sweep.summarize.deltas import compared, comparison, delta_table, pairs_of, with_q
from whence.sweep.summarize.factor_means import best_settings, factor_means
from whence.sweep.summarize.finished import Stage
from whence.sweep.summarize.shortlist import shortlist
from whence.sweep.summarize.sides import sides_of
from whence.sweep.summarize.stability import agreement, stability_table
from whence.sweep.summarize.winner import winner_of

if TYPE_CHECKING:
    import pandas as pd

TOP = 10
"""Rows that are told in full."""
MANY_ROWS, FEWER_DRAWS = 5_000, 2_000
"""Above so many rows intervals are of so many draws."""


@dataclass(frozen=True)
class Summary:
    """Everything: boards for the page, tables, `summary.json`, `shortlist.json`."""

    boards: Sequence[Board]
    leaderboard: pd.DataFrame
    deltas: pd.DataFrame
    stability: pd.DataFrame
    shortlist: Mapping[str, Any]
    facts: Mapping[str, Any]


def summary_of(
    stage: Stage,
    measured: pd.DataFrame,
    rank: RankSettings,
    *,
    per: Sequence[str],
    draws: int,
    seed: int,
    noun: str,
) -> Summary:
    """measured: rows of `Campaign.measured` with a column `run`. noun: what a unit is called.

    Raises BadInput where nothing that competes was measured.
    """
    import pandas as pd

    found = contests(
        measured,
        stage.entries,
        stage.results,
        per=per,
        series=rank.series,
        baselines=rank.baselines,
    )
    rows = sum(map(len, found))
    used = draws if rows <= MANY_ROWS else min(draws, FEWER_DRAWS)
    settings: dict[str, Any] = {"draws": used, "seed": seed, "noun": noun}
    boards = [
        make_board(each, sides_of(each, rank.confirm, rank.confirm_share, noun, seed), **settings)
        for each in found
    ]
    boards = [board for board in boards if len(board.ranking)]
    if not boards:
        series = sorted(set(measured["series"]))
        raise BadInput(
            f"stage {stage.name}: nothing competes; rank.series names what does, and the runs have "
            f"{', '.join(series) or 'no numbers'}"
        )
    pairs = [pairs_of(board.contest, rank.against) for board in boards]
    tables = []
    for number, (board, own) in enumerate(zip(boards, pairs, strict=True)):
        if len(own.rows):
            differences = compared(board.contest, board.contest.test, own, **settings)
            table = delta_table(board.contest, own, differences, board.rank)
            tables.append(table.assign(board=number))
    deltas = _told(boards, tables, noun) if tables else _no_deltas()
    facts = {
        "stage": stage.name,
        "name": stage.plan["name"],
        "command": stage.plan["command"],
        "partial": bool(stage.missing),
        "runs": {"finished": len(stage.results), "missing": len(stage.missing)},
        "configurations": len(stage.entries),
        "settings": len({entry.setting for entry in stage.entries}),
        "rows": rows,
        "unit": noun,
        "draws": used,
        "seed": seed,
        "per": list(per),
        "confirm": rank.confirm,
        "groups": [
            _group(board, deltas[deltas["board"] == number], settings)
            for number, board in enumerate(boards)
        ],
    }
    return Summary(
        boards=boards,
        leaderboard=leaderboard(boards),
        deltas=deltas.drop(columns=["row", "control_row", "board"], errors="ignore"),
        stability=pd.concat([stability_table(board) for board in boards], ignore_index=True),
        shortlist=shortlist(stage.name, boards, per),
        facts=facts,
    )


def _told(boards: Sequence[Board], tables: Sequence[pd.DataFrame], noun: str) -> pd.DataFrame:
    """All differences, q over all of them; those of the first ten rows with power and sentence."""
    import pandas as pd

    table = with_q(pd.concat(tables, ignore_index=True))
    table["minimum_detectable_effect"] = np.nan
    table["seeds_needed"] = pd.array([pd.NA] * len(table), dtype="Int64")
    table["sentence"] = None
    # Of two that have no unit in common there is nothing to say.
    told = table["rank"].between(1, TOP) & table["effect"].notna()
    for at, row in table[told].iterrows():
        board = boards[row["board"]]
        made = comparison(board.contest, board.contest.test, row.to_dict(), noun=noun)
        detectable = made.minimum_detectable_effect
        table.loc[at, "minimum_detectable_effect"] = np.nan if detectable is None else detectable
        table.loc[at, "seeds_needed"] = pd.NA if made.seeds_needed is None else made.seeds_needed
        table.loc[at, "sentence"] = made.sentence
    return table


def _no_deltas() -> pd.DataFrame:
    import pandas as pd

    names = "group rank arm control against metric effect low high p q seeds items sentence board"
    return pd.DataFrame({name: [] for name in names.split()})


def _group(board: Board, deltas: pd.DataFrame, settings: Mapping[str, Any]) -> dict[str, Any]:
    contest, sides = board.contest, board.sides
    winner = winner_of(board, **settings)
    assert winner is not None  # boards without competitors were left out
    names = telling(contest)
    return {
        "name": contest.name,
        "question": contest.question,
        "per": dict(contest.group),
        "metric": contest.metric,
        "higher_is_better": contest.higher_is_better,
        "competing": len(board.ranking),
        "settings": sum(each.settings for each in best_settings(board)),
        "units": len(contest.units),
        "seeds": list(contest.seeds),
        "seeds_vary": bool(contest.seeded.any()),
        "sides": {
            "kind": sides.kind,
            "chosen_on": sides.chosen_on,
            "confirmed_on": sides.confirmed_on,
            "units": sides.selection.shape[2],
            "notes": list(board.notes),
        },
        "winner": winner.facts,
        "top": [_line(board, row, names) for row in board.ranking[:TOP].tolist()],
        "baselines": [_line(board, row, names) for row in contest.baselines_of(winner.row)],
        "comparisons": _comparisons(deltas),
        "agreement": agreement(board, settings["seed"]),
        "factors": factor_means(board),
    }


def _line(board: Board, row: int, names: Sequence[str]) -> dict[str, Any]:
    contest, found, confirmed = board.contest, board.overall, board.confirmed
    line = contest.standings[row]
    return {
        "rank": int(board.rank[row]) or None,
        "name": label(line, contest.series[row], names),
        "series": contest.series[row],
        "settings": line.settings,
        "configurations": line.configurations,
        "mean": _number(found.effect[row]),
        "interval": _ends(found.low[row], found.high[row]),
        "no_interval": found.reason[row],
        "units": int(found.units[row]),
        "seeds": int(found.seeds[row]) if contest.seeded[row] else 0,
        "sd_over_seeds": _number(board.sd[row]),
        "selection": _number(board.selection[row]),
        "confirmation": None if confirmed is None else _number(confirmed.effect[row]),
        "confirmation_interval": None
        if confirmed is None
        else _ends(confirmed.low[row], confirmed.high[row]),
    }


def _comparisons(deltas: pd.DataFrame) -> list[dict[str, Any]]:
    """Those told in full, with the twelve keys of every comparison in the house."""
    if deltas.empty:
        return []
    own = deltas[deltas["sentence"].notna()]
    return [
        {
            "arm": row["arm"],
            "control": row["control"],
            "metric": row["metric"],
            "effect": row["effect"],
            "interval": _ends(row["low"], row["high"]),
            "p": _number(row["p"]),
            "q": _number(row["q"]),
            "seeds": int(row["seeds"]),
            "items": int(row["items"]),
            "minimum_detectable_effect": _number(row["minimum_detectable_effect"]),
            "seeds_needed": None
            if row["seeds_needed"] is None or row["seeds_needed"] != row["seeds_needed"]
            else int(row["seeds_needed"]),
            "sentence": row["sentence"],
        }
        for row in own.astype(object).where(own.notna(), None).to_dict("records")
    ]


def _number(value: Any) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


def _ends(low: Any, high: Any) -> list[float] | None:
    ends = [_number(low), _number(high)]
    return None if None in ends else ends  # type: ignore[return-value]
