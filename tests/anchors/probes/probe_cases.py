"""Sentences and features made for tests of probes."""

from __future__ import annotations

import numpy as np
import pandas as pd

from whence.anchors.probes.data import Labels, ProbeData, Ragged

WORDS = "we check the sum again then square both sides because prime numbers divide it".split()
TAGS = ("plan_generation", "fact_retrieval", "self_checking")


def sentences(problems: int, each: int, seed: int = 0) -> pd.DataFrame:
    """A table of sentences of random words, tags and token counts."""
    rng = np.random.default_rng(seed)
    rows = []
    for problem in range(problems):
        for place in range(each):
            length = int(rng.integers(3, 12))
            rows.append(
                {
                    "problem_id": str(problem),
                    "chunk_idx": place,
                    "num_chunks": each,
                    "relative_position": np.float32(place / max(each - 1, 1)),
                    "chunk_text": " ".join(rng.choice(WORDS, length)),
                    "function_tag": str(rng.choice(TAGS)),
                    "token_count": length,
                }
            )
    return pd.DataFrame(rows)


def case(
    problems: int = 6, each: int = 30, width: int = 16, *, continuous: bool = False, seed: int = 0
) -> tuple[ProbeData, Labels]:
    """Sentences whose target follows one direction of their activations, with noise.

    The last activation is constant. Tokens: `token_count` a sentence, around its mean.
    """
    rng = np.random.default_rng(seed)
    frame = sentences(problems, each, seed)
    rows = len(frame)
    mean = rng.normal(3, 2, size=(rows, width)).astype(np.float32)
    mean[:, -1] = 7
    signal = mean[:, 0] - mean[:, 1] + rng.normal(0, 1, rows)
    lengths = frame["token_count"].to_numpy(dtype=np.int64)
    start = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    tokens = np.repeat(mean, lengths, axis=0)
    tokens = tokens + rng.normal(0, 0.5, tokens.shape).astype(np.float32)
    data = ProbeData(
        frame=frame,
        mean=mean,
        tokens=Ragged(tokens.astype(np.float32), start, lengths),
        vertical=rng.random((rows, 1), dtype=np.float32),
    )
    y = signal if continuous else (signal > np.quantile(signal, 0.8)).astype(np.float64)
    return data, Labels(y, continuous)
