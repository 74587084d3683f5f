"""What `whence anchors train` finds: the content of its `metrics.json` and its predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.anchors.evaluate.ceiling import Ceiling, share, shared_ceiling
from whence.anchors.evaluate.comparisons import Arm, compare_with_baselines
from whence.anchors.evaluate.fits import Scores
from whence.anchors.evaluate.judge import Bench, by_problem, chance_of, pooled
from whence.anchors.evaluate.material import FEATURE_FACTS, Material, Rows
from whence.anchors.evaluate.memorised import memorised
from whence.anchors.evaluate.predicted import prediction_rows
from whence.anchors.evaluate.seeds import mean_over_seeds
from whence.anchors.evaluate.shuffled import shared_shuffled_labels
from whence.anchors.probes.data import Floats
from whence.anchors.probes.probe import Probe
from whence.runs.fingerprint import hash_path

if TYPE_CHECKING:
    import pandas as pd

SCORED, RESIDUAL = "score_", "residual_score_"

Scored = Mapping[tuple[str, str], Mapping[int, Scores]]


def split_metrics(
    material: Material,
    splits: Mapping[str, Sequence[str]],
    parts: Mapping[str, Rows],
    shown: Rows,
    scored: Scored,
    bins: int,
) -> tuple[dict[str, Any], list[pd.DataFrame]]:
    """metrics.json, and the rows of predictions.parquet, a block a seed.

    parts: labelled rows of each part. shown: the rows that were scored. scored: as `train` keeps.
    """
    config = material.config
    reasons = material.gaps()
    judged = {part: parts[part] for part in ("test", "val") if len(parts[part])}
    if "val" not in judged:
        reasons["val"] = "the split has no labelled validation problems, so nothing was selected"
    at = np.full(len(material.data), -1)
    at[shown] = np.arange(len(shown))
    found: dict[str, dict[str, Any]] = {"test": {}, "val": {}}
    for part, rows in judged.items():
        bench = material.bench(rows)
        for probe in material.probes:
            by_seed = scored[SCORED, probe.name]
            each = {
                seed: pooled(
                    bench,
                    scores.values[at[rows]],
                    config.k_values,
                    bins,
                    probability=material.probability(probe),
                )
                for seed, scores in by_seed.items()
            }
            found[part][probe.name] = mean_over_seeds(list(each.values())) | {
                "per_seed": {str(seed): _plain(values) for seed, values in each.items()}
            }
            if probe.trained and material.continuous:
                reasons["calibration"] = "scores of a continuous target are not probabilities"
    test = material.bench(judged["test"])
    chance = {
        part: chance_of(material.bench(rows), config.k_values) for part, rows in judged.items()
    }
    ceiling = ceiling_of(material, parts["test"])
    _add_shares(found["test"], ceiling, chance["test"])
    if ceiling.reason is not None:
        reasons["noise_ceiling"] = ceiling.reason
    comparisons, impossible = compare_with_baselines(
        [
            _arm(material, probe, test, scored[SCORED, probe.name], at[judged["test"]])
            for probe in material.probes
        ],
        config.primary_metric,
        draws=config.draws,
    )
    if impossible:
        reasons["comparisons"] = "; ".join(impossible)
    metrics = {
        "kind": "train",
        "target": config.target,
        "anchor_percentile": config.anchor_percentile,
        "primary_metric": config.primary_metric,
        "residualize": config.residualize,
        "fixed": config.fixed,
        "metadata_sha256": hash_path(config.metadata),
        "settings": config.settings.model_dump(),
        **{name: material.features.get(name) for name in FEATURE_FACTS},
        "rows": {part: len(rows) for part, rows in parts.items()}
        | {"unlabelled": int((~material.has_label).sum())},
        "splits": {part: list(ids) for part, ids in splits.items()},
        "seeds": list(config.seeds),
        "probes": probe_facts(material, scored),
        "selected": _selected(found, config.primary_metric),
        "chance": chance,
        "test": found["test"],
        "val": found["val"],
        "comparisons": [each.to_dict() for each in comparisons],
        "noise_ceiling": ceiling.to_dict(config.draws),
        "tripwires": tripwires(material, parts["train"], parts["val"], parts["test"]),
        "residual": _residual(material, parts, judged, scored, at, bins),
        "reasons": reasons,
    }
    return metrics, _blocks(material, splits, shown, scored)


def probe_facts(material: Material, scored: Scored) -> dict[str, Any]:
    """What each probe is, the seeds it ran under, and what its fits chose."""
    return {
        probe.name: {
            "seeded": probe.seeded,
            "trained": probe.trained,
            "baseline": probe.baseline,
            "reads": sorted(probe.reads),
            "seeds": list(scored[SCORED, probe.name]),
            "notes": {
                str(seed): dict(scores.notes) for seed, scores in scored[SCORED, probe.name].items()
            },
        }
        for probe in material.probes
    }


def tripwires(material: Material, train: Rows, validation: Rows, test: Rows) -> dict[str, Any]:
    """Both checks; passed: False when one failed, None when neither proved anything."""
    if not material.config.tripwires:
        return {"passed": None, "reason": "--no-tripwires"}
    checks = {
        "shuffled_labels": shared_shuffled_labels(material, train, validation, test),
        "memorisation": memorised(material, train),
    }
    outcomes = [check["passed"] for check in checks.values() if check["passed"] is not None]
    return {"passed": all(outcomes) if outcomes else None, **checks}


def _arm(
    material: Material, probe: Probe, bench: Bench, scored: Mapping[int, Scores], rows: Rows
) -> Arm:
    ks = material.config.k_values
    return Arm(
        probe.name,
        probe.baseline,
        {
            seed if probe.seeded else None: by_problem(
                bench, scores.values[rows], ks, probability=False
            )
            for seed, scores in scored.items()
        },
    )


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in values.items() if value is None or isinstance(value, float)
    }


def ceiling_of(material: Material, rows: Rows) -> Ceiling:
    config, frame = material.config, material.frame.iloc[rows]
    error = frame["importance_se"] if "importance_se" in frame.columns else None
    return shared_ceiling(
        config.shared,
        frame["problem_id"].tolist(),
        frame["importance_signed"].to_numpy(dtype=np.float64),
        None if error is None else error.to_numpy(dtype=np.float64),
        config.target,
        config.anchor_percentile,
        config.k_values,
    )


def _add_shares(
    found: Mapping[str, dict[str, Any]], ceiling: Ceiling, chance: Mapping[str, float | None]
) -> None:
    for values in found.values():
        shares = {
            name: share(values[name], best, chance.get(name))
            for name, best in ceiling.pooled.items()
        }
        values["share_of_ceiling"] = {
            name: {"share": plain, "beyond_chance": beyond}
            for name, (plain, beyond) in shares.items()
        }


def _selected(found: Mapping[str, Mapping[str, Any]], primary: str) -> dict[str, Any] | None:
    """The best probe on validation, with what it then has on test."""
    name = "spearman_mean" if primary == "spearman" else primary
    known = {
        probe: values[name] for probe, values in found["val"].items() if values[name] is not None
    }
    if not known:
        return None
    best = max(known, key=lambda probe: known[probe])
    return {
        "probe": best,
        "by": f"val {name}",
        "val": known[best],
        "test": found["test"][best][name],
    }


def _residual(
    material: Material,
    parts: Mapping[str, Rows],
    judged: Mapping[str, Rows],
    scored: Scored,
    at: Rows,
    bins: int,
) -> dict[str, Any] | None:
    """Probes of the residual judged against it; None where nothing was taken out."""
    if material.config.residualize == "none":
        return None
    left: Floats = material.residual(parts["train"])
    found: dict[str, Any] = {"kind": material.config.residualize}
    for part, rows in judged.items():
        bench = material.residual_bench(rows, left)
        found[part] = {}
        for probe in material.probes:
            each = [
                pooled(
                    bench,
                    scores.values[at[rows]],
                    material.config.k_values,
                    bins,
                    probability=False,
                )
                for scores in scored[RESIDUAL, probe.name].values()
            ]
            mean = mean_over_seeds(each)
            found[part][probe.name] = {
                "residual_pr_auc": mean["pr_auc"],
                "residual_pr_auc_trapezoid": mean["pr_auc_trapezoid"],
                "residual_spearman": mean["spearman_mean"],
                "prevalence": float(bench.anchor.mean()),
                "random_order_pr_auc": chance_of(bench, material.config.k_values)["pr_auc"],
            }
    return found


def _blocks(
    material: Material, splits: Mapping[str, Sequence[str]], shown: Rows, scored: Scored
) -> list[pd.DataFrame]:
    frame = material.frame.iloc[shown].reset_index(drop=True)
    inside = frame["problem_id"].isin(set(splits["val"])).to_numpy()
    split = np.where(inside, "val", "test").astype(object)
    seeds = list(dict.fromkeys(seed for by_seed in scored.values() for seed in by_seed))
    return [
        prediction_rows(
            frame,
            material.config.anchor_percentile,
            {"split": split},
            {
                f"{prefix}{name}": by_seed.get(seed, next(iter(by_seed.values()))).values
                for (prefix, name), by_seed in scored.items()
            },
            seed,
        )
        for seed in seeds
    ]
