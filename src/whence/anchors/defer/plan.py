"""A deferral plan: thresholds tuned on validation, what they do on test, and what that is worth.

Beside every plan stand the controls that would do without the probe: the same procedure on minus
the relative position, the probe with sentences deferred at random, and no probe at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whence.anchors.defer.cost import Costs
from whence.anchors.defer.outcome import (
    Judged,
    counts,
    error_difference,
    error_interval,
    outcome,
    rates,
)
from whence.anchors.defer.sides import ALL, Rows, Sides
from whence.anchors.defer.thresholds import DEFER, Chosen, Objective, Pairs, all_pairs
from whence.stats.intervals import DRAWS

BUDGETS = tuple(round(0.05 * step, 2) for step in range(21))
"""Budgets of the curve."""
POSITION = "position_untrained"


@dataclass(frozen=True)
class Goal:
    """budget: the least error while at most `limit` of the rows is deferred.
    error: the least deferral while at most `limit` of the accepted rows is wrong.
    """

    objective: Objective
    limit: float


@dataclass(frozen=True)
class Planned:
    """told: the plan, ready for JSON. decisions: of the judged test rows, [rows]. test: those."""

    told: dict[str, Any]
    decisions: NDArray[np.int8]
    test: Rows


def plan(
    sides: Sides, goal: Goal, costs: Costs, *, grid_size: int = 101, draws: int = DRAWS
) -> Planned:
    """Tune on `sides.val`, judge on `sides.test`, in every group by itself."""
    search = _Search(sides, grid_size)
    chosen = search.choose(goal)
    val, test = (_judged(rows, chosen) for rows in (sides.val, sides.test))
    single = chosen[ALL].thresholds if list(chosen) == [ALL] else None
    told: dict[str, Any] = {
        "thresholds": None if single is None else _pair(chosen[ALL]),
        "val": outcome(val, draws),
        "test": outcome(test, draws),
        "meets_objective": all(each.meets for each in chosen.values()),
        "groups": [] if single else [_group(name, chosen[name], sides) for name in sides.groups],
        "curve": _curve(sides, search, costs, draws),
        "cost": costs.told(test),
        "controls": _controls(sides, goal, search, test, grid_size, costs, draws),
    }
    return Planned(told, test.decisions, sides.test)


class _Search:
    """Every pair of thresholds of every group, counted once and asked for many goals."""

    def __init__(self, sides: Sides, grid_size: int) -> None:
        self.pairs: dict[str, Pairs] = {}
        for name in sides.groups:
            own = sides.val.where(sides.val.groups == name)
            self.pairs[name] = all_pairs(own.scores, own.anchors, grid_size)

    def choose(self, goal: Goal) -> dict[str, Chosen]:
        return {
            name: pairs.choose(goal.objective, goal.limit) for name, pairs in self.pairs.items()
        }


def _judged(rows: Rows, chosen: Mapping[str, Chosen]) -> Judged:
    decisions = np.full(len(rows), DEFER, dtype=np.int8)
    for name, each in chosen.items():
        own = rows.groups == name
        decisions[own] = each.thresholds.decide(rows.scores[own])
    return Judged(decisions, rows.anchors, rows.problems)


def _group(name: str, chosen: Chosen, sides: Sides) -> dict[str, Any]:
    told: dict[str, Any] = {"group": name, "thresholds": _pair(chosen)}
    for side, rows in (("val", sides.val), ("test", sides.test)):
        own = _judged(rows.where(rows.groups == name), {name: chosen})
        told[side] = rates(own) | counts(own)
    return told | {"meets_objective": chosen.meets}


def _curve(sides: Sides, search: _Search, costs: Costs, draws: int) -> list[dict[str, Any]]:
    """One point a budget: tuned on val, seen on test."""
    points = []
    for budget in BUDGETS:
        chosen = search.choose(Goal("budget", budget))
        val, test = (_judged(rows, chosen) for rows in (sides.val, sides.test))
        points.append(
            {
                "budget": budget,
                **rates(test),
                **error_interval(test, draws),
                "val": rates(val),
                "saving_share": costs.told(test)["saving_share"],
            }
        )
    return points


def _controls(
    sides: Sides,
    goal: Goal,
    search: _Search,
    test: Judged,
    grid_size: int,
    costs: Costs,
    draws: int,
) -> dict[str, Any]:
    everything = _judged(sides.test, search.choose(Goal("budget", 0.0)))
    commoner = np.int8(sides.val.anchors.mean() > 0.5)
    alone = Judged(
        np.full(len(sides.test), commoner, dtype=np.int8), sides.test.anchors, sides.test.problems
    )
    told: dict[str, Any] = {
        "random_deferral": {
            **rates(everything),
            "meaning": "the probe labels what chance leaves it: its error with nothing deferred",
        },
        "no_probe": {
            **rates(alone),
            "called": ("no anchor", "anchor")[commoner],
            "meaning": "every sentence is called what most validation sentences are",
        },
    }
    if sides.val.position is None or sides.test.position is None:
        return told | {
            POSITION: None,
            "reason": "the table has no relative_position, so position alone was not tried",
        }

    def by_position(rows: Rows) -> NDArray[np.float32]:
        assert rows.position is not None
        return rows.position

    other = sides.rescored(by_position)
    positions = _Search(other, grid_size)
    chosen = positions.choose(goal)
    judged = _judged(other.test, chosen)
    told[POSITION] = {
        "thresholds": _pair(chosen[ALL]) if list(chosen) == [ALL] else None,
        **outcome(judged, draws),
        "val": rates(_judged(other.val, chosen)),
        "meets_objective": all(each.meets for each in chosen.values()),
        "probe_minus_position": error_difference(test, judged, draws),
        "curve": _curve(other, positions, costs, draws),
    }
    return told


def _pair(chosen: Chosen) -> dict[str, float]:
    return {"t_neg": chosen.thresholds.t_neg, "t_pos": chosen.thresholds.t_pos}
