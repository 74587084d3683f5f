"""Accuracies of two sets of rollouts, their difference, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from whence.anchors.rollouts.rollout import Rollout


class Tally(NamedTuple):
    """right of counted rollouts."""

    right: int
    counted: int

    @property
    def accuracy(self) -> float:
        """NaN where nothing was counted (published as 0)."""
        return self.right / self.counted if self.counted else math.nan


def tally(rollouts: Iterable[Rollout]) -> Tally:
    """Count the rollouts that were judged and gave an answer, and the right ones among them."""
    counted = [rollout.correct is True for rollout in rollouts if rollout.counts]
    return Tally(sum(counted), len(counted))


def difference_error(first: Tally, second: Tally) -> float:
    """Standard error of the difference of two independent accuracies; NaN where a side is empty.

    Each side's share is taken after adding one right and one wrong rollout (Agresti and Caffo 2000,
    "plus four"), because 100 right of 100 would otherwise be known without error. It is divided by
    the rollouts there were, not by two more as in their interval: the difference itself is not
    moved, and with ten rollouts its spread would be understated by a tenth.
    """
    if not (first.counted and second.counted):
        return math.nan
    return math.sqrt(_variance(first) + _variance(second))


def _variance(side: Tally) -> float:
    share = (side.right + 1) / (side.counted + 2)
    return share * (1 - share) / side.counted
