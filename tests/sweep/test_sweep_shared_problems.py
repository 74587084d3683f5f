"""Settings on the problems that all have: the intersection, one split, tables cut to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from whence.anchors.sentences import problems_of, read_sentences, write_sentences
from whence.anchors.splits import make_splits
from whence.anchors.study import StudyConfig
from whence.anchors.traces import read_traces
from whence.errors import BadInput
from whence.sweep.campaigns.anchors_shared import share_problems


def table(folder: Path, problems: list[int], unlabelled: tuple[int, ...] = ()) -> Path:
    folder.mkdir(parents=True)
    rows = [
        {
            "problem_id": str(problem),
            "chunk_idx": place,
            "num_chunks": 2,
            "chunk_text": f"Sentence {place} of {problem}.",
            "function_tag": "unknown",
            "importance_signed": None if problem in unlabelled else -0.1 * place,
        }
        for problem in problems
        for place in range(2)
    ]
    path = folder / "sentence_metadata.parquet"
    write_sentences(pd.DataFrame(rows), path)
    with (folder / "traces.jsonl").open("w") as file:
        for problem in problems:
            sentences = [f"Sentence {place} of {problem}." for place in range(2)]
            text = " ".join(sentences)
            line = {"problem_id": problem, "text": text, "sentences": sentences, "note": "kept"}
            file.write(json.dumps(line) + "\n")
    return path


def study(path: Path, home: Path, **dataset: Any) -> StudyConfig:
    settings = {"dataset": {"metadata": path, **dataset}, "output_dir": home / "runs" / "planned"}
    return StudyConfig.model_validate(settings)


def test_every_setting_gets_the_common_problems_and_one_split(tmp_path: Path) -> None:
    home = tmp_path / "sweep"
    one = study(table(tmp_path / "one", [1, 2, 3, 4, 5, 6, 30]), home)
    other = study(table(tmp_path / "two", [2, 3, 4, 5, 6, 7, 30], unlabelled=(6,)), home)
    placed, told = share_problems([one, other], home, False)
    common = ["2", "3", "4", "5", "30"]
    assert told == {"in_common": 5, "problems": 5, "parts": {"train": 3, "val": 1, "test": 1}}
    by_hand = make_splits(common, 0, 0.15, 0.15)
    for config in placed:
        assert config.dataset.metadata is not None
        assert problems_of(read_sentences(config.dataset.metadata)) == common
        beside = config.dataset.metadata.with_name("traces.jsonl")
        assert [trace.problem_id for trace in read_traces(beside)] == common
        assert json.loads(beside.read_text().splitlines()[0])["note"] == "kept"
        written = json.loads(Path(str(config.paths.splits_json)).read_text())
        assert {part: [str(i) for i in ids] for part, ids in written.items()} == by_hand


def test_fewer_may_be_drawn_and_a_seed_draws_others(tmp_path: Path) -> None:
    home = tmp_path / "sweep"
    path = table(tmp_path / "one", list(range(20)))
    kept = []
    for seed in (0, 1):
        (config,), told = share_problems(
            [study(path, home, num_problems=6, seed=seed)], home, False
        )
        assert (told["in_common"], told["problems"]) == (20, 6)
        assert config.dataset.metadata is not None
        kept.append(problems_of(read_sentences(config.dataset.metadata)))
    assert kept[0] != kept[1]


def test_too_few_in_common_is_refused_with_the_numbers(tmp_path: Path) -> None:
    home = tmp_path / "sweep"
    one = study(table(tmp_path / "one", [1, 2, 3, 4]), home)
    other = study(table(tmp_path / "two", [3, 4, 5, 6, 7]), home)
    with pytest.raises(BadInput, match=r"2 problems .*has 4.*has 5"):
        share_problems([one, other], home, False)
