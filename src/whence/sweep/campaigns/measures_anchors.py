"""Per problem numbers of finished `anchors train` and `anchors cv` runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.errors import BadInput
from whence.runs.jsonfile import read_json
from whence.runs.validation import nearest
from whence.sweep.campaigns.measured_rows import NO_SEED, measured_rows
from whence.sweep.settings import RankSettings

if TYPE_CHECKING:
    import pandas as pd

METRICS, PREDICTIONS = "metrics.json", "predictions.parquet"
PLACES = ("", "probes", "cv")
"""Where the metrics are: in the run's folder, or in a step of a whole study."""
LOWER_IS_BETTER = ("brier",)

Values = Mapping[str, Mapping[str, float | None]]
"""problem → metric → value."""


def metrics_folder(output: Path) -> Path:
    """The folder with `metrics.json` of a train, cv or whole study. Raises BadInput for none."""
    for place in PLACES:
        if (output / place / METRICS).is_file():
            return output / place
    raise BadInput(f"{output}: no {METRICS} in it, so it is no run of anchors train, cv or run")


def measured_anchors(output: Path, rank: RankSettings) -> pd.DataFrame:
    """Every probe's metric per problem; see `Campaign.measured`.

    Of train: parts val and test; of cv every problem once, part "". primary: PR-AUC of anchors,
    else Spearman's ρ. The question is the target, and for metrics that depend on the share of
    anchors their percentile. Raises BadInput naming the metric where a run has none such.
    """
    folder = metrics_folder(output)
    found = read_json(folder / METRICS)
    metric = found["primary_metric"] if rank.metric == "primary" else rank.metric
    rows: list[tuple[str, str, str, int, float]] = []
    known: set[str] = set()
    for part, probe, seed, values in _judged(folder, found, metric):
        for problem, own in values.items():
            known.update(own)
            value = own.get(metric)
            if value is not None:
                rows.append((part, probe, problem, seed, value))
    if metric not in known:
        raise BadInput(f"{folder}: no metric {metric} per problem{nearest(metric, sorted(known))}")
    facts = found["probes"]
    return measured_rows(
        part=[part for part, *_ in rows],
        series=[probe for _, probe, *_ in rows],
        baseline=[bool(facts[probe]["baseline"]) for _, probe, *_ in rows],
        unit=[problem for *_, problem, _, _ in rows],
        seed=[seed for *_, seed, _ in rows],
        value=[value for *_, value in rows],
        metric=metric,
        higher_is_better=metric not in LOWER_IS_BETTER,
        question=_question(found, metric),
    )


def _question(found: Mapping[str, Any], metric: str) -> str:
    target = str(found["target"])
    ranks = metric.startswith(("spearman", "residual_spearman", "top_"))
    return target if ranks else f"{target}, percentile {found['anchor_percentile']:g}"


def _judged(
    folder: Path, found: Mapping[str, Any], metric: str
) -> Iterator[tuple[str, str, int, Values]]:
    """(part, probe, seed, values); seed is −1 for a probe that no seed changes."""
    parts = ("val", "test") if found["kind"] == "train" else ("",)
    several = [name for name, facts in found["probes"].items() if len(facts["seeds"]) > 1]
    by_seed = _from_predictions(folder, found, several) if several else {}
    for part in parts:
        for probe, facts in found["probes"].items():
            varies = facts.get("varies", facts["seeded"])
            seeds = facts["seeds"]
            if probe in several and not metric.startswith("residual_"):
                for seed in seeds:
                    yield part, probe, seed, by_seed[part, probe, seed]
                continue
            values = _kept(found, part, probe)
            if values is not None:
                # Of residuals only the mean over seeds is kept per problem.
                alone = varies and len(seeds) == 1
                yield part, probe, seeds[0] if alone else NO_SEED, values


def _kept(found: Mapping[str, Any], part: str, probe: str) -> Values | None:
    """What metrics.json itself has per problem; None for a part that was not judged."""
    if part:
        own = found[part].get(probe)
        return None if own is None else own["per_problem"]
    turned: dict[str, dict[str, float | None]] = {}
    for metric, summary in found["cv"][probe].items():
        for problem, value in summary["per_problem"].items():
            turned.setdefault(problem, {})[metric] = value
    return turned


def _from_predictions(
    folder: Path, found: Mapping[str, Any], probes: list[str]
) -> dict[tuple[str, str, int], Values]:
    """(part, probe, seed) → values, judged anew by the instrument: metrics.json has means only."""
    from whence.anchors.evaluate.judge import bench_values, by_problem
    from whence.anchors.predictions import SCORE, read_predictions
    from whence.anchors.targets import target_of

    frame = read_predictions(folder / PREDICTIONS)
    target, percentile = found["target"], found["anchor_percentile"]
    signed = target_of(frame, "importance_signed")
    frame = frame[np.isfinite(signed)]
    parts = ("val", "test") if found["kind"] == "train" else ("",)
    ks = _depths(found)
    judged: dict[tuple[str, str, int], Values] = {}
    for part in parts:
        for probe in probes:
            continuous = target != "anchor_binary" or not found["probes"][probe]["trained"]
            for seed in found["probes"][probe]["seeds"]:
                own = frame[(frame["seed"] == seed) & ((frame["split"] == part) | (part == ""))]
                bench = bench_values(
                    own["problem_id"].to_numpy(dtype=object),
                    own["importance_signed"].to_numpy(dtype=np.float64),
                    target,
                    percentile,
                )
                scores = own[f"{SCORE}{probe}"].to_numpy(dtype=np.float64)
                judged[part, probe, seed] = by_problem(
                    bench, scores, ks, probability=not continuous
                )
    return judged


def _depths(found: Mapping[str, Any]) -> list[int]:
    """Depths of top-k recall that the run was judged by."""
    own = next(iter(found["test" if found["kind"] == "train" else "cv"].values()))
    names = [name for name in own if name.startswith("top_") and name.endswith("_recall")]
    return [int(name.split("_")[1]) for name in names]
