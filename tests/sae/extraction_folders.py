"""Extraction folders with planted features, written by hand: `import extraction_folders`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whence.runs.jsonfile import write_json, write_jsonl
from whence.sae.sample_stats import SAMPLE_STATS
from whence.sae.store import layer_file


def activations(rows: int, d_sae: int, seed: int = 0) -> NDArray[np.float32]:
    """Sparse random mean activations, float32 [rows, d_sae], one entry in five not 0."""
    rng = np.random.default_rng(seed)
    present = rng.random((rows, d_sae)) < 0.2
    return (present * rng.gamma(2.0, 0.5, (rows, d_sae))).astype(np.float32)


def write_extraction(
    folder: Path,
    examples: Sequence[Mapping[str, Any]],
    layers: Mapping[str, NDArray[np.float32]],
    *,
    summary: bool = True,
    means: bool = True,
    seed: int = 0,
) -> Path:
    """A folder as `whence sae extract` leaves it. layers: sae_id → mean activations [rows, d_sae].

    summary, means: without them, as the earlier system left it.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    write_jsonl(folder / "examples.jsonl", examples)
    described = []
    for sae_id, mean in layers.items():
        lengths = rng.integers(8, 40, len(mean)).astype(np.int32)
        stats = rng.normal(size=(len(mean), len(SAMPLE_STATS))).astype(np.float32)
        stats[:, 0] = lengths
        arrays: dict[str, Any] = {
            "feature_presence": mean > 0,
            "sample_stats": stats,
            "seq_lens": lengths,
            "stat_feature_names": np.asarray(SAMPLE_STATS, dtype="<U64"),
        }
        if means:
            arrays["feature_activation_mean"] = mean
        np.savez_compressed(folder / f"{layer_file(sae_id)}.npz", **arrays)
        described.append(
            {
                "sae_id": sae_id,
                "file": f"{layer_file(sae_id)}.npz",
                "hook_name": f"blocks.{len(described)}.hook_resid_post",
                "d_sae": int(mean.shape[1]),
            }
        )
    if summary:
        write_json(folder / "summary.json", {"rows": len(examples), "layers": described})
    return folder
