"""`whence anchors spans` as a user runs it: what it writes, and with which exit code it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from whence.anchors.sentences import read_sentences
from whence.anchors.spans.command import SpansConfig, spans
from whence.anchors.spans.source import read_source
from whence.errors import BadInput


def write(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


GOOD = {
    "problem_id": 1,
    "text": "Q?\nOne  is 1. Two is 2.",
    "sentences": ["One is 1.", "Two is 2."],
}
BAD = {"problem_id": 2, "text": "Three is 3.", "sentences": ["Three is 3.", "Four is 4."]}


def test_all_pass(tmp_path: Path) -> None:
    config = SpansConfig(
        traces=write(tmp_path / "t.jsonl", GOOD),
        model="tiny",
        check=True,
        output_dir=tmp_path / "o",
    )
    finding = spans(config).finding()
    assert not finding.failed
    assert "2 of 2 sentences (100.00%)" in finding.headline
    table = pd.read_parquet(tmp_path / "o" / "spans.parquet")
    text = str(GOOD["text"])
    assert [text[a:b] for a, b in zip(table["char_start"], table["char_end"], strict=True)] == [
        "One  is 1.", "Two is 2.",
    ]  # fmt: skip
    assert (tmp_path / "o" / "failures.jsonl").read_text() == ""
    assert spans(config).finding().headline == finding.headline  # already done


def test_every_failing_sentence_is_listed(tmp_path: Path) -> None:
    traces = write(tmp_path / "t.jsonl", GOOD, BAD)
    config = SpansConfig(traces=traces, model="tiny", check=True, output_dir=tmp_path / "o")
    finding = spans(config).finding()
    assert finding.failed
    assert finding.rows[0][:3] == ("2", "1", "Four is 4.")
    (row,) = map(json.loads, (tmp_path / "o" / "failures.jsonl").read_text().splitlines())
    assert row["problem_id"] == "2"
    assert row["expected"] == "Four is 4."
    assert "does not occur" in row["cause"]
    table = pd.read_parquet(tmp_path / "o" / "spans.parquet")
    assert table["token_start"].isna().tolist() == [False, False, False, True]
    unchecked = config.model_copy(update={"check": False, "output_dir": tmp_path / "p"})
    assert not spans(unchecked).finding().failed


def test_the_text_of_a_table_alone_is_said_to_lack_its_prompt(tmp_path: Path) -> None:
    frame = pd.DataFrame({"problem_id": [1, 1], "chunk_idx": [0, 1], "chunk_text": ["A b.", "C."]})
    frame.to_parquet(tmp_path / "m.parquet")
    config = SpansConfig(
        metadata=tmp_path / "m.parquet", model="tiny", check=True, output_dir=tmp_path / "o"
    )
    assert "without their prompts" in spans(config).finding().headline
    # A traces.jsonl beside it is taken instead, with the sentences of the table.
    write(
        tmp_path / "traces.jsonl", {"problem_id": 1, "text": "Q? A b. C. D.", "sentences": ["D."]}
    )
    source = read_source(tmp_path / "m.parquet", None)
    assert source.text_from == "traces"
    assert source.traces[0].text == "Q? A b. C. D."
    assert source.traces[0].sentences == ("A b.", "C.")


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--metadata"):
        read_source(None, None)
    frame = pd.DataFrame({"problem_id": [1, 9], "chunk_idx": [0, 0], "chunk_text": ["A.", "B."]})
    frame.to_parquet(tmp_path / "m.parquet")
    traces = write(tmp_path / "t.jsonl", GOOD)
    with pytest.raises(BadInput, match=r"no trace of 1 problems.*first: 9"):
        read_source(tmp_path / "m.parquet", traces)


def test_labels_are_no_part_of_what_a_text_is(tmp_path: Path) -> None:
    frame = pd.DataFrame({"problem_id": [1], "chunk_idx": [0], "chunk_text": ["A."]})
    frame.assign(importance_signed=0.1).to_parquet(tmp_path / "a.parquet")
    frame.assign(importance_signed=0.9).to_parquet(tmp_path / "b.parquet")
    frame.assign(chunk_text="B.").to_parquet(tmp_path / "c.parquet")
    a, b, c = (read_source(tmp_path / f"{n}.parquet", None).identity() for n in "abc")
    assert a == b
    assert a["sha256"] != c["sha256"]


@pytest.mark.parametrize("name", ["llama_correct", "qwen_correct"])
def test_every_sentence_of_the_real_traces_is_found(
    shared_data: Path, tmp_path: Path, name: str
) -> None:
    metadata = shared_data / "thought-anchors" / name / "sentence_metadata.parquet"
    config = SpansConfig(metadata=metadata, model="tiny", check=True, output_dir=tmp_path / "o")
    finding = spans(config).finding()
    assert not finding.failed
    assert f"{len(read_sentences(metadata)):,} of" in finding.headline
