"""Importances as `chunks_labeled.json` has them, and which of their zeros are no measurement.

The published analysis writes 0 where there was nothing to compare. What it writes beside shows most
of these: the last sentence has no successor; a sentence without its immediate successor has no
resampling accuracy; and where `different_trajectories_fraction` is 0 no rollout was dissimilar.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from whence.anchors.labels.names import (
    ERRORS,
    EXTRAS,
    IMPORTANCES,
    NO_DISSIMILAR,
    NO_NEXT,
    NOT_PUBLISHED,
    STORED_AS_ZERO,
    Importance,
)
from whence.anchors.labels.recompute import Measured
from whence.anchors.rollouts.problem import Problem
from whence.errors import BadInput

Zeros = Literal["auto", "keep", "missing"]


def published(problem: Problem, zeros: Zeros) -> list[Measured]:
    """What was published of a problem's sentences, in their order; no standard error is known.

    zeros: "keep" takes every number as it is; "auto" takes a 0 as missing where the files show that
    nothing was compared; "missing" takes every exact 0 as missing. Raises BadInput for a value that
    is not a number.
    """
    numbers = [sentence.number for sentence in problem.sentences]
    found = []
    for sentence in problem.sentences:
        where = f"{problem.place}/chunks_labeled.json chunk {sentence.number}"
        entry = sentence.published
        measured = Measured({name: _number(entry, name, where) for name in EXTRAS})
        for name in IMPORTANCES:
            value = _number(entry, name, where)
            cause = None
            if math.isnan(value):
                cause = NOT_PUBLISHED
            elif value == 0 and zeros == "auto":
                cause = nothing_compared(name, sentence.number, numbers, entry)
            elif value == 0 and zeros == "missing":
                cause = STORED_AS_ZERO
            if cause:
                measured.miss((name,), cause)
            else:
                measured.values |= {name: value, ERRORS[name]: math.nan}
        found.append(measured)
    return found


def nothing_compared(
    name: Importance, number: int, numbers: Sequence[int], entry: Mapping[str, Any]
) -> str | None:
    """Why a published 0 of a sentence stands for no comparison; None where nothing says so.

    numbers: those of all sentences of the problem, in order.
    """
    if number == numbers[-1]:
        return NO_NEXT
    if name == "resampling_importance_accuracy" and number + 1 not in numbers:
        return NO_NEXT
    if name.startswith("counterfactual") and entry.get("different_trajectories_fraction") == 0:
        return NO_DISSIMILAR
    return None


def _number(entry: Mapping[str, Any], name: str, where: str) -> float:
    """The value, NaN where it is absent, null or NaN."""
    value = entry.get(name)
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isinf(value):
        raise BadInput(f"{where}: {name} is {value!r}; a finite number was expected")
    return float(value)
