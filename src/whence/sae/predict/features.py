"""The features of each SAE, read and checked: what a predictor is fitted on or applied to."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from whence.errors import BadInput
from whence.sae.sample_stats import SAMPLE_STATS
from whence.sae.store import Extraction, Layer

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@dataclass(frozen=True)
class Features:
    """One SAE's columns. active: mean activations, sparse float32 [rows, d_sae].

    stats: float64 [rows, 10], in the order of SAMPLE_STATS. seq_lens: int32 [rows].
    """

    sae_id: str
    facts: Mapping[str, Any]
    active: csr_array
    stats: NDArray[np.float64]
    seq_lens: NDArray[np.int32]

    @property
    def d_sae(self) -> int:
        return int(self.active.shape[1])


def read_features(extraction: Extraction, max_rows: int | None = None) -> list[Features]:
    """The features of every SAE of the extraction, of its first `max_rows` rows.

    Raises BadInput for a folder of the earlier system without mean activations (with the command
    that makes it again), other statistics, and a value that is not finite.
    """
    found = []
    for sae_id in extraction.files:
        layer = extraction.layer(sae_id)
        if layer.activation_mean is None:
            raise BadInput(
                f"{layer.file}: no feature_activation_mean, which a predictor needs; it is of an "
                f"earlier extraction; make it again with: {regenerating_command(extraction)}"
            )
        if sorted(layer.stat_names) != sorted(SAMPLE_STATS):
            raise BadInput(
                f"{layer.file}: its statistics are {', '.join(layer.stat_names)}, and "
                f"{', '.join(SAMPLE_STATS)} were expected; extract again"
            )
        order = [layer.stat_names.index(name) for name in SAMPLE_STATS]
        features = Features(
            sae_id=sae_id,
            facts=layer.facts,
            active=layer.activation_mean[:max_rows],
            stats=layer.sample_stats[:max_rows, order].astype(np.float64),
            seq_lens=layer.seq_lens[:max_rows],
        )
        _check_finite(features, layer, extraction)
        found.append(features)
    return found


def regenerating_command(extraction: Extraction) -> str:
    """The `whence sae extract` that makes the folder anew; CAPITALS where it does not say how."""
    summary = extraction.summary
    layers = {each["sae_id"]: each for each in summary.get("layers", ())}
    chosen = [layers.get(sae_id, {}) for sae_id in extraction.files]
    words = ["whence", "sae", "extract", "--model-name", _model(summary)]
    paths = [each["path"] for each in chosen if each.get("path")]
    if chosen and len(paths) == len(chosen):
        words += ["--sae-path", *map(str, paths)]
    else:
        release = next((str(each["release"]) for each in chosen if each.get("release")), "RELEASE")
        words += ["--sae-release", release, "--sae-id", *extraction.files]
    words += [*_rows_from(summary.get("dataset")), *_counted_as(summary), "--output-dir", "FOLDER"]
    return shlex.join(words)


def _model(summary: Mapping[str, Any]) -> str:
    model = summary.get("model") or summary.get("model_name")
    source = model.get("source") if isinstance(model, Mapping) else model
    return str(source or "MODEL")


def _counted_as(summary: Mapping[str, Any]) -> list[str]:
    """Flags of what decides which tokens count and which features are active, where recorded."""
    model = summary.get("model")
    adapter = model.get("adapter") if isinstance(model, Mapping) else None
    words = ["--adapter-path", str(adapter)] if adapter else []
    for key in ("text", "max_tokens", "activation_threshold"):
        if summary.get(key) is not None:
            words += [f"--{key.replace('_', '-')}", str(summary[key])]
    if summary.get("count_bos") is not None:
        words.append("--count-bos" if summary["count_bos"] else "--no-count-bos")
    return words


def _rows_from(dataset: Any) -> list[str]:
    if isinstance(dataset, str):
        return ["--dataset-path", dataset]
    if isinstance(dataset, Mapping) and dataset.get("manifest"):
        split = str(dataset.get("split") or "SPLIT")
        return ["--manifest", str(dataset["manifest"]), "--split", split]
    if isinstance(dataset, Mapping) and dataset.get("path"):
        return ["--dataset-path", str(dataset["path"])]
    return ["--dataset-path", "ROWS.jsonl"]


def _check_finite(features: Features, layer: Layer, extraction: Extraction) -> None:
    ids = extraction.row_ids
    bad = np.flatnonzero(~np.isfinite(features.active.data))
    if bad.size:
        at = int(bad[0])
        row = int(np.searchsorted(features.active.indptr, at, side="right")) - 1
        feature = int(features.active.indices[at])
        raise BadInput(
            f'{layer.file}: the activation of feature {feature} in row_id "{ids[row]}" is '
            f"{features.active.data[at]}, not a finite number; extract again"
        )
    for row, column in np.argwhere(~np.isfinite(features.stats))[:1]:
        raise BadInput(
            f'{layer.file}: {SAMPLE_STATS[column]} of row_id "{ids[row]}" is '
            f"{json.dumps(float(features.stats[row, column]))}, not a finite number; extract again"
        )
