"""What `whence anchors cv` finds: the content of its `metrics.json` and its predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.anchors.evaluate.ceiling import share
from whence.anchors.evaluate.comparisons import Arm, compare_with_baselines
from whence.anchors.evaluate.judge import by_problem, mean_known, problem_chance
from whence.anchors.evaluate.judged_split import ceiling_of, tripwires
from whence.anchors.evaluate.material import FEATURE_FACTS, Material, Rows
from whence.anchors.evaluate.out_of_fold import PLAIN, RESIDUAL, HeldOut
from whence.anchors.evaluate.predicted import prediction_rows
from whence.anchors.evaluate.seeds import mean_per_problem
from whence.anchors.evaluate.spread import over_problems
from whence.runs.fingerprint import hash_path

if TYPE_CHECKING:
    import pandas as pd

PerProblem = Mapping[str, Mapping[str, float | None]]

TRIPWIRE_TEST = 5
"""The tripwires hold out one problem in so many, once."""


def fold_metrics(
    material: Material, folds: str, held_out: HeldOut
) -> tuple[dict[str, Any], list[pd.DataFrame]]:
    """metrics.json, and the rows of predictions.parquet, a block a seed."""
    config = material.config
    rows = material.rows_of(held_out.problems, with_label=True)
    bench = material.bench(rows)
    by_seed = {
        probe.name: {
            seed: by_problem(
                bench, values[rows], config.k_values, probability=material.probability(probe)
            )
            for seed, values in held_out.scores[PLAIN, probe.name].items()
        }
        for probe in material.probes
    }
    if config.residualize != "none":
        _add_residual(material, held_out, rows, by_seed)
    each_chance = [problem_chance(bench.take(own), config.k_values) for _, own in bench.problems()]
    chance = {name: mean_known([own[name] for own in each_chance]) for name in each_chance[0]}
    ceiling = ceiling_of(material, rows)
    best = {
        name: mean_known([own[name] for own in ceiling.per_problem.values()])
        for name in next(iter(ceiling.per_problem.values()), {})
    }
    comparisons, impossible = compare_with_baselines(
        [
            Arm(
                probe.name,
                probe.baseline,
                {
                    seed if probe.name in held_out.varying else None: values
                    for seed, values in by_seed[probe.name].items()
                },
            )
            for probe in material.probes
        ],
        config.primary_metric,
        draws=config.draws,
    )
    reasons = material.gaps()
    if ceiling.reason is not None:
        reasons["noise_ceiling"] = ceiling.reason
    if impossible:
        reasons["comparisons"] = "; ".join(impossible)
    absent = len(set(material.frame["problem_id"])) - len(held_out.problems)
    if absent:
        reasons["problems"] = f"{absent} problems have no label and were left out"
    metrics = {
        "kind": "cv",
        "target": config.target,
        "anchor_percentile": config.anchor_percentile,
        "primary_metric": config.primary_metric,
        "residualize": config.residualize,
        "fixed": config.fixed,
        "metadata_sha256": hash_path(config.metadata),
        "settings": config.settings.model_dump(),
        **{name: material.features.get(name) for name in FEATURE_FACTS},
        "folds": folds,
        "problems": held_out.problems,
        "rows": len(rows),
        "seeds": list(config.seeds),
        "probes": {
            probe.name: {
                "seeded": probe.seeded,
                "trained": probe.trained,
                "baseline": probe.baseline,
                "varies": probe.name in held_out.varying,
                "reads": sorted(probe.reads),
                "seeds": list(by_seed[probe.name]),
                "notes": held_out.notes.get(probe.name, {}),
            }
            for probe in material.probes
        },
        "chance": chance | {"prevalence": float(bench.anchor.mean())},
        "cv": {
            name: _summary(list(found.values()), best, chance, config.draws)
            for name, found in by_seed.items()
        },
        "per_seed": {
            name: {
                str(seed): {
                    metric: mean_known([own[metric] for own in values.values()])
                    for metric in next(iter(values.values()))
                }
                for seed, values in found.items()
            }
            for name, found in by_seed.items()
        },
        "comparisons": [each.to_dict() for each in comparisons],
        "noise_ceiling": ceiling.to_dict(config.draws),
        "tripwires": _tripwires(material, held_out),
        "reasons": reasons,
    }
    return metrics, _blocks(material, held_out)


def _summary(
    seeds: list[PerProblem],
    ceiling: Mapping[str, float | None],
    chance: Mapping[str, float | None],
    draws: int,
) -> dict[str, Any]:
    """metric → mean over problems of the mean over seeds, its interval, and its share of what can
    be had."""
    together = mean_per_problem(seeds)
    found = {}
    for name in next(iter(together.values())):
        own = over_problems({problem: values[name] for problem, values in together.items()}, draws)
        plain, beyond = share(own["mean"], ceiling.get(name), chance.get(name))
        means = [mean_known([values[name] for values in each.values()]) for each in seeds]
        known = [mean for mean in means if mean is not None]
        found[name] = own | {
            "share_of_ceiling": plain,
            "beyond_chance": beyond,
            "sd_over_seeds": float(np.std(known, ddof=1)) if len(known) > 1 else None,
        }
    return found


def _add_residual(
    material: Material,
    held_out: HeldOut,
    rows: Rows,
    by_seed: Mapping[str, dict[int, dict[str, dict[str, float | None]]]],
) -> None:
    """Put `residual_pr_auc` and `residual_spearman` beside every probe's metrics per problem."""
    for name, found in by_seed.items():
        for seed, problems in found.items():
            bench = material.residual_bench(rows, held_out.left[seed])
            scores = held_out.scores[RESIDUAL, name][seed][rows]
            judged = by_problem(bench, scores, material.config.k_values, probability=False)
            for problem, values in judged.items():
                problems[problem] |= {
                    f"residual_{metric}": values[metric] for metric in ("pr_auc", "spearman")
                }


def _tripwires(material: Material, held_out: HeldOut) -> dict[str, Any]:
    """Both checks on one split: the first problems of the table train, a fifth is held out."""
    problems = held_out.problems
    count = max(1, len(problems) // TRIPWIRE_TEST)
    train = material.rows_of(problems[:-count], with_label=True)
    test = material.rows_of(problems[-count:], with_label=True)
    return tripwires(material, train, np.array([], dtype=np.int64), test)


def _blocks(material: Material, held_out: HeldOut) -> list[pd.DataFrame]:
    shown = material.rows_of(held_out.problems, with_label=False)
    frame = material.frame.iloc[shown].reset_index(drop=True)
    seeds = list(dict.fromkeys(seed for each in held_out.scores.values() for seed in each))
    return [
        prediction_rows(
            frame,
            material.config.anchor_percentile,
            {"split": "test", "fold": held_out.fold[seed][shown]},
            {
                f"{prefix}{name}": by_seed.get(seed, next(iter(by_seed.values())))[shown]
                for (prefix, name), by_seed in held_out.scores.items()
            },
            seed,
        )
        for seed in seeds
    ]
