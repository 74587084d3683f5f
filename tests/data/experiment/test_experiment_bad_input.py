"""What cannot be done is refused in one line, with exit code 2, before a model is loaded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from whence.__main__ import main
from whence.runs.jsonfile import read_json, write_json, write_jsonl

ARMS = ["top=top:12", "chance=matched_random:of=top"]


@pytest.fixture(scope="module")
def built(games: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data/manifest.json` and `data/withheld.parquet`."""
    home = tmp_path_factory.mktemp("built")
    words = "--train-size 60 --query-size 12 --eval-size 16 --withhold kind".split()
    files = ["--train-file", games / "games/pool.jsonl", "--test-file", games / "games/test.jsonl"]
    assert main(["data", "build", *map(str, files), *words, "--run-dir", f"{home}/data"]) == 0
    return home


@pytest.fixture
def folder(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to spoil, worked in; loading a model in it is an error of the test."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("whence.models.load.load_model", never)
    shutil.copytree(built / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(
    folder: Path, capsys: pytest.CaptureFixture[str], settings: dict[str, object], *flags: str
) -> str:
    """The one line that an experiment with these settings is refused with."""
    planted = {"file": "data/withheld.parquet"}
    given = {"manifest": "data/manifest.json", "base_model": "tiny", "arms": ARMS}
    given |= {"planted": planted, "output_dir": "run", **settings}
    kept = {key: value for key, value in given.items() if value is not None}
    (folder / "experiment.yaml").write_text(yaml.safe_dump(kept))
    before = sorted(folder.rglob("*"))
    assert main(["data", "experiment", "experiment.yaml", *flags]) == 2
    assert sorted(folder.rglob("*")) == before, "something was written"
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if line]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert not said.out
    return lines[0]


MISTAKES: dict[str, tuple[dict[str, object], str]] = {
    "no such arm": ({"arms": ["tpo:12"]}, 'did you mean "top"'),
    "arm without a number": ({"arms": ["top"]}, "--arm top: not of the form"),
    "two arms of one name": ({"arms": ["top:3", "top:3"]}, 'two arms are called "top_3"'),
    "arm called base": ({"arms": ["base=top:3"]}, "an arm that every experiment has"),
    "arm called oracle": ({"arms": ["oracle=top:3"]}, "an arm that every experiment has"),
    "nothing to match": ({"arms": ["matched_random"]}, "needs one arm to match"),
    "more than the pool": ({"arms": ["top:61"]}, "needs 61 ranked rows, the pool has 60"),
    "no room for the control": ({"arms": ["top:31", "matched_random"]}, "leaves 29"),
    "no arms": ({"arms": []}, "experiment.yaml: arms: "),
    "unknown comparison": ({"compare": ["top/bottom"]}, "compare top/bottom: expected ARM/CONTROL"),
    "no such column": ({"match_on": ["colour"]}, "--match-on colour: the pool has no such column"),
    "no such split": ({"eval_split": "evl"}, 'no split "evl"; did you mean "eval"'),
    "no such scoring split": ({"scoring_split": "train"}, 'did you mean "train_base"'),
    "manifest that is not there": ({"manifest": "m.json"}, "m.json: no such manifest"),
    "neither manifest nor build": ({"manifest": None}, "manifest, build: neither is given"),
    "manifest and build": ({"build": {"run_dir": "b"}}, "manifest, build: both are given"),
    "a seed twice": ({"seeds": [1, 2, 1]}, "a repeated seed is no replication"),
    "no seed": ({"seeds": []}, "seeds"),
    "two lengths": ({"score": {"max_length": 64}}, "score.max_length: set max_length itself"),
    "no room for a prompt": (
        {"judges": ["words"], "max_length": 16},
        "max_length 16: leaves no room for a prompt beside max_new_tokens 16",
    ),
    "unknown nested key": ({"optim": {"learning_rat": 1}}, "did you mean learning_rate?"),
    "unknown key": ({"seedz": [1]}, "seedz: no such key; did you mean seeds?"),
    "key of a section": ({"learning_rate": 1}, "did you mean optim.learning_rate?"),
    "key of another section": ({"lora": {"rank": 4}}, "experiment.yaml: lora.rank: no such key"),
    "no planted file": ({"planted": {"file": "k.parquet"}}, "k.parquet: no such file"),
    "oracle larger than useful": (
        {"planted": {"file": "data/withheld.parquet", "oracle": 13}},
        "planted.oracle 13: only 12 rows of the pool are useful",
    ),
    "useful kind that is not": (
        {"planted": {"file": "data/withheld.parquet", "useful": ["usefull"]}},
        'did you mean "useful"',
    ),
    "no such ranking": (
        {"arms": ["top:3:by=bm52"]},
        '--arm top:3:by=bm52: no ranking "bm52"; did you mean "bm25"',
    ),
    "no predictor": ({"arms": ["top:3:by=predictor"]}, "give it as --rankings predictor=FOLDER"),
    "no such column to rank by": (
        {"arms": ["top:3:by=column:difficulty"]},
        'the split score_pool has no column "difficulty"',
    ),
    "ranking that is not there": (
        {"arms": ["top:3:by=p"], "rankings": {"p": "p.parquet"}},
        "p.parquet: no such file or folder",
    ),
    "no queries to be like": (
        {"arms": ["top:3:by=bm25"], "query_split": "queries", "scores": "data/withheld.parquet"},
        "--arm top:3:by=bm25: needs rows that say what is wanted, and",
    ),
    "more than a ranking has": (
        {"arms": ["top:61:by=length"]},
        "--arm top:61:by=length: needs 61 ranked rows",
    ),
    "model that is not there": ({"base_model": "./nowhere"}, 'no model folder "./nowhere"'),
    "adapter that is not there": ({"scoring_adapter": "a"}, "a: no such file or folder"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_in_one_line(
    mistake: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, told = MISTAKES[mistake]
    assert told in refusal(folder, capsys, settings)


def test_a_flag_is_held_to_the_same_rules(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "a repeated seed" in refusal(folder, capsys, {}, "--seeds", "3", "3")
    assert "--learning-rate" in refusal(folder, capsys, {}, "--learning-rate", "fast")


def test_a_pool_row_without_a_kind(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import pyarrow.parquet as pq

    kinds = pq.read_table(folder / "data/withheld.parquet").to_pylist()
    pool = pq.read_table(folder / "data/data/train_base.parquet")["row_id"].to_pylist()
    write_jsonl(folder / "kinds.jsonl", [row for row in kinds if row["row_id"] != pool[3]])
    told = refusal(folder, capsys, {"planted": {"file": "kinds.jsonl"}})
    assert f'kinds.jsonl: no kind for row_id "{pool[3]}" of the pool' in told


def test_scores_of_another_pool(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_jsonl(folder / "scores.jsonl", [{"row_id": f"x{i}", "score": i} for i in range(60)])
    told = refusal(folder, capsys, {"scores": "scores.jsonl"})
    assert "these scores are not of the split score_pool" in told


def test_a_ranking_of_another_pool(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_jsonl(folder / "other.jsonl", [{"row_id": f"x{i}", "score": i} for i in range(60)])
    told = refusal(
        folder, capsys, {"arms": ["top:3:by=other"], "rankings": {"other": "other.jsonl"}}
    )
    assert "other.jsonl: these scores are not of the split score_pool" in told


def test_a_score_that_is_no_number(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "scores.jsonl").write_text('{"row_id": "a", "score": NaN}\n')
    assert "not a finite number" in refusal(folder, capsys, {"scores": "scores.jsonl"})


def test_an_eval_split_without_rows_or_words(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    manifest, file = read_json(folder / "data/manifest.json"), folder / "data/data/eval.parquet"
    rows = pq.read_table(file)
    silent = pa.array(["I do not know"] * rows.num_rows)
    place = rows.column_names.index("completion")
    pq.write_table(rows.set_column(place, "completion", silent), file)
    told = refusal(folder, capsys, {"judges": ["words"]})
    assert 'no target word; expected a column target_word or "GUESS: word"' in told
    pq.write_table(rows.slice(0, 0), file)
    manifest["splits"]["eval"]["rows"] = 0
    write_json(folder / "data/manifest.json", manifest)
    assert "the split eval has no rows" in refusal(folder, capsys, {})


def test_a_build_that_fails_leaves_nothing(
    games: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    build = {
        "run_dir": "data",
        "train_file": str(games / "games/pool.jsonl"),
        "test_file": str(games / "games/test.jsonl"),
        "train_size": 61,
        "query_size": 12,
        "eval_size": 16,
    }
    told = refusal(tmp_path, capsys, {"manifest": None, "build": build, "planted": None})
    assert "--train-size 61 asks for" in told
