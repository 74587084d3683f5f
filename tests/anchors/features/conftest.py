"""One extraction of the tiny world's traces, made once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from extractions import Case, run

from whence.anchors.traces import read_traces
from whence.tiny.make import MakeConfig, make


@pytest.fixture(scope="session")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Six traces of the tiny world, and a table of their sentences with made-up labels."""
    folder = tmp_path_factory.mktemp("traces")
    make(MakeConfig(kind="traces", out=folder, count=6))
    rows = [
        {"problem_id": trace.problem_id, "chunk_idx": i, "chunk_text": sentence}
        for trace in read_traces(folder / "traces.jsonl")
        for i, sentence in enumerate(trace.sentences)
    ]
    frame = pd.DataFrame(rows).assign(importance_signed=np.linspace(-1, 1, len(rows)))
    frame.to_parquet(folder / "sentence_metadata.parquet")
    return Case(folder / "traces.jsonl", folder / "sentence_metadata.parquet")


@pytest.fixture(scope="session")
def extracted(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features") / "E"
    run(case, folder, vertical="full", per_head=True)
    return folder
