"""Which rows a condition takes, how it is known again, and a kill in the middle of one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import started
from lab import config, corpus, cross, put, single

from whence.errors import BadInput
from whence.heads import conditions
from whence.heads.conditions import (
    Source,
    Subject,
    deciding,
    examples_of,
    find_source,
    one_line,
    reading_of,
)
from whence.heads.plan import Condition, read_plan
from whence.heads.run import run_plan

Folder = Callable[[str], Path]

KILLED_AT = 3
"""Start layers of the sweep that are on disk when the process is killed."""


def the_condition(home: Path, model: Path, **more: Any) -> Condition:
    return read_plan(put(home / "configs/run.json", single(model, **more))).conditions[0]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    corpus(tmp_path, "facts", range(8))
    return tmp_path


@pytest.fixture
def subject(home: Path, zoo_folder: Folder) -> Subject:
    return Subject.of(read_plan(put(home / "configs/run.json", single(zoo_folder("gpt2")))))


@pytest.mark.parametrize(
    ("split", "rows"), [("train", [0, 1, 2, 3, 4, 5, 6]), ("test", [7]), ("all", list(range(8)))]
)
def test_the_rows_of_a_split(home: Path, subject: Subject, split: str, rows: list[int]) -> None:
    condition = the_condition(home, Path("m"), dataset={"id": "facts", "split": split})
    source = find_source(home / "corpora", condition)
    assert (source.split is None) == (split == "all")
    examples = examples_of(subject, condition, source, reading_of(condition))
    assert [row.example for row in examples.rows] == rows


def test_an_empty_part_and_a_missing_split(home: Path, subject: Subject) -> None:
    condition = the_condition(home, Path("m"), dataset={"id": "facts", "split": "val"})
    source = find_source(home / "corpora", condition)
    with pytest.raises(BadInput, match=r"facts.split.json: its val part is empty"):
        examples_of(subject, condition, source, reading_of(condition))
    (home / "splits/facts.split.json").unlink()
    with pytest.raises(BadInput, match=r"facts.jsonl: has no split file .*--split all"):
        find_source(home / "corpora", condition)


def test_fields_may_have_other_names(home: Path, subject: Subject) -> None:
    (home / "corpora/qa.jsonl").write_text(
        json.dumps({"q": "The fox is", "other": "The river is", "yes": " red", "no": " blue"})
    )
    names = {"clean_field": "q", "corrupt_field": "other", "target_field": "yes"}
    dataset = {"id": "qa", "split": "all", "foil_field": "no", **names}
    condition = the_condition(home, Path("m"), dataset=dataset)
    source = find_source(home / "corpora", condition)
    (row,) = examples_of(subject, condition, source, reading_of(condition)).rows
    assert subject.loaded.tokenizer.decode(row.target) == " red"
    wrong = the_condition(home, Path("m"), dataset={**dataset, "foil_field": "nope"})
    with pytest.raises(BadInput, match=r'qa.jsonl line 1: no key "nope"; did you mean "no"'):
        examples_of(subject, wrong, source, reading_of(wrong))


def test_answers_of_several_tokens_are_read_by_their_first(
    home: Path, subject: Subject, caplog: pytest.LogCaptureFixture
) -> None:
    """As the earlier lab did, but said and counted; under full_target the whole answer counts."""
    rows = [
        {"clean": "The fox is", "corrupt": "The river is", "target": " red fox", "foil": " blue"},
        {"clean": "The river is", "corrupt": "The fox is", "target": " blue", "foil": " red"},
    ]
    path = home / "corpora/long.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = {"id": "long", "split": "all"}
    first = the_condition(home, Path("m"), dataset=dataset)
    with caplog.at_level("WARNING", logger="whence"):
        examples = examples_of(subject, first, Source(path, None), reading_of(first))
    assert examples.multi_token == 1
    assert "1 rows have answers of several tokens; their first is read" in caplog.text
    full = the_condition(home, Path("m"), dataset=dataset, metric_span="full_target")
    examples = examples_of(subject, full, Source(path, None), reading_of(full))
    assert examples.multi_token == 0
    assert len(examples.rows[0].target) > 1


def test_what_decides_a_condition(home: Path) -> None:
    """Memory does not; everything else that can be said does."""
    base = deciding(the_condition(home, Path("m")))
    assert deciding(the_condition(home, Path("m"), memory_gb=9, device="cuda")) == base
    for change in (
        {"seeds": [1]},
        {"batch_size": 3},
        {"metrics": ["kl_div"]},
        {"max_seq_len": 9},
        {"positions": "first"},
        {"metric_span": "full_target"},
        {"prepend_bos": "never"},
        {"subsample": 3},
        {"dataset": {"id": "facts", "split": "all"}},
        {"verify_slice": {"n_examples": 1}},
    ):
        assert deciding(the_condition(home, Path("m"), **change)) != base, change


def test_a_seed_given_twice_counts_once(home: Path) -> None:
    assert reading_of(the_condition(home, Path("m"), seeds=[4, 4, 2])).seeds == (4, 2)


def test_errors_in_one_line() -> None:
    assert one_line(BadInput("file: wrong")) == "file: wrong"
    assert one_line(RuntimeError("several\nlines  here")) == "RuntimeError: several lines here"


def start(path: Path, out: Path) -> started.Started:
    """`whence heads run` in a process of its own."""
    code = (
        "import sys; from pathlib import Path; from whence.heads.run import RunConfig, run_plan\n"
        "run_plan(RunConfig(plan=Path(sys.argv[1]), output_dir=Path(sys.argv[2])))"
    )
    return started.python(code, path, out)


def test_killed_in_the_middle_of_a_condition(
    home: Path, probe_gpt2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL while the second condition sweeps: the first, and its finished layers, are kept."""
    corpus(home, "negation", range(8))
    plan = cross(probe_gpt2, {"type": "heads_zero", "heads": [0]}, seeds=[0])
    path = config(home, plan).plan
    out, partial = home / "out", home / "out.partial"
    start(path, out).kill_when(
        lambda: len(list(partial.glob(".scratch/neg/*/0*.parquet"))) >= KILLED_AT
    )
    shards = sorted(partial.glob(".scratch/neg/*/0*.parquet"))
    facts = partial / "conditions/facts/metrics/per_example.parquet"
    assert facts.is_file()
    kept = {path: path.stat().st_mtime_ns for path in (facts, *shards)}
    assert not out.exists()
    untouched: set[Path] = set()
    write_json = conditions.write_json

    def watching(path: Path, value: Any) -> None:
        untouched.update(p for p, at in kept.items() if p.exists() and p.stat().st_mtime_ns == at)
        write_json(path, value)  # the last one comes before the scratch folder goes

    monkeypatch.setattr(conditions, "write_json", watching)
    run_plan(config(home, plan))
    assert untouched == set(kept)
    run_plan(config(home, plan, output_dir=home / "whole"))
    for name in ("metrics/head_impact.parquet", "metrics/per_example.parquet"):
        ours, theirs = (pq.ParquetFile(folder / name).read() for folder in (out, home / "whole"))
        assert ours.equals(theirs)
    ours, theirs = (
        json.loads((folder / "metrics/summary.json").read_text())
        for folder in (out, home / "whole")
    )
    assert ours == theirs
