"""Traces of the tiny world with planted labels: what is planted, and what is only noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from whence.anchors.make import MakeConfig, make
from whence.anchors.sentences import problems_of, read_sentences
from whence.anchors.spans.tokens import place
from whence.anchors.splits import read_splits
from whence.anchors.traces import read_traces
from whence.models.load import load_tokenizer


def table(folder: Path, **settings: object) -> pd.DataFrame:
    make(MakeConfig(output_dir=folder, **settings))
    return read_sentences(folder / "sentence_metadata.parquet")


def test_labels_are_the_planted_importance_within_their_errors(tmp_path: Path) -> None:
    frame = table(tmp_path / "t", count=150, effect=0.4)
    planted = np.where(frame["decisive"], -0.4, 0.0)
    off = (frame["importance_signed"] - planted) / frame["importance_se"]
    # plus-four errors are a little large where nearly every rollout is right
    assert 0.7 < off.std() < 1.05
    assert abs(off.mean()) < 3 / np.sqrt(len(frame))
    assert 0.3 < frame["decisive"].mean() < 0.6


def test_without_rollouts_labels_are_exact_and_without_effect_all_alike(tmp_path: Path) -> None:
    exact = table(tmp_path / "exact", count=10, rollouts=0)
    assert exact["importance_signed"].tolist() == [-0.6 if d else 0.0 for d in exact["decisive"]]
    assert exact["importance_se"].tolist() == [0.0] * len(exact)
    noise = table(tmp_path / "noise", count=150, effect=0)
    means = noise.groupby("decisive")["importance_signed"].agg(["mean", "std", "size"])
    gap = means["mean"].iloc[1] - means["mean"].iloc[0]
    assert abs(gap) < 3 * np.sqrt((means["std"] ** 2 / means["size"]).sum())


def test_spans_are_those_of_the_tiny_tokenizer_behind_the_problem(tmp_path: Path) -> None:
    frame = table(tmp_path / "t", count=5)
    traces = read_traces(tmp_path / "t" / "traces.jsonl")
    tokenizer = load_tokenizer("tiny")
    spans = [span for trace in traces for span in place(tokenizer, trace, "default").tokens]
    assert [(span.start, span.end) for span in spans if span is not None] == list(
        zip(frame["token_start"], frame["token_end"], strict=True)
    )
    for trace, (_, own) in zip(traces, frame.groupby("problem_id", sort=False), strict=True):
        problem = trace.text[: trace.start]
        assert own["token_start"].iloc[0] >= len(tokenizer(problem)["input_ids"]) - 1
        assert own["token_start"].is_monotonic_increasing
    splits = read_splits(tmp_path / "t" / "splits.json", problems_of(frame))
    assert [len(splits[part]) for part in ("train", "val", "test")] == [3, 1, 1]


def test_the_same_settings_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make(MakeConfig(output_dir=tmp_path / name, count=7))
    for file in ("sentence_metadata.parquet", "traces.jsonl", "splits.json", "summary.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert make(MakeConfig(output_dir=tmp_path / "a", count=7)).done
    with pytest.raises(ValueError, match="less than or equal"):
        MakeConfig(output_dir=tmp_path / "c", effect=0.99)
