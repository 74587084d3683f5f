"""Scores held against labels: per problem, and over the rows of several problems together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from whence.anchors.metrics import (
    average_precision,
    calibration,
    chance_average_precision,
    position_bins,
    spearman,
    top_k_recall,
    trapezoid,
)
from whence.anchors.probes.data import Floats
from whence.anchors.targets import Target, anchors_of, target_of

if TYPE_CHECKING:
    import pandas as pd

Values = Mapping[str, float | None]


@dataclass(frozen=True)
class Bench:
    """Labelled rows that scores are held against, problems in order of appearance.

    problem: ids [rows]. anchor: 0/1 by |importance|, whatever the target [rows], which PR-AUC
    judges. value: what ranks and top-k are judged by [rows]: the importance for importance_signed,
    else |importance|. position: relative, 0 to 1 [rows].
    """

    problem: NDArray[np.object_]
    anchor: Floats
    value: Floats
    position: Floats

    def __len__(self) -> int:
        return len(self.problem)

    def problems(self) -> Iterator[tuple[str, NDArray[np.int64]]]:
        """(problem, its rows), in order of appearance."""
        import pandas as pd

        codes, names = pd.factorize(self.problem)
        for code, name in enumerate(names):
            yield str(name), np.flatnonzero(codes == code)

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> Bench:
        return Bench(self.problem[rows], self.anchor[rows], self.value[rows], self.position[rows])


def bench_of(frame: pd.DataFrame, target: Target, percentile: float) -> Bench:
    """The rows of `frame`, all of which have a label."""
    position = frame["relative_position"].to_numpy(dtype=np.float64)
    signed = target_of(frame, "importance_signed")
    problems = frame["problem_id"].to_numpy(dtype=object)
    return bench_values(problems, signed, target, percentile, position)


def bench_values(
    problem: NDArray[np.object_],
    signed: Floats,
    target: Target,
    percentile: float,
    position: Floats | None = None,
) -> Bench:
    """The same from importances alone [rows]; without positions nothing can be judged by them."""
    size = np.abs(signed)
    return Bench(
        problem=problem,
        anchor=anchors_of(size, problem, percentile),
        value=signed if target == "importance_signed" else size,
        position=np.full(len(signed), np.nan) if position is None else position,
    )


def residual_bench(bench: Bench, residual: Floats, percentile: float) -> Bench:
    """The same rows judged by what is left of their importance: residual [rows]."""
    anchor = anchors_of(residual, bench.problem, percentile)
    return Bench(bench.problem, anchor, residual, bench.position)


def by_problem(
    bench: Bench, scores: Floats, ks: Sequence[int], *, probability: bool
) -> dict[str, dict[str, float | None]]:
    """problem → metric → value, None where a problem has no such metric.

    scores: [rows of the bench]. probability: whether they are meant as probabilities of an anchor.
    """
    return {
        problem: problem_metrics(bench.take(rows), scores[rows], ks, probability=probability)
        for problem, rows in bench.problems()
    }


def problem_metrics(
    own: Bench, scores: Floats, ks: Sequence[int], *, probability: bool
) -> dict[str, float | None]:
    """Metrics of one problem."""
    found: dict[str, float | None] = {
        "pr_auc": average_precision(own.anchor, scores),
        "pr_auc_trapezoid": trapezoid(own.anchor, scores),
        "spearman": spearman(scores, own.value),
    }
    found |= {f"top_{k}_recall": top_k_recall(scores, own.value, k) for k in ks}
    if probability:
        found["brier"] = float(np.mean((scores - own.anchor) ** 2))
    return found


def pooled(
    bench: Bench,
    scores: Floats,
    ks: Sequence[int],
    bins: int,
    *,
    probability: bool,
) -> dict[str, Any]:
    """Metrics of one split: areas over all its rows, ranks and top-k averaged over its problems.

    As in the earlier study, whose numbers these are. Problems without a metric are left out of its
    mean; None where none has it.
    """
    each = by_problem(bench, scores, ks, probability=probability)
    found: dict[str, Any] = pooled_metrics(bench, scores, each, ks)
    if probability:
        found["calibration"] = calibration(bench.anchor, scores)
    found["position_bins"] = position_bins(bench.position, bench.anchor, scores, bins)
    found["per_problem"] = each
    return found


def pooled_metrics(
    bench: Bench, scores: Floats, each: Mapping[str, Values], ks: Sequence[int]
) -> dict[str, float | None]:
    """The plain numbers of `pooled`; each: what `by_problem` found."""
    found = {
        "pr_auc": average_precision(bench.anchor, scores),
        "pr_auc_trapezoid": trapezoid(bench.anchor, scores),
        "spearman_mean": mean_known([own["spearman"] for own in each.values()]),
    }
    for k in ks:
        name = f"top_{k}_recall"
        found[name] = mean_known([own[name] for own in each.values()])
    return found


def chance_of(bench: Bench, ks: Sequence[int]) -> dict[str, float | None]:
    """What a random order of the same rows reaches in the mean, pooled as `pooled` does."""
    each = [problem_chance(bench.take(rows), ks) for _, rows in bench.problems()]
    found: dict[str, float | None] = {
        "prevalence": float(bench.anchor.mean()) if len(bench) else None,
        "pr_auc": _area_by_chance(bench.anchor),
        "spearman_mean": 0.0,
    }
    for k in ks:
        found[f"top_{k}_recall"] = mean_known([own[f"top_{k}_recall"] for own in each])
    return found


def problem_chance(own: Bench, ks: Sequence[int]) -> dict[str, float | None]:
    """The same for one problem."""
    rows = len(own)
    found: dict[str, float | None] = {"pr_auc": _area_by_chance(own.anchor), "spearman": 0.0}
    return found | {f"top_{k}_recall": min(k, rows) / rows for k in ks}


def mean_known(values: Sequence[float | None]) -> float | None:
    """Mean of those that are there; None for none."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _area_by_chance(anchor: Floats) -> float | None:
    positives = int(anchor.sum())
    if not 0 < positives < len(anchor):
        return None
    return chance_average_precision(len(anchor), positives)
