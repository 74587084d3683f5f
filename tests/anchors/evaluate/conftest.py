"""Sentences with planted importances, and a folder of features that knows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from whence.anchors.features.store import problem_file, write_arrays
from whence.anchors.sentences import write_sentences
from whence.runs.jsonfile import write_json
from whence.runs.tables import write_parquet

D_MODEL = 12


@dataclass(frozen=True)
class Study:
    """metadata, features, splits: what the commands take. frame, mean: what is in them."""

    metadata: Path
    features: Path
    splits: Path
    frame: pd.DataFrame
    mean: np.ndarray


def table(problems: int, sentences: int, rng: np.random.Generator) -> pd.DataFrame:
    """Problems of a little more than `sentences` sentences, importances of pure noise."""
    parts = []
    for problem in range(problems):
        count = sentences + problem % 3
        parts.append(
            pd.DataFrame(
                {
                    "problem_id": str(100 + problem),
                    "chunk_idx": np.arange(count),
                    "num_chunks": count,
                    "chunk_text": [
                        f"Step {i}: {' '.join(rng.choice(WORDS, size=5))}." for i in range(count)
                    ],
                    "function_tag": rng.choice(["plan", "compute", "check"], size=count),
                    "importance_signed": rng.normal(0, 0.1, size=count),
                    "token_count": rng.integers(3, 30, size=count),
                    "relative_position": (np.arange(count) / (count - 1)).astype(np.float32),
                }
            )
        )
    frame = pd.concat(parts, ignore_index=True)
    frame["importance_score"] = frame["importance_signed"].abs()
    return frame


WORDS = np.array("so we now add take two three sum root check answer then let x y is".split())


def write_features(frame: pd.DataFrame, mean: np.ndarray, folder: Path) -> None:
    """A folder as `whence anchors extract` leaves it, with layer 1 pooled by the mean."""
    folder.mkdir(parents=True)
    index = frame[["problem_id", "chunk_idx", "chunk_text", "token_count"]].copy()
    index["token_start"] = 0
    index["token_end"] = index["token_count"]
    index["row"] = index["chunk_idx"]
    index["token_row"] = 0
    index["problem_id"] = index["problem_id"].astype(int)
    write_parquet(pa.Table.from_pandas(index, preserve_index=False), folder / "sentences.parquet")
    for problem, own in frame.groupby("problem_id", sort=False):
        arrays = {"blocks.1.hook_resid_post.mean": mean[own.index].astype(np.float32)}
        write_arrays(arrays, folder / problem_file(str(problem)))
    write_json(folder / "failures.json", [])
    write_json(
        folder / "features.json",
        {
            "format": 1,
            "layers": [1],
            "poolings": ["mean"],
            "vertical": None,
            "per_head": False,
            "dtype": "float32",
            "prepend_bos": "default",
            "fingerprint": "planted",
            "texts": {},
            "model": {"name": "planted", "d_model": mean.shape[1], "n_layers": 2},
        },
    )


@pytest.fixture
def make_table() -> Callable[[int, int, np.random.Generator], pd.DataFrame]:
    """`table`, for tests that need no files."""
    return table


@pytest.fixture
def make_study(tmp_path: Path) -> Callable[..., Study]:
    """make_study(problems, sentences, signal=…): the first activation carries the importance.

    signal: share of the standard deviation of that activation that is |importance|, 0 for noise.
    """

    def make(
        problems: int = 8, sentences: int = 30, *, signal: float = 0.0, seed: int = 0
    ) -> Study:
        rng = np.random.default_rng(seed)
        frame = table(problems, sentences, rng)
        mean = rng.normal(size=(len(frame), D_MODEL))
        size = frame["importance_score"].to_numpy()
        mean[:, 0] += signal * 10 * size
        folder = tmp_path / f"study-{problems}-{sentences}-{signal}-{seed}"
        folder.mkdir()
        write_sentences(frame, folder / "sentence_metadata.parquet")
        write_features(frame, mean, folder / "features")
        ids = list(dict.fromkeys(frame["problem_id"].astype(int)))
        held = max(1, problems // 4)
        split = {"train": ids[: -2 * held], "val": ids[-2 * held : -held], "test": ids[-held:]}
        write_json(folder / "splits.json", split)
        return Study(
            folder / "sentence_metadata.parquet",
            folder / "features",
            folder / "splits.json",
            frame,
            mean,
        )

    return make
