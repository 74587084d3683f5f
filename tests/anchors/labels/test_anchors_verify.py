"""`whence anchors verify`: what follows from the rollouts, what does not, and by how much."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from rollout_tree import FOLDERS, MODEL, SPLIT, TEMPERATURE, put, random_problem

from whence.__main__ import main
from whence.runs.jsonfile import read_json

CF, RESAMPLING = "counterfactual_importance_accuracy", "resampling_importance_accuracy"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for number in (1, 2, 3):
        random_problem(tmp_path / "t", number, chunks=8, each=20)
    return tmp_path / "t"


def make_index(tree: Path) -> Path:
    out = tree.with_name("I")
    assert main(["anchors", "index", "--root", str(tree), *FOLDERS, "--output-dir", str(out)]) == 0
    return out


def verify(index: Path, out: Path, *more: str) -> int:
    words = ["anchors", "verify", "--index", str(index), "--output-dir", str(out)]
    return main([*words, "--embedding-model", "tfidf", *more])


def shift(tree: Path, number: int, name: str, place: int, by: float) -> None:
    path = tree / MODEL / TEMPERATURE / SPLIT / f"problem_{number}" / "chunks_labeled.json"
    entries = read_json(path)
    entries[place][name] += by
    put(path, entries)


def comparable(out: Path, number: int, name: str) -> pd.DataFrame:
    table = pd.read_parquet(out / "compared.parquet")
    own = table[(table["problem_id"] == number) & (table["importance"] == name)]
    return own[own["difference"].notna()]


def test_published_numbers_that_follow(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "V"
    assert verify(make_index(tree), out) == 0
    said = capsys.readouterr().out
    assert "follow from the rollouts in all 3 problems" in said
    about = read_json(out / "verify.json")
    assert about["passed"]
    for problem in about["problems"]:
        found = problem["importances"]
        assert found[RESAMPLING]["largest"] < 1e-12
        assert found[CF]["largest"] < 1e-12
        assert found[CF]["number_there_missing_here"] == 0
        table = pd.read_parquet(out / "compared.parquet")
        own = table[
            (table["problem_id"] == int(problem["problem_id"])) & (table["importance"] == CF)
        ]
        only = own["recomputed"].isna() & (own["published"] == 0)
        assert found[CF]["zero_there_missing_here"] == only.sum() > 0
    assert verify(make_index(tree), out) == 0
    assert "Already verified" in capsys.readouterr().out


def test_one_number_that_does_not_follow(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence shifted by 0.5: exit code 1; mean and largest difference to the digit."""
    index, out = make_index(tree), tmp_path / "V"
    assert verify(index, tmp_path / "before") == 0
    place = int(comparable(tmp_path / "before", 2, RESAMPLING)["chunk_idx"].iloc[0])
    shift(tree, 2, RESAMPLING, place, 0.5)
    assert verify(index, out) == 1
    assert "do not follow from the rollouts in 1 of 3 problems (2;" in capsys.readouterr().out
    about = read_json(out / "verify.json")
    found = about["problems"][1]["importances"][RESAMPLING]
    assert found["verdict"] == "differs"
    assert found["largest"] == pytest.approx(0.5)
    assert found["mean"] == pytest.approx(0.5 / found["compared"])
    assert about["problems"][0]["importances"][RESAMPLING]["verdict"] == "agrees"
    assert verify(index, tmp_path / "W", "--tolerance", "0.2") == 0
    assert verify(index, tmp_path / "X", "--problem-ids", "1,3") == 0
    assert [
        each["problem_id"] for each in read_json(tmp_path / "X" / "verify.json")["problems"]
    ] == [
        "1",
        "3",
    ]


def test_a_number_where_nothing_can_be_recomputed_is_counted(tree: Path, tmp_path: Path) -> None:
    shift(tree, 1, CF, 7, 0.25)  # the last sentence: nothing follows it
    assert verify(make_index(tree), tmp_path / "V") == 0
    found = read_json(tmp_path / "V" / "verify.json")["problems"][0]["importances"][CF]
    assert found["number_there_missing_here"] == 1


def test_without_an_embedding_counterfactual_is_not_compared(tree: Path, tmp_path: Path) -> None:
    assert verify(make_index(tree), tmp_path / "V", "--embedding-model", "none") == 0
    overall = read_json(tmp_path / "V" / "verify.json")["overall"]
    assert overall[CF]["verdict"] == "not compared"
    assert overall[CF]["compared"] == 0
    assert overall[RESAMPLING]["verdict"] == "agrees"


def test_nothing_to_compare_with(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = make_index(tree)
    assert verify(index, tmp_path / "V", "--problem-ids", "9") == 2
    assert "--problem-ids 9: not in" in capsys.readouterr().err
    path = tree / MODEL / TEMPERATURE / SPLIT / "problem_1" / "chunks_labeled.json"
    put(path, [{"chunk": e["chunk"], "chunk_idx": e["chunk_idx"]} for e in read_json(path)])
    assert verify(index, tmp_path / "V", "--problem-ids", "1") == 1
    assert "Nothing could be judged" in capsys.readouterr().out
    path.unlink()
    assert verify(index, tmp_path / "W", "--problem-ids", "1") == 2
    assert "there is nothing to compare with" in capsys.readouterr().err
