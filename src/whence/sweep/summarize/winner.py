"""The winner of a contest: chosen on one side, estimated on the other, and who it cannot be told
from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from whence.stats.multiplicity import benjamini_hochberg
from whence.sweep.summarize.board import Board, label, telling
from whence.sweep.summarize.contest import one_seed
from whence.sweep.summarize.deltas import Pairs, compared, comparison, control_name
from whence.sweep.summarize.winners_curse import Curse, winners_curse


@dataclass(frozen=True)
class Winner:
    """row: in the contest. facts: what `summary.json` says of it. ties: rows that it cannot be told
    from on the side that did not choose it."""

    row: int
    curse: Curse
    facts: Mapping[str, Any]
    ties: int


def winner_of(board: Board, *, draws: int, seed: int, noun: str) -> Winner | None:
    """None where nothing that competes was measured."""
    ranking = board.ranking
    if not len(ranking):
        return None
    contest, sides = board.contest, board.sides
    row = int(ranking[0])
    chosen = sides.selection[ranking]
    cells = (~np.isnan(chosen)).sum(axis=1).astype(np.float64)
    # Where a seed lacks a unit, the mean over cells, which ranks, is not that of means over seeds.
    even = bool(((cells == 0) | (cells == cells.max(axis=1, keepdims=True))).all())
    curse = winners_curse(
        one_seed(chosen), contest.sign, cells=None if even else cells, seed=seed, noun=noun
    )
    others = ranking[1:]
    ties, against, confirmation = len(others), [], None
    if sides.confirmation is not None and board.confirmed is not None:
        settings: dict[str, Any] = {"draws": draws, "seed": seed, "noun": noun}
        pairs = Pairs(np.full(len(others), row), others, ["reference"] * len(others))
        if len(others):
            found = compared(contest, sides.confirmation, pairs, **settings)
            # Without an interval nothing tells the two apart, unless they never differ at all.
            apart = (found.low > 0) | (found.high < 0)
            ties = int((~apart).sum())
        against = _against_baselines(board, row, settings)
        confirmation = _estimate(board, row)
    names = telling(contest)
    line = contest.standings[row]
    facts = {
        "name": label(line, contest.series[row], names),
        "series": contest.series[row],
        "factors": dict(line.factors),
        "differing": dict(line.differing),
        "settings": line.settings,
        "run": line.runs[0],
        "selection": float(board.selection[row]),
        "selection_units": int(board.chosen_units[row]),
        "confirmation": confirmation,
        "naive": curse.naive,
        "bias_corrected": curse.corrected,
        "expected_shrinkage": curse.shrinkage,
        "in_bag": curse.in_bag,
        "winners_of_resamples": curse.distinct,
        "share_of_resamples_won": curse.won,
        "no_correction": curse.reason,
        "others": len(others),
        "cannot_be_told_from": ties,
        "against_baselines": against,
    }
    return Winner(row, curse, facts, ties)


def _estimate(board: Board, row: int) -> dict[str, Any]:
    found = board.confirmed
    assert found is not None
    known = bool(np.isfinite(found.p[row]))
    effect = float(found.effect[row])
    reason = found.reason[row]
    if board.sides.kind == "seeds" and not board.contest.seeded[row]:
        reason = "no seed changes it, so other seeds are no news"
    return {
        "mean": effect if np.isfinite(effect) else None,
        "interval": [float(found.low[row]), float(found.high[row])] if known else None,
        "reason": reason,
        "units": int(found.units[row]),
        "seeds": int(found.seeds[row]) if board.contest.seeded[row] else 0,
        "on": board.sides.confirmed_on,
    }


def _against_baselines(board: Board, row: int, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The winner against each baseline of its run, on the side that did not choose it."""
    contest = board.contest
    controls = contest.baselines_of(row)
    if not controls:
        return []
    values = board.sides.confirmation
    assert values is not None
    pairs = Pairs(np.full(len(controls), row), np.array(controls), ["baseline"] * len(controls))
    found = compared(contest, values, pairs, **settings)
    q = benjamini_hochberg([None if np.isnan(p) else float(p) for p in found.p])
    return [
        comparison(
            contest,
            values,
            {
                "arm": contest.series[row],
                "control": control_name(contest, row, control),
                "metric": contest.metric,
                "higher_is_better": contest.higher_is_better,
                "effect": found.effect[at],
                "low": found.low[at],
                "high": found.high[at],
                "p": found.p[at],
                "q": q[at],
                "seeds": int(found.seeds[at])
                if contest.seeded[row] or contest.seeded[control]
                else 0,
                "items": int(found.units[at]),
                "standard_error": found.standard_error[at],
                "no_interval": found.reason[at],
                "row": row,
                "control_row": control,
            },
            noun=settings["noun"],
        ).to_dict()
        for at, control in enumerate(controls)
        if np.isfinite(found.effect[at])
    ]
