"""The noise ceiling: how well a probe that knew every true importance would seem to do.

An importance is an estimate from some tens of rollouts, with a standard error. Judged by other
rollouts of the same sentences, even the truth is not in their order. Per problem, with observed x,
standard errors s and m the mean of x (empirical Bayes, Efron & Morris 1973):

    τ² = max(0, var(x) − mean(s²))       how much true importances differ
    B  = τ² / (τ² + s²)                  how much of a deviation to believe
    truth ~ N(m + B (x − m), B s²)       one guess of all truths, given what was observed
    label = truth + N(0, s²)             what other rollouts would have shown

and the truth's own metric against that label, averaged over draws. It is an upper bound for any
probe on labels of this quality, as far as normal errors go; a share of it says how much of what
can be had a probe has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from whence.anchors.evaluate.judge import (
    Bench,
    bench_values,
    mean_known,
    pooled_metrics,
    problem_metrics,
)
from whence.anchors.evaluate.shared import array_content, shared_value
from whence.anchors.evaluate.spread import over_problems
from whence.anchors.probes.data import Floats
from whence.anchors.targets import Target

DRAWS = 200

NO_ERRORS = (
    "the table has no importance_se, so label noise is unknown; `whence anchors labels` writes "
    "standard errors where rollouts are there"
)


@dataclass(frozen=True)
class Ceiling:
    """pooled: metric → value, as `judge.pooled` names them. per_problem: problem → metric → value.

    rows: that were used; left_out: labelled rows without a standard error. reason: why there is
    none, and then the rest is empty.
    """

    pooled: Mapping[str, float | None]
    per_problem: Mapping[str, Mapping[str, float | None]]
    rows: int
    left_out: int
    reason: str | None = None

    def to_dict(self, draws: int) -> dict[str, Any]:
        """For metrics.json; draws: of the interval over problems."""
        if self.reason is not None:
            return {"reason": self.reason, "rows": self.rows, "left_out": self.left_out}
        names = list(next(iter(self.per_problem.values())))
        return {
            "reason": None,
            "rows": self.rows,
            "left_out": self.left_out,
            "draws": DRAWS,
            "pooled": dict(self.pooled),
            "mean": {
                name: over_problems(
                    {problem: own[name] for problem, own in self.per_problem.items()}, draws
                )
                for name in names
            },
        }


def shared_ceiling(
    folder: Path | None,
    problem: Sequence[object],
    signed: Floats,
    error: Floats | None,
    target: Target,
    percentile: float,
    ks: Sequence[int],
) -> Ceiling:
    """`noise_ceiling`, or what another evaluation has left in `folder` of the same rows."""

    def decides() -> Any:
        own = [array_content(signed), None if error is None else array_content(error)]
        about = [list(map(str, problem)), target, percentile, list(ks), DRAWS]
        return {"ceiling": [*own, *about]}

    found = shared_value(
        folder, decides, lambda: noise_ceiling(problem, signed, error, target, percentile, ks)
    )
    return Ceiling(**found)


def noise_ceiling(
    problem: Sequence[object],
    signed: Floats,
    error: Floats | None,
    target: Target,
    percentile: float,
    ks: Sequence[int],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Ceiling:
    """signed: importances [rows], finite. error: their standard errors [rows], NaN where unknown.

    Rows without a standard error are left out, the percentile is then that of the others.
    """
    total = len(signed)
    known = np.zeros(total, bool) if error is None else np.isfinite(error)
    if error is None or not known.any():
        return Ceiling({}, {}, 0, total, NO_ERRORS)
    problems = np.asarray(problem, dtype=object)[known]
    x, s = signed[known], error[known]
    rng = np.random.default_rng(seed)
    groups = list(Bench(problems, x, x, x).problems())
    each: dict[str, list[Mapping[str, float | None]]] = {name: [] for name, _ in groups}
    together: list[Mapping[str, float | None]] = []
    for _ in range(draws):
        truth, label = np.empty_like(x), np.empty_like(x)
        for _, rows in groups:
            truth[rows], label[rows] = draw_truth(x[rows], s[rows], rng)
        score = truth
        if target != "importance_signed":
            score = np.empty_like(x)
            for _, rows in groups:
                score[rows] = _beyond_threshold(np.abs(truth[rows]), percentile)
        bench = bench_values(problems, label, target, percentile)
        own = {name: _metrics(bench.take(rows), score[rows], ks) for name, rows in groups}
        for name, values in own.items():
            each[name].append(values)
        together.append(pooled_metrics(bench, score, own, ks))
    return Ceiling(
        pooled=_means(together),
        per_problem={name: _means(values) for name, values in each.items()},
        rows=int(known.sum()),
        left_out=int(total - known.sum()),
    )


def _metrics(own: Bench, score: Floats, ks: Sequence[int]) -> dict[str, float | None]:
    """Where there is no sign of any true difference (τ² = 0), knowing the truth orders nothing:
    its rank correlation is then 0 and not missing, or such problems would not lower the ceiling."""
    found = problem_metrics(own, score, ks, probability=False)
    if found["spearman"] is None and np.ptp(own.value) > 0:
        found["spearman"] = 0.0
    return found


def draw_truth(x: Floats, s: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """One guess of the true importances of a problem and a label that it might have shown."""
    tau2 = max(0.0, float(x.var(ddof=1) - np.mean(s**2))) if len(x) > 1 else 0.0
    total = tau2 + s**2
    # No error and no spread: the observation is the truth.
    believe = np.divide(tau2, total, out=np.ones_like(total), where=total > 0)
    spread = np.sqrt(believe) * s
    truth = x.mean() + believe * (x - x.mean()) + spread * rng.normal(size=len(x))
    return truth, truth + s * rng.normal(size=len(x))


def _beyond_threshold(size: Floats, percentile: float) -> Floats:
    """|truth| of one problem from its own threshold, in its own standard deviations.

    An order within the problem like any other; over several problems, whose thresholds differ,
    plain sizes would rank a great importance of one above all anchors of another.
    """
    spread = size.std()
    return np.asarray((size - np.percentile(size, percentile)) / (spread if spread > 0 else 1.0))


def share(
    value: float | None, ceiling: float | None, chance: float | None
) -> tuple[float | None, float | None]:
    """value / ceiling, and the same beyond chance: (value − chance) / (ceiling − chance).

    None where either is missing, or the ceiling is not above 0 (not above chance): a share of
    nothing says nothing.
    """
    plain = beyond = None
    if value is not None and ceiling is not None and ceiling > 0:
        plain = value / ceiling
        if chance is not None and ceiling - chance > 1e-9:
            beyond = (value - chance) / (ceiling - chance)
    return plain, beyond


def _means(values: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    return {name: mean_known([each[name] for each in values]) for name in values[0]}
