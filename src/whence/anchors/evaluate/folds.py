"""Outer folds: whole problems, each held out once."""

from __future__ import annotations

import random
from collections.abc import Sequence

from whence.errors import BadInput

PROBLEMS = "problems"
"""As many folds as problems: leave one problem out."""


def outer_folds(problems: Sequence[str], folds: str, seed: int) -> list[list[str]]:
    """The problems of each fold, in the order of `problems` within it.

    folds: "problems", or a number of folds, to which `seed` then deals the problems at random.
    Raises BadInput for fewer than two problems or more folds than problems.
    """
    if len(problems) < 2:
        raise BadInput(
            f"{len(problems)} problem with labels: cross-validation holds whole problems out, so "
            "it takes two at least"
        )
    if folds == PROBLEMS:
        return [[each] for each in problems]
    count = int(folds)
    if count > len(problems):
        raise BadInput(
            f"--folds {count}: only {len(problems)} problems have labels; give --folds problems, "
            "or fewer folds"
        )
    dealt = list(problems)
    random.Random(seed).shuffle(dealt)
    parts = [set(dealt[start::count]) for start in range(count)]
    return [[each for each in problems if each in part] for part in parts]
