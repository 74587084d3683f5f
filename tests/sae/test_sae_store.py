"""Extraction folders, read: arrays, old folders, and what does not fit together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from extraction_folders import activations, write_extraction

from whence.errors import BadInput
from whence.runs.jsonfile import write_json, write_jsonl
from whence.runs.tables import write_parquet
from whence.sae.sample_stats import SAMPLE_STATS
from whence.sae.scored import group_keys, scored_rows, top_labels
from whence.sae.store import open_extraction

EXAMPLES = [
    {"row_id": f"r{i}", "category": "ab"[i % 2], "group_id": f"g{i // 2}"} for i in range(6)
]


def test_arrays_come_back(tmp_path: Path) -> None:
    means = {"l/1 w": activations(6, 11), "l2": activations(6, 7, 1)}
    found = open_extraction(write_extraction(tmp_path / "x", EXAMPLES, means))
    assert list(found.files) == ["l/1 w", "l2"]
    layer = found.layer("l/1 w")
    assert layer.activation_mean is not None
    np.testing.assert_array_equal(layer.activation_mean.toarray(), means["l/1 w"])
    np.testing.assert_array_equal(layer.presence.toarray(), means["l/1 w"] > 0)
    assert layer.d_sae == 11
    assert layer.stat_names == SAMPLE_STATS
    assert list(open_extraction(tmp_path / "x", ["l2"]).files) == ["l2"]
    with pytest.raises(BadInput, match='no SAE "l3"; it has l/1 w, l2'):
        open_extraction(tmp_path / "x", ["l3"])


def test_folders_of_the_earlier_system(tmp_path: Path) -> None:
    means = {"layer_17": activations(6, 5)}
    folder = write_extraction(tmp_path / "x", EXAMPLES, means, summary=False, means=False)
    layer = open_extraction(folder).layer("layer_17")
    assert layer.activation_mean is None
    np.testing.assert_array_equal(layer.presence.toarray(), means["layer_17"] > 0)


def test_parquet_says_the_same(tmp_path: Path) -> None:
    means = activations(6, 9)
    folder = write_extraction(tmp_path / "x", EXAMPLES, {"a": means})
    dense = open_extraction(folder).layer("a")
    ids = [np.flatnonzero(row).astype(np.int32) for row in means]
    table = {
        "row_id": [each["row_id"] for each in EXAMPLES],
        **{name: dense.sample_stats[:, at] for at, name in enumerate(SAMPLE_STATS)},
        "feature_ids": pa.array(ids),
        "feature_activation_means": pa.array([row[at] for row, at in zip(means, ids, strict=True)]),
    }
    write_parquet(pa.table(table), folder / "a.parquet")
    write_json(
        folder / "summary.json", {"layers": [{"sae_id": "a", "file": "a.parquet", "d_sae": 9}]}
    )
    sparse = open_extraction(folder).layer("a")
    assert sparse.activation_mean is not None
    np.testing.assert_array_equal(sparse.activation_mean.toarray(), means)
    np.testing.assert_array_equal(sparse.presence.toarray(), means > 0)
    np.testing.assert_array_equal(sparse.sample_stats, dense.sample_stats)
    np.testing.assert_array_equal(sparse.seq_lens, dense.seq_lens)


def test_what_does_not_fit_is_one_line(tmp_path: Path) -> None:
    folder = write_extraction(tmp_path / "x", EXAMPLES, {"a": activations(6, 5)})
    write_jsonl(folder / "examples.jsonl", EXAMPLES[:4])
    with pytest.raises(BadInput, match=r"6 rows, and .* has 4"):
        open_extraction(folder).layer("a")
    write_jsonl(folder / "examples.jsonl", [*EXAMPLES[:5], EXAMPLES[0]])
    with pytest.raises(BadInput, match='"r0" is doubled'):
        open_extraction(folder)
    (folder / "a.npz").write_bytes(b"not a zip")
    write_jsonl(folder / "examples.jsonl", EXAMPLES)
    with pytest.raises(BadInput, match="not readable"):
        open_extraction(folder).layer("a")
    with pytest.raises(BadInput, match=r"no examples\.jsonl"):
        open_extraction(tmp_path)


def test_rows_meet_their_scores(tmp_path: Path) -> None:
    extraction = open_extraction(
        write_extraction(tmp_path / "x", EXAMPLES, {"a": activations(6, 5)})
    )
    scores = tmp_path / "scores.jsonl"
    given = [{"row_id": f"r{i}", "score": float(i % 4), "loss": 1.0 * i} for i in range(8)]
    write_jsonl(scores, reversed(given))
    rows = scored_rows(extraction, scores)
    assert list(rows["row_id"]) == extraction.row_ids
    assert list(rows["score"]) == [0, 1, 2, 3, 0, 1]
    assert list(rows["rank"]) == [5, 3, 2, 1, 6, 4]  # among the rows extracted, ties by row id
    assert top_labels(rows, 2).tolist() == [False, False, True, True, False, False]
    assert group_keys(rows, []) == ["g0", "g0", "g1", "g1", "g2", "g2"]
    assert group_keys(rows, ["category"]) == ["a", "b"] * 3
    with pytest.raises(BadInput, match="no such field, but row_id"):
        group_keys(rows, ["kind"])
    with pytest.raises(BadInput, match="choose 1 to 5"):
        top_labels(rows, 6)
    write_jsonl(scores, given[:4])
    with pytest.raises(BadInput, match=r'no score for 2 of 6 rows .*"r4"'):
        scored_rows(extraction, scores)


def test_scores_of_another_pool_with_the_same_ids_are_refused(tmp_path: Path) -> None:
    examples = [{"row_id": f"pool-{i:05d}", "tokens": 20 + (i * 7) % 30} for i in range(40)]
    folder = write_extraction(tmp_path / "x", examples, {"a": activations(40, 5)})
    own, other = tmp_path / "own.jsonl", tmp_path / "other.jsonl"
    rows = [{**each, "score": 1.0 * i} for i, each in enumerate(examples)]
    write_jsonl(own, [{**row, "length_tokens": 2 * row["tokens"] + 1} for row in rows])
    write_jsonl(other, [{**row, "length_tokens": 20 + (i * 11) % 30} for i, row in enumerate(rows)])
    extraction = open_extraction(folder)
    assert len(scored_rows(extraction, own)) == 40
    with pytest.raises(BadInput, match="they are other texts"):
        scored_rows(extraction, other)
