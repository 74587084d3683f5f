"""`shortlist.json`: settings for a later stage, by what chose and by nothing that confirms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from whence.sweep.summarize.board import Board
from whence.sweep.summarize.contest import differing
from whence.sweep.summarize.factor_means import best_settings


def shortlist(stage: str, boards: Sequence[Board], per: Sequence[str]) -> dict[str, Any]:
    """All settings, each by its best competing series, sorted by their place in their own contest.

    Numbers of different contests cannot be compared, so their places are: the first of each stand
    before the second of any. Settings that share their runs, or whose best series has the very same
    numbers, are one entry with the factors of the first of them; `any_of` has the values of factors
    in which they differ. The confirmation estimate is no part of it: what a later stage begins from
    would else be chosen by the very data that are kept to judge it.
    """
    rows = [
        (place, number, board, best)
        for number, board in enumerate(boards)
        for place, best in enumerate(best_settings(board), start=1)
    ]
    rows.sort(key=lambda each: each[:2])
    metrics = list(dict.fromkeys(board.contest.metric for board in boards))
    return {
        "stage": stage,
        "metric": metrics[0] if len(metrics) == 1 else metrics,
        "per": list(per),
        "settings": [
            {
                "factors": dict(best.factors[0]),
                "any_of": differing(best.factors),
                "series": board.contest.series[best.row],
                "group": board.contest.name,
                "metric": board.contest.metric,
                "place": place,
                "selection": float(board.selection[best.row]),
                "stands_for": best.settings,
                "run": board.contest.standings[best.row].runs[0],
            }
            for place, _, board, best in rows
        ],
    }
