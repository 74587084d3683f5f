"""`whence anchors page`: every sentence in its place, coloured by its rank, nothing unescaped."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from whence.anchors.page import PageConfig, page
from whence.errors import BadInput

SCRIPT = "<script>alert('sentence')</script>"


def predictions() -> pd.DataFrame:
    """Two problems of 20 sentences; the first sentence of the second is a script."""
    rng = np.random.default_rng(0)
    rows = []
    for problem in (7, 8):
        importance = rng.normal(size=20).round(3)
        cut = np.percentile(np.abs(importance), 90)
        rows += [
            {
                "problem_id": problem,
                "chunk_idx": at,
                "chunk_text": SCRIPT if (problem, at) == (8, 0) else f"Sentence {at} of {problem}.",
                "function_tag": "plan_generation" if at else "unknown",
                "importance_signed": importance[at],
                "anchor": int(abs(importance[at]) >= cut),
                "split": "test",
                "score_linear_probe": float(at),
                "score_flat": 0.5,
            }
            for at in range(20)
        ]
    return pd.DataFrame(rows)


def first_table(html: str) -> list[list[str]]:
    """Rows of the first table, cells as text."""
    table = html[html.index("<table") : html.index("</table>")]
    return [
        [
            " ".join(unescape(re.sub(r"<[^>]*>", " ", cell)).split())
            for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S)
        ]
        for row in re.findall(r"<tr[^>]*>(.*?)</tr>", table, re.S)
    ]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "predictions.parquet"
    predictions().to_parquet(path)
    return path


def read(folder: Path) -> str:
    return (folder / "page.html").read_text("utf-8")


def test_every_sentence_stands_in_order_with_its_numbers(table: Path, tmp_path: Path):
    result = page(PageConfig(predictions=table, output_dir=tmp_path / "out"))
    assert result.problems == ["7", "8"]
    assert result.sentences == 40
    rows = first_table(read(tmp_path / "out"))
    assert [row[0] for row in rows[1:]] == [str(at) for at in range(20)]
    own = predictions().query("problem_id == 7")
    for row, (_, sentence) in zip(rows[1:], own.iterrows(), strict=True):
        written = row[1].replace("−", "-")
        assert float(written) == pytest.approx(sentence["importance_signed"], abs=5e-4)
        assert sentence["chunk_text"] in row[4]
        assert ("anchor" in row[4].split()) == bool(sentence["anchor"])
    # Two anchors a trace: the probe's two highest are sentences 18 and 19.
    hits = int(own["anchor"].iloc[18:].sum())
    assert rows[0] == ["#", "importance 2 of 2", f"linear probe {hits} of 2",
                     f"flat {int(own['anchor'].iloc[:2].sum())} of 2", "sentence"]  # fmt: skip


def test_a_script_in_a_sentence_is_text(table: Path, tmp_path: Path):
    page(PageConfig(predictions=table, output_dir=tmp_path / "out"))
    html = read(tmp_path / "out")
    assert SCRIPT not in html
    assert "&lt;script&gt;alert(" in html
    assert html.count("<script>") == 1


def test_problems_columns_splits_and_prompts_can_be_chosen(table: Path, tmp_path: Path):
    traces = tmp_path / "traces.jsonl"
    sentences = predictions().query("problem_id == 8")["chunk_text"].tolist()
    line = {"problem_id": 8, "text": f"USER: <b>why?</b>\n{' '.join(sentences)}"}
    traces.write_text(json.dumps(line | {"sentences": sentences}) + "\n")
    result = page(
        PageConfig(
            predictions=table,
            traces=traces,
            problems="problem_8",
            score_columns="score_linear_probe",
            split="test",
            output_dir=tmp_path / "out",
        )
    )
    assert (result.problems, result.left_out, result.sentences) == (["8"], 0, 20)
    html = read(tmp_path / "out")
    assert "USER: &lt;b&gt;why?&lt;/b&gt;" in html
    assert ">flat" not in html
    first = page(PageConfig(predictions=table, max_problems=1, output_dir=tmp_path / "first"))
    assert (first.problems, first.left_out) == (["7"], 1)
    assert "1 more in the table" in first.finding().headline


def test_a_missing_label_is_a_dash_and_never_an_anchor(tmp_path: Path):
    frame = predictions()
    frame["anchor"] = frame["anchor"].astype(float)
    frame.loc[3, ["importance_signed", "anchor"]] = np.nan
    frame.to_parquet(tmp_path / "p.parquet")
    page(PageConfig(predictions=tmp_path / "p.parquet", output_dir=tmp_path / "out"))
    row = first_table(read(tmp_path / "out"))[4]
    assert row[1] == "–"
    assert "anchor" not in row[4].split()


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (lambda f: f, {"problems": "9"}, "--problems 9: no such problem; it has 7, 8"),
        (lambda f: f, {"score_columns": "score_linear"}, "did you mean score_linear_probe"),
        (lambda f: f, {"split": "val"}, "--split val: its splits are test"),
        (lambda f: f, {"seed": 1}, "its rows have no seed"),
        (lambda f: f.drop(columns="chunk_text"), {}, "no column chunk_text"),
        (lambda f: pd.concat([f, f.iloc[:1]]), {}, "sentence 0 occurs twice"),
        (lambda f: f.iloc[:0], {}, "has no rows"),
    ],
)
def test_what_the_table_does_not_have_is_refused(
    tmp_path: Path, change: Any, settings: dict[str, Any], message: str
):
    path = tmp_path / "p.parquet"
    change(predictions()).to_parquet(path)
    with pytest.raises(BadInput, match=message):
        page(PageConfig(predictions=path, output_dir=tmp_path / "out", **settings))
    assert not (tmp_path / "out").exists()


def test_the_earlier_studys_predictions_open_unchanged(shared_data: Path, tmp_path: Path):
    path = shared_data / "thought-anchors/qwen_correct/predictions_seed_0.parquet"
    result = page(PageConfig(predictions=path, problems="1591", output_dir=tmp_path / "out"))
    assert result.sentences == 159
    assert len(result.columns) == 5
    again = page(PageConfig(predictions=path, problems="1591", output_dir=tmp_path / "out"))
    assert again == result
