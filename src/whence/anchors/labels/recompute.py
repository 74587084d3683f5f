"""Importance of the sentences of one problem, from its rollouts (definitions: `labels.names`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whence.anchors.labels.accuracy import difference_error, tally
from whence.anchors.labels.divergence import (
    LAPLACE,
    TINY,
    Counts,
    Outcome,
    judged_by_answer,
    kl,
    kl_error,
    outcomes,
)
from whence.anchors.labels.names import (
    ERRORS,
    NO_ANSWER,
    NO_DISSIMILAR,
    NO_NEXT,
    NO_ROLLOUTS,
    NOT_COMPUTED,
    Importance,
)
from whence.anchors.rollouts.rollout import Rollout

Rollouts = Mapping[int, Sequence[Rollout]]


@dataclass(frozen=True)
class Method:
    """threshold: a resampled sentence under this cosine is another sentence. draws: bootstrap."""

    threshold: float = 0.8
    outcome: Outcome = "answers"
    laplace: bool = False
    draws: int = 200

    @property
    def alpha(self) -> float:
        return LAPLACE if self.laplace else TINY


@dataclass
class Measured:
    """One sentence: name → value (NaN where missing), and name → why it is missing."""

    values: dict[str, float] = field(default_factory=dict)
    why: dict[Importance, str] = field(default_factory=dict)

    def put(self, name: Importance, value: float, error: float) -> None:
        self.values |= {name: value, ERRORS[name]: error}
        if math.isnan(value):
            self.why[name] = NO_ANSWER

    def miss(self, names: Sequence[Importance], why: str) -> None:
        for name in names:
            self.values |= {name: math.nan, ERRORS[name]: math.nan}
            self.why[name] = why


def recompute(
    numbers: Sequence[int],
    rollouts: Rollouts,
    forced: Rollouts,
    cosines: Mapping[int, NDArray[np.float64]] | None,
    method: Method,
    rng: np.random.Generator,
) -> list[Measured]:
    """All importances of the sentences `numbers`, in their order.

    cosines: of every rollout in `rollouts`, or None where counterfactual importance is not wanted.
    A sentence without rollouts, without a successor or without an answer has no importance; in the
    published files each of these is 0.
    """
    found = []
    for number in numbers:
        measured = Measured(_extras(number, rollouts, cosines, method))
        _resampling(measured, number, rollouts, method, rng)
        _counterfactual(measured, number, rollouts, cosines, method, rng)
        _forced(measured, number, forced, method, rng)
        found.append(measured)
    return found


def _extras(
    number: int,
    rollouts: Rollouts,
    cosines: Mapping[int, NDArray[np.float64]] | None,
    method: Method,
) -> dict[str, float]:
    own = rollouts.get(number, ())
    counts = tally(own)
    values = {
        "accuracy": counts.accuracy,
        "rollouts": float(len(own)),
        "judged_rollouts": float(counts.counted),
    }
    compared = np.array([each.compared for each in own], dtype=bool)
    texts = [each.resampled for each in own if each.compared and None not in each[:2]]
    values["overdeterminedness"] = 1 - len(set(texts)) / len(texts) if texts else math.nan
    if cosines is None:
        values |= {"dissimilar_rollouts": math.nan, "different_trajectories_fraction": math.nan}
    else:
        different = int((compared & _dissimilar(number, cosines, method)).sum()) if len(own) else 0
        total = int(compared.sum())
        values["dissimilar_rollouts"] = float(different) if total else math.nan
        values["different_trajectories_fraction"] = different / total if total else math.nan
    return values


def _resampling(
    measured: Measured, number: int, rollouts: Rollouts, method: Method, rng: Any
) -> None:
    accuracy: Importance = "resampling_importance_accuracy"
    divergence: Importance = "resampling_importance_kl"
    own = rollouts.get(number)
    if not own:
        return measured.miss((accuracy, divergence), NO_ROLLOUTS)
    after = rollouts.get(number + 1)
    if after:
        mine, theirs = tally(own), tally(after)
        change = theirs.accuracy - mine.accuracy
        measured.put(accuracy, change, difference_error(mine, theirs))
    else:
        measured.miss((accuracy,), NO_NEXT)
    later = _next(number, rollouts)
    if later is None:
        return measured.miss((divergence,), NO_NEXT)
    return _put_kl(measured, divergence, [own], [rollouts[later]], method, rng)


def _counterfactual(
    measured: Measured,
    number: int,
    rollouts: Rollouts,
    cosines: Mapping[int, NDArray[np.float64]] | None,
    method: Method,
    rng: Any,
) -> None:
    accuracy: Importance = "counterfactual_importance_accuracy"
    divergence: Importance = "counterfactual_importance_kl"
    both = (accuracy, divergence)
    own = rollouts.get(number)
    if not own:
        return measured.miss(both, NO_ROLLOUTS)
    if cosines is None:
        return measured.miss(both, NOT_COMPUTED)
    later = _next(number, rollouts)
    if later is None:
        return measured.miss(both, NO_NEXT)
    following = [each for each in rollouts[later] if each.compared]
    pairs = zip(own, cosines[number], strict=True)
    answered = [(each, cosine) for each, cosine in pairs if each.compared]
    different = [each for each, cosine in answered if cosine < method.threshold]
    similar = [each for each, cosine in answered if cosine >= method.threshold]
    if not different:
        return measured.miss(both, NO_DISSIMILAR)
    without, with_it = tally(different), tally(following)
    change = without.accuracy - with_it.accuracy
    measured.put(accuracy, change, difference_error(without, with_it))
    sets = [different, following, similar]
    if method.outcome == "correct":
        current = [each for each, _ in answered]
        sets = [judged_by_answer(own, current, following) for own in sets]
    return _put_kl(measured, divergence, sets[:1], sets[1:], method, rng)


def _forced(measured: Measured, number: int, forced: Rollouts, method: Method, rng: Any) -> None:
    accuracy: Importance = "forced_importance_accuracy"
    divergence: Importance = "forced_importance_kl"
    own, later = forced.get(number), _next(number, forced)
    if not own:
        return measured.miss((accuracy, divergence), NO_ROLLOUTS)
    if later is None:
        return measured.miss((accuracy, divergence), NO_NEXT)
    mine, theirs = tally(own), tally(forced[later])
    change = theirs.accuracy - mine.accuracy
    measured.put(accuracy, change, difference_error(mine, theirs))
    return _put_kl(measured, divergence, [own], [forced[later]], method, rng)


def _put_kl(
    measured: Measured,
    name: Importance,
    first: Sequence[Sequence[Rollout]],
    second: Sequence[Sequence[Rollout]],
    method: Method,
    rng: np.random.Generator,
) -> None:
    ahead, behind = ([outcomes(own, method.outcome) for own in side] for side in (first, second))
    value = kl(_together(ahead), _together(behind), method.outcome, method.alpha)
    error = kl_error(ahead, behind, method.outcome, method.alpha, method.draws, rng)
    measured.put(name, value, error)


def _together(sets: Sequence[Counts]) -> Counts:
    return sum(sets[1:], start=sets[0])


def _next(number: int, rollouts: Rollouts) -> int | None:
    return min((each for each in rollouts if each > number and rollouts[each]), default=None)


def _dissimilar(
    number: int, cosines: Mapping[int, NDArray[np.float64]], method: Method
) -> NDArray[np.bool_]:
    return np.asarray(cosines[number] < method.threshold)
