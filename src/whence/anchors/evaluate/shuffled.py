"""Tripwire: labels shuffled within their problem must give chance, or something leaks.

Every label of every problem is permuted among the sentences of its problem, the whole path from
fit to metric is run again, and the scores are judged against the equally shuffled labels of the
test problems. Nothing is left to be learnt; a mean above (or below) chance means that labels reach
scores by a way of their own, or that test problems trained. What chance is, and how far from it is
too far, is not guessed: given the scores, all orders of a test problem's labels are equally likely,
which gives the exact distribution of the mean (a permutation test; Ojala & Garriga 2010).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.anchors.evaluate.fits import device_for, fit, training
from whence.anchors.evaluate.judge import Bench
from whence.anchors.evaluate.material import Material, Rows
from whence.anchors.evaluate.shared import (
    array_content,
    frame_content,
    rows_content,
    shared_value,
)
from whence.anchors.metrics import average_precisions, spearmans
from whence.anchors.probes.data import Floats
from whence.anchors.probes.probe import Probe
from whence.runs.progress import track
from whence.stats.intervals import percentile_ends

if TYPE_CHECKING:
    import pandas as pd

PERMUTATIONS = 1_000
ALPHA = 0.01
"""An honest pipeline trips in one of a hundred sets of shuffles, and a campaign has hundreds of
runs. So a set that trips is followed by another, drawn anew: the wire is tripped where both are,
once in ten thousand honest runs, while labels that do reach scores reach them both times."""
AGAIN = 1_000_003
"""Added to the seed for the second set."""
LABEL_COLUMNS = ("importance", "counterfactual", "resampling", "forced", "anchor")
"""Columns that begin like this hold labels, and move with them."""
CHEAP = ("linear_probe", "activations_plus_position", "position_baseline", "text_only_baseline")
"""Which probe is refitted: the first of these that is evaluated, or else any that is trained."""


def shared_shuffled_labels(
    material: Material, train: Rows, validation: Rows, test: Rows
) -> dict[str, Any]:
    """`shuffled_labels`, or what another evaluation has left of the same probe, rows and labels."""
    config = material.config
    probe = _cheapest(material.probes)
    cpu = probe is not None and device_for(probe, config.device) == "cpu"

    def decides() -> Any:
        assert probe is not None
        frame = material.frame
        return {
            "shuffled_labels": probe.name,
            "rows": rows_content(material.data, sorted(probe.reads)),
            "labels": frame_content(frame, ("importance_signed",)),
            "parts": [array_content(rows) for rows in (train, validation, test)],
            "target": [config.target, config.anchor_percentile, config.primary_metric],
            "fixed": config.fixed,
            "settings": config.settings.model_dump() if probe.seeded else None,
            "shuffles": [config.shuffles, PERMUTATIONS, "a second set where the first trips"],
        }

    found: dict[str, Any] = shared_value(
        config.shared if cpu else None,
        decides,
        lambda: shuffled_labels(material, train, validation, test),
    )
    return found


def shuffled_labels(
    material: Material, train: Rows, validation: Rows, test: Rows, *, seed: int = 0
) -> dict[str, Any]:
    """Run the check; rows: labelled rows of each part.

    The result says `passed` (None where the check could not be made, with the `reason`), the mean
    metric, chance with the middle 95 % of its distribution, p, and a sentence. Where a first set of
    shuffles tripped, it is that of the second, with the p of the first as `first_p`.
    """
    first = _one_set(material, train, validation, test, seed)
    if first["passed"] is not False:
        return first
    again = _one_set(material, train, validation, test, seed + AGAIN)
    told = f"{again['sentence']}; a first set of shuffles had tripped (p = {first['p']:.2g})"
    return {**again, "first_p": first["p"], "sentence": told}


def _one_set(
    material: Material, train: Rows, validation: Rows, test: Rows, seed: int
) -> dict[str, Any]:
    probe = _cheapest(material.probes)
    if probe is None:
        return _not_checked(None, "no trained probe is evaluated")
    metric = material.config.primary_metric
    rng = np.random.default_rng(seed)
    found, nulls = [], []
    for _ in track(range(material.config.shuffles), label="shuffled labels", unit="fits"):
        other = material.with_labels(shuffle_labels(material.frame, rng))
        given = training(other, other.y, train, validation)
        fitted = fit(other, probe, given, 0, "shuffled labels", shared=False)
        scores = fitted.score(other.data.take(test))
        values, null = _against_chance(other.bench(test), scores, metric, rng)
        if values is not None and null is not None:
            found.append(values)
            nulls.append(null)
    if not found:
        reason = f"no test problem has {metric}: one class only, or constant scores"
        return _not_checked(probe.name, reason)
    mean, chance = float(np.mean(found)), np.mean(nulls, axis=0)
    centre = float(chance.mean())
    far = int(np.count_nonzero(np.abs(chance - centre) >= abs(mean - centre) - 1e-12))
    p = (1 + far) / (1 + len(chance))
    low, high = percentile_ends(chance, 0.95)
    passed = p > ALPHA
    said = "as chance would" if passed else "and chance does not: labels reach the scores"
    return {
        "passed": passed,
        "probe": probe.name,
        "metric": metric,
        "shuffles": len(found),
        "permutations": len(chance),
        "mean": mean,
        "chance": centre,
        "chance_interval": [low, high],
        "p": p,
        "sentence": f"on shuffled labels {probe.name} has a mean {metric} of {mean:.3f}, {said} "
        f"(95 % of permutations: {low:.3f} to {high:.3f}, p = {p:.2g})",
    }


def _not_checked(probe: str | None, reason: str) -> dict[str, Any]:
    said = f"shuffled labels were not checked: {reason}"
    return {"passed": None, "probe": probe, "reason": reason, "sentence": said}


def shuffle_labels(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """The table with all label columns permuted together within every problem.

    Only rows with a label change places, so that missing labels stay where they are.
    """
    columns = [name for name in frame.columns if str(name).startswith(LABEL_COLUMNS)]
    source = np.arange(len(frame))
    known = np.isfinite(frame["importance_signed"].to_numpy(dtype=np.float64))
    for rows in frame.groupby("problem_id", sort=False).indices.values():
        own = rows[known[rows]]
        source[own] = rng.permutation(own)
    shuffled = frame.copy()
    for name in columns:
        shuffled[name] = frame[name].to_numpy()[source]
    return shuffled


def _against_chance(
    bench: Bench, scores: Floats, metric: str, rng: np.random.Generator
) -> tuple[float | None, Floats | None]:
    """Mean of the metric over problems, and the same under permuted labels [PERMUTATIONS]."""
    labels = bench.anchor if metric == "pr_auc" else bench.value
    judge = average_precisions if metric == "pr_auc" else _ranks
    values, nulls = [], []
    for _, rows in bench.problems():
        own, given = labels[rows], scores[rows]
        if np.ptp(own) == 0 or (metric != "pr_auc" and np.ptp(given) == 0):
            continue
        values.append(judge(own[None], given)[0])
        nulls.append(judge(rng.permuted(np.tile(own, (PERMUTATIONS, 1)), axis=1), given))
    if not values:
        return None, None
    return float(np.mean(values)), np.asarray(np.mean(nulls, axis=0))


def _ranks(values: Floats, scores: Floats) -> Floats:
    return spearmans(scores, values)


def _cheapest(probes: Sequence[Probe]) -> Probe | None:
    trained = {probe.name: probe for probe in probes if probe.trained}
    for name in CHEAP:
        if name in trained:
            return trained[name]
    return next(iter(trained.values()), None)
