"""A pool whose scores hang on known features, as files: `import predictable`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from extraction_folders import activations, write_extraction
from numpy.typing import NDArray

from whence.runs.jsonfile import read_json, write_json
from whence.runs.tables import write_parquet
from whence.sae.predict import PredictConfig

RECORDED = {
    "text": "aligned",
    "max_tokens": 64,
    "activation_threshold": 0.0,
    "count_bos": False,
    "model": {"source": "tiny", "revision": None, "dtype": "float32", "adapter": None},
}


@dataclass(frozen=True)
class Pool:
    """scores: the table. features: the extraction. score: [rows]. means: sae_id → [rows, d_sae]."""

    scores: Path
    features: Path
    score: NDArray[np.float64]
    means: dict[str, NDArray[np.float32]]

    def config(self, output: Path, **more: Any) -> PredictConfig:
        named = {"scores": self.scores, "sae_dir": self.features, "embedding_model": None, **more}
        return PredictConfig(output_dir=output, **named)


def make_pool(
    home: Path,
    *,
    rows: int = 150,
    sizes: dict[str, int] | None = None,
    planted: bool = True,
    noise: float = 0.3,
    seed: int = 0,
    columns: dict[str, Any] | None = None,
    texts: list[tuple[str, str]] | None = None,
    **more: Any,
) -> Pool:
    """Rows in groups of three. planted: the score is the sum of features 3 and 5 of the first SAE.

    columns: further columns of the table of scores. texts: (prompt, completion) of each row.
    """
    rng = np.random.default_rng([seed, 99])
    sizes = sizes or {"a": 40}
    means = {
        sae_id: activations(rows, size, seed * 10 + number)
        for number, (sae_id, size) in enumerate(sizes.items())
    }
    first = next(iter(means.values())).astype(np.float64)
    noisy = rng.normal(size=rows)
    score = first[:, 3] + first[:, 5] + noise * noisy if planted else noisy
    ids = [f"r{i:04d}" for i in rng.permutation(rows)]
    examples = [
        {
            "array_index": i,
            "row_id": ids[i],
            "tokens": 10 + i % 7,
            "category": "ab"[i % 2],
            "difficulty": i % 5 if i % 4 else None,
            "group_id": f"g{i // 3}",
            **({"prompt": texts[i][0], "completion": texts[i][1]} if texts else {}),
        }
        for i in range(rows)
    ]
    features = write_extraction(home / "features", examples, means, seed=seed, **more)
    if (features / "summary.json").is_file():
        summary = read_json(features / "summary.json")
        described = [{**each, "fingerprint": each["sae_id"] * 3} for each in summary["layers"]]
        write_json(features / "summary.json", {**summary, **RECORDED, "layers": described})
    order = rng.permutation(rows)
    table = {"row_id": [ids[i] for i in order], "score": score[order]}
    table |= {name: np.asarray(values)[order] for name, values in (columns or {}).items()}
    write_parquet(pa.table(table), home / "scores.parquet")
    return Pool(home / "scores.parquet", features, score, means)
