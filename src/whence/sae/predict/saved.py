"""A fitted predictor: a weight a feature. On disk, `predictor.safetensors` and `predictor.json`.

    <sae_id>.activation_weights  float64 [d_sae]     <sae_id>.stat_weights  float64 [10]
    <sae_id>.seen                uint8 [d_sae]       1 where a training row had the feature
    <sae_id>.stat_ranges         float64 [2, 10]     lowest and highest in training rows
    intercept                    float64 [1]

`predictor.json` is written last and holds the hash of the arrays. Nothing in it is executed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whence.errors import BadInput
from whence.runs.atomic import whole_file
from whence.runs.jsonfile import read_json, write_json
from whence.sae.predict.features import Features

ARRAYS = "predictor.safetensors"
DESCRIPTION = "predictor.json"
FOLDER = "predictor"
FORMAT = "whence-sae-predictor-1"


@dataclass(frozen=True)
class LayerWeights:
    """One SAE's part. seen: features that a training row had; stat_ranges: (low, high) [2, 10]."""

    sae_id: str
    activation_weights: NDArray[np.float64]
    stat_weights: NDArray[np.float64]
    seen: NDArray[np.bool_]
    stat_ranges: NDArray[np.float64]


@dataclass(frozen=True)
class Predictor:
    """intercept + Σ over layers of (activation means · weights + statistics · weights).

    about: where it comes from: `extraction` (what its features are), `target`, `settings`, …
    """

    layers: tuple[LayerWeights, ...]
    intercept: float
    about: Mapping[str, Any]

    def predict(self, layers: Sequence[Features]) -> NDArray[np.float64]:
        """Predictions, float64 [rows]; a row's does not depend on which others are there."""
        total = np.full(len(layers[0].stats), self.intercept)
        for weights, layer in zip(self.layers, layers, strict=True):
            total += layer.active @ weights.activation_weights
            # A sum and not a product: BLAS adds in another order for other numbers of rows.
            total += (layer.stats * weights.stat_weights).sum(axis=1)
        return total


def save_predictor(predictor: Predictor, folder: Path) -> None:
    """Write a predictor into `folder`. Equal predictors: equal bytes."""
    from safetensors.numpy import save

    arrays = {"intercept": np.array([predictor.intercept])}
    for layer in predictor.layers:
        arrays[f"{layer.sae_id}.activation_weights"] = layer.activation_weights
        arrays[f"{layer.sae_id}.stat_weights"] = layer.stat_weights
        arrays[f"{layer.sae_id}.seen"] = layer.seen.astype(np.uint8)
        arrays[f"{layer.sae_id}.stat_ranges"] = layer.stat_ranges
    data = save({name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DESCRIPTION).unlink(missing_ok=True)
    with whole_file(folder / ARRAYS) as temporary:
        temporary.write_bytes(data)
    write_json(
        folder / DESCRIPTION,
        {
            "format": FORMAT,
            "sae_ids": [layer.sae_id for layer in predictor.layers],
            **predictor.about,
            "arrays": {"file": ARRAYS, "sha256": hashlib.sha256(data).hexdigest()},
        },
    )


def predictor_folder(path: Path) -> Path:
    """The predictor at `path`: in a folder of `whence sae predict`, or that folder itself.

    Raises BadInput where there is none.
    """
    for folder in (path / FOLDER, path):
        if (folder / DESCRIPTION).is_file():
            return folder
    raise BadInput(
        f"--apply {path}: no {FOLDER}/{DESCRIPTION} in it; a folder of `whence sae predict` with "
        "--scores was expected"
    )


def load_predictor(folder: Path) -> Predictor:
    """Read a predictor. Raises BadInput where its files are damaged or do not belong together."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    said = read_json(folder / DESCRIPTION)
    if not isinstance(said, Mapping) or said.get("format") != FORMAT:
        raise BadInput(f"{folder / DESCRIPTION}: its format is not {FORMAT}; fit it again")
    try:
        data = (folder / ARRAYS).read_bytes()
        if hashlib.sha256(data).hexdigest() != said["arrays"]["sha256"]:
            raise BadInput(
                f"{folder / ARRAYS}: is not the file that {DESCRIPTION} was written for; copy the "
                "whole folder again, or fit it again"
            )
        arrays = load(data)
        layers = tuple(
            LayerWeights(
                sae_id=sae_id,
                activation_weights=arrays[f"{sae_id}.activation_weights"],
                stat_weights=arrays[f"{sae_id}.stat_weights"],
                seen=arrays[f"{sae_id}.seen"].astype(bool),
                stat_ranges=arrays[f"{sae_id}.stat_ranges"],
            )
            for sae_id in said["sae_ids"]
        )
        intercept = float(arrays["intercept"][0])
    except (OSError, KeyError, TypeError, ValueError, IndexError, SafetensorError) as error:
        what = " ".join(str(error).split())
        raise BadInput(
            f"{folder}: not a readable predictor ({type(error).__name__}: {what[:120]}); fit it "
            "again"
        ) from None
    about = {name: said[name] for name in said if name not in ("format", "sae_ids", "arrays")}
    return Predictor(layers, intercept, about)
