"""KL divergence between the answers of two sets of rollouts, and its bootstrap.

    answers: shares of the normalised, non-empty answers. p = (count + α) / (total + α V), V the
             number of different answers of both sides; KL = Σ p ln(p / q)
    correct: the same on two classes, right and wrong, of the rollouts that were judged

α is 1e-9 (as published), or 1 with Laplace smoothing. With 1e-9 an answer that only the first side
gives costs about 20 nats times its share, so the value is dominated by whether the second side ever
gave it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from whence.anchors.rollouts.answers import normalise_answer
from whence.anchors.rollouts.rollout import Rollout

Outcome = Literal["answers", "correct"]
Counts = Counter[str]

TINY, LAPLACE = 1e-9, 1.0


def outcomes(rollouts: Sequence[Rollout], kind: Outcome) -> Counts:
    """How often each outcome came: an answer, or "right" and "wrong"."""
    if kind == "correct":
        judged = [rollout.correct for rollout in rollouts if rollout.correct is not None]
        return Counter("right" if each else "wrong" for each in judged)
    answers = (normalise_answer(rollout.answer) for rollout in rollouts if rollout.answer)
    return Counter(answer for answer in answers if answer)


def judged_by_answer(
    rollouts: Sequence[Rollout], current: Sequence[Rollout], following: Sequence[Rollout]
) -> list[Rollout]:
    """Answered `rollouts`, each with the verdict that its answer last got in both lists.

    The published counterfactual KL over right and wrong judges so: equal answers are equally right.
    """
    verdict = {}
    for rollout in (*current, *following):
        if answer := normalise_answer(rollout.answer or ""):
            verdict[answer] = rollout.correct
    known = ((rollout, normalise_answer(rollout.answer or "")) for rollout in rollouts)
    return [rollout._replace(correct=verdict[answer]) for rollout, answer in known if answer]


def kl(first: Counts, second: Counts, kind: Outcome, alpha: float) -> float:
    """KL(first ‖ second) in nats; NaN where a side is empty (published as 0)."""
    if not (first.total() and second.total()):
        return math.nan
    p, q = _aligned([first, second], kind)
    return float(_kl(p[None], q[None], alpha)[0])


def kl_error(
    first: Sequence[Counts],
    second: Sequence[Counts],
    kind: Outcome,
    alpha: float,
    draws: int,
    rng: np.random.Generator,
) -> float:
    """Standard error of `kl` by resampling rollouts with replacement, each set on its own.

    first, second: the sets that make up each side; a side's counts are their sum. NaN where a side
    is empty, and where every draw gives the same value: all rollouts agree, so that resampling them
    says nothing of what another rollout would have done.
    """
    sides = [[counts for counts in side if counts.total()] for side in (first, second)]
    if not all(sides):
        return math.nan
    aligned = _aligned([counts for side in sides for counts in side], kind)
    drawn = [rng.multinomial(int(c.sum()), c / c.sum(), size=draws) for c in aligned]
    p = np.sum(drawn[: len(sides[0])], axis=0)
    q = np.sum(drawn[len(sides[0]) :], axis=0)
    values = _kl(p, q, alpha)
    return float(values.std(ddof=1)) if np.ptp(values) > 0 else math.nan


def _aligned(sets: Sequence[Counts], kind: Outcome) -> list[NDArray[np.int64]]:
    """The counts of each set over the outcomes of all of them, in one order."""
    names = ["right", "wrong"] if kind == "correct" else sorted(set().union(*sets))
    return [np.array([counts[name] for name in names], dtype=np.int64) for counts in sets]


def _kl(first: NDArray[np.int64], second: NDArray[np.int64], alpha: float) -> NDArray[np.float64]:
    """KL of each row, [draws]. first, second: counts, [draws, outcomes]."""
    smooth = [each + alpha for each in (first, second)]
    p, q = (each / each.sum(axis=1, keepdims=True) for each in smooth)
    return np.asarray(np.maximum(0.0, (p * np.log(p / q)).sum(axis=1)))
