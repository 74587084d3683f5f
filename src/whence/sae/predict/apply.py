"""A predictor on rows that it was not fitted on: a new pool, scored without gradients.

Weights belong to features, so the new extraction must be of the same SAEs at the same places of the
same model, over tokens counted in the same way; what differs is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from whence.errors import BadInput
from whence.runs.jsonfile import write_json
from whence.sae.predict.features import Features, read_features
from whence.sae.predict.judged import judge
from whence.sae.predict.material import (
    first_rows,
    row_digests,
    row_lengths,
    target_values,
    top_of,
)
from whence.sae.predict.outputs import distribution, write_rows
from whence.sae.predict.saved import Predictor, load_predictor, predictor_folder
from whence.sae.predict.settings import PredictConfig
from whence.sae.sample_stats import SAMPLE_STATS
from whence.sae.scored import group_keys
from whence.sae.store import Extraction
from whence.stats import spearman

MUST_AGREE = ("text", "activation_threshold", "count_bos")
MODEL_MUST_AGREE = ("fingerprint", "source", "revision", "adapter_fingerprint", "adapter")
SAME_WHEREVER_IT_LIES = {
    "model.fingerprint": ("model.source", "model.revision"),
    "model.adapter_fingerprint": ("model.adapter",),
}
"""A hash of files → what need not agree where that does: a folder may have been moved."""
SAE_MUST_AGREE = ("fingerprint", "hook_name")


def extraction_identity(extraction: Extraction) -> dict[str, Any]:
    """What features are: key → value, null where the extraction does not say (earlier folders)."""
    summary = extraction.summary
    model = summary.get("model")
    model = model if isinstance(model, Mapping) else {"source": model}
    layers = {each["sae_id"]: each for each in summary.get("layers", ())}
    return {
        **{name: summary.get(name) for name in MUST_AGREE},
        **{f"model.{name}": model.get(name) for name in MODEL_MUST_AGREE},
        **{
            f"{sae_id}.{name}": layers.get(sae_id, {}).get(name)
            for sae_id in extraction.files
            for name in SAE_MUST_AGREE
        },
    }


def check_agrees(predictor: Predictor, extraction: Extraction, layers: Sequence[Features]) -> None:
    """Raise BadInput, naming key and both values, where the features are not the predictor's."""
    fitted, here = predictor.about["extraction"], extraction_identity(extraction)
    moved = [
        name
        for key, names in SAME_WHEREVER_IT_LIES.items()
        if here[key] is not None and here[key] == fitted.get(key)
        for name in names
    ]
    for key, value in here.items():
        if fitted.get(key) != value and key not in moved:
            raise BadInput(
                f"{extraction.folder}: {key} is {_said(value)}, and the predictor was fitted on "
                f"features with {_said(fitted.get(key))}; extract this pool in the same way"
            )
    for weights, layer in zip(predictor.layers, layers, strict=True):
        if len(weights.activation_weights) != layer.d_sae:
            raise BadInput(
                f"{extraction.folder}: {layer.sae_id} has {layer.d_sae} features, and the "
                f"predictor was fitted on {len(weights.activation_weights)}; extract with the same "
                "SAE"
            )


def apply_predictor(config: PredictConfig, extraction: Extraction, folder: Path) -> None:
    """Score the extraction's rows and write what came of it into `folder`.

    With scores, the predictions are judged by them. Raises BadInput as `check_agrees` does.
    """
    assert config.apply is not None
    predictor = load_predictor(predictor_folder(config.apply))
    layers = read_features(extraction, config.max_rows)
    check_agrees(predictor, extraction, layers)
    predicted = predictor.predict(layers)
    rows = extraction.examples[: config.max_rows].reset_index(drop=True)
    known: dict[str, Any] = {}
    judged: dict[str, Any] = {}
    if config.scores is not None:
        rows = first_rows(extraction, config.max_rows, config.scores)
        target = target_values(rows["score"].to_numpy(), predictor.about["target"]["type"])
        known = {
            "target_score_raw": rows["score"].to_numpy(),
            "target_rank": rows["rank"].to_numpy(),
            "target_value": target,
            "abs_error": np.abs(predicted - target),
        }
        groups = group_keys(rows, config.group_key_fields)
        judged = {"metrics": judge(predicted, target, groups, top_of(config.top_k, len(rows)))}
    lengths = row_lengths(rows, layers)
    write_rows(folder, rows, predicted, ["new"] * len(rows), lengths, known)
    seen = set(predictor.about["trained_on"])
    write_json(
        folder / "summary.json",
        {
            "applied_from": {"folder": config.apply, "fitted_on_rows": len(seen)},
            "rows": len(rows),
            "rows_also_trained_on": sum(each in seen for each in row_digests(rows)),
            "target_type": predictor.about["target"]["type"],
            "predictions": distribution(predicted),
            **_distance(predictor, layers, predicted),
            "length_correlation": _length_correlation(predicted, lengths),
            **judged,
        },
    )


def _distance(
    predictor: Predictor, layers: Sequence[Features], predicted: np.ndarray[Any, Any]
) -> dict[str, Any]:
    """How far these rows are from those that the predictor was fitted on."""
    fitted = predictor.about["predictions_in_training"]
    outside = (predicted < fitted["min"]) | (predicted > fitted["max"])
    return {
        "outside_training_predictions": {
            "rows": int(outside.sum()),
            "share": float(outside.mean()),
            "training_min": fitted["min"],
            "training_max": fitted["max"],
        },
        "features": [
            _layer_distance(weights.seen, weights.stat_ranges, layer)
            for weights, layer in zip(predictor.layers, layers, strict=True)
        ],
    }


def _layer_distance(
    seen: np.ndarray[Any, Any], ranges: np.ndarray[Any, Any], layer: Features
) -> dict[str, Any]:
    """share_of_activation_unseen: of all mean activation, on features no training row had."""
    total = np.asarray(layer.active.sum(axis=0), dtype=np.float64).ravel()
    outside = (layer.stats < ranges[0]) | (layer.stats > ranges[1])
    return {
        "sae_id": layer.sae_id,
        "share_of_activation_unseen": float(total[~seen].sum() / (total.sum() or 1.0)),
        "features_unseen": int(((total != 0) & ~seen).sum()),
        "rows_with_a_statistic_outside_training": int(outside.any(axis=1).sum()),
        "outside_training": {
            name: float(share)
            for name, share in zip(SAMPLE_STATS, outside.mean(axis=0), strict=True)
        },
    }


def _length_correlation(
    predicted: np.ndarray[Any, Any], lengths: np.ndarray[Any, Any]
) -> dict[str, Any]:
    found = spearman(predicted, lengths)
    interval = found.interval
    return {
        "spearman": found.value,
        "interval": None if interval is None else [interval.low, interval.high],
        "reason": found.reason,
    }


def _said(value: Any) -> str:
    return "not recorded" if value is None else str(value)
