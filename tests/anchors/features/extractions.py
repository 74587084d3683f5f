"""Extractions that the tests of this folder look at: what they read, and how they are run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from whence.anchors.features.extract import ExtractConfig, ExtractResult, extract


class Case(NamedTuple):
    traces: Path
    metadata: Path


def run(case: Case, output: Path, **settings: Any) -> ExtractResult:
    settings = {"layers": ("1", "4"), "pooling": ("mean", "tokens", "last"), **settings}
    given = {"metadata": case.metadata, "model": "tiny", "device": "cpu", "dtype": "float32"}
    return extract(ExtractConfig(output_dir=output, **{**given, **settings}))
