"""`whence anchors labels` as a user meets it: from files, rollouts, tables and traces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import started
from rollout_tree import FOLDERS, MODEL, SPLIT, TEMPERATURE, put, random_problem

from whence.__main__ import main
from whence.anchors.labels.names import IMPORTANCES, SIGNS
from whence.anchors.sentences import read_sentences
from whence.anchors.targets import target_of
from whence.anchors.traces import read_traces
from whence.runs.jsonfile import read_json, read_jsonl, write_jsonl

CF, RESAMPLING = "counterfactual_importance_accuracy", "resampling_importance_accuracy"
BY_ROLLOUTS = ("--source", "rollouts", "--embedding-model", "tfidf")


def make_index(root: Path, out: Path, *more: str) -> Path:
    words = ["anchors", "index", "--root", str(root), *FOLDERS, "--output-dir", str(out)]
    assert main([*words, *more]) == 0
    return out


def run(out: Path, *more: str | Path) -> int:
    return main(["anchors", "labels", "--output-dir", str(out), *map(str, more)])


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("labels") / "math-rollouts"
    for number, chunks in ((330, 9), (12, 6), (1591, 12), (7, 8)):
        random_problem(root, number, chunks=chunks, each=20)
    return root


@pytest.fixture(scope="module")
def index(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_index(tree, tmp_path_factory.mktemp("index") / "I")


def entries(tree: Path, number: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_json(
        tree / MODEL / TEMPERATURE / SPLIT / f"problem_{number}" / "chunks_labeled.json"
    )
    return found


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != "whence.json"
    }


def test_published_labels_are_what_the_files_say(
    tree: Path, index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "L"
    assert run(out, "--index", index, "--zeros", "keep") == 0
    said = capsys.readouterr().out
    assert "negative where the sentence helps" in said
    assert "cannot be told here" in said
    frame = read_sentences(out / "sentence_metadata.parquet")
    for number in (330, 12, 1591, 7):
        own = frame[frame["problem_id"] == str(number)]
        published = entries(tree, number)[:-1]  # the last one is dropped
        assert own["chunk_text"].tolist() == [entry["chunk"] for entry in published]
        for name in (CF, RESAMPLING, "forced_importance_accuracy", "accuracy"):
            assert own[name].tolist() == [entry[name] for entry in published]
        assert own["importance_signed"].tolist() == [entry[CF] for entry in published]
        assert set(own["num_chunks"]) == {len(published)}
    assert frame["importance_se"].isna().all()
    assert f"{CF}_se" not in frame.columns  # a column that says nothing is left out
    traces = {trace.problem_id: trace for trace in read_traces(out / "traces.jsonl")}
    assert traces["12"].text.startswith("User: What is 12 plus one?")
    texts = frame[frame["problem_id"] == "12"]["chunk_text"]
    assert traces["12"].sentences == tuple(texts)
    assert traces["12"].text[: traces["12"].start].endswith("What is 12 plus one?")
    assert read_json(out / "splits.json") == read_json(index / "splits.json")
    assert read_json(out / "summary.json")["dropped_last"] == 4


def test_a_zero_without_a_comparison_is_missing_and_says_why(
    tree: Path, index: Path, tmp_path: Path
) -> None:
    out = tmp_path / "L"
    assert run(out, "--index", index, "--no-drop-last-chunk") == 0
    frame = read_sentences(out / "sentence_metadata.parquet").set_index(["problem_id", "chunk_idx"])
    for number in (330, 12, 1591, 7):
        published = entries(tree, number)
        for place, entry in enumerate(published):
            row = frame.loc[(str(number), place)]
            last = place == len(published) - 1
            nothing = entry["different_trajectories_fraction"] == 0
            assert np.isnan(row[CF]) == (last or nothing)
            if last or nothing:
                why = "no later sentence with rollouts" if last else "no dissimilar rollout"
                assert row["importance_missing"] == why
            assert np.isnan(row[RESAMPLING]) == last
    summary = read_json(out / "summary.json")
    missing = frame["importance_signed"].isna()
    assert sum(summary["missing"].values()) == missing.sum()
    assert summary["labelled"] == (~missing).sum()
    assert summary["sign"] == SIGNS[CF]
    assert run(tmp_path / "M", "--index", index, "--zeros", "missing") == 0
    label = read_sentences(tmp_path / "M" / "sentence_metadata.parquet")["importance_signed"]
    assert not (label == 0).any()


def test_rollouts_give_standard_errors_and_no_zero_without_a_comparison(
    tree: Path, index: Path, tmp_path: Path
) -> None:
    out = tmp_path / "L"
    assert run(out, "--index", index, *BY_ROLLOUTS, "--importance", RESAMPLING) == 0
    frame = read_sentences(out / "sentence_metadata.parquet")
    assert (frame["importance_signed"].isna() == frame["importance_se"].isna()).all()
    assert (frame["importance_se"].dropna() > 0.05).all()
    for name in IMPORTANCES:
        known = frame[name].notna()
        assert known.any()
        assert frame.loc[~known, f"{name}_se"].isna().all()
    number = 1591
    own = frame[frame["problem_id"] == str(number)]
    published = [entry[CF] for entry in entries(tree, number)[:-1]]
    for ours, theirs in zip(own[CF], published, strict=True):
        assert theirs == 0 if np.isnan(ours) else ours == pytest.approx(theirs)
    summary = read_json(out / "summary.json")
    assert "Agresti" in summary["standard_error_method"]
    assert summary["importances"][CF]["missing"]
    assert summary["importance"] == RESAMPLING


def test_numbers_with_gaps_become_places(tree: Path, tmp_path: Path) -> None:
    """A short chunk has no label; places count on without it, and the number is kept."""
    random_problem(tmp_path / "t", 1, chunks=6, each=5)
    where = tmp_path / "t" / MODEL / TEMPERATURE / SPLIT / "problem_1" / "chunks_labeled.json"
    labelled = read_json(where)
    del labelled[2]
    put(where, labelled)
    index = make_index(tmp_path / "t", tmp_path / "I")
    assert run(tmp_path / "L", "--index", index) == 0
    frame = read_sentences(tmp_path / "L" / "sentence_metadata.parquet")
    assert frame["chunk_idx"].tolist() == [0, 1, 2, 3]
    assert frame["source_chunk_idx"].tolist() == [0, 1, 3, 4]
    assert not (tmp_path / "L" / "splits.json").exists()


@pytest.mark.parametrize("setting", ["llama_correct", "qwen_correct"])
def test_the_earlier_studys_table_comes_back(
    shared_data: Path, tmp_path: Path, setting: str
) -> None:
    """Labels equal to the bit, anchors made again equal the stored ones, the splits are kept."""
    given = shared_data / "thought-anchors" / setting / "sentence_metadata.parquet"
    splits = shared_data / "thought-anchors" / "splits.json"
    out = tmp_path / "L"
    assert run(out, "--from-metadata", given, "--splits", splits) == 0
    theirs, ours = pd.read_parquet(given), pd.read_parquet(out / "sentence_metadata.parquet")
    for name in ("problem_id", "chunk_idx", "num_chunks", "chunk_text", "function_tag",
                 "importance_signed", "importance_score", "relative_position", "token_count",
                 "token_start"):  # fmt: skip
        assert ours[name].equals(theirs[name])
        assert ours[name].dtype == theirs[name].dtype
    frame = read_sentences(out / "sentence_metadata.parquet")
    assert target_of(frame, "anchor_binary").tolist() == theirs["anchor"].tolist()
    assert not {"anchor", "layer_index", "embedding_row", "importance_missing"} & set(ours.columns)
    traces = {trace.problem_id: trace for trace in read_traces(out / "traces.jsonl")}
    assert len(traces) == 20
    for problem, own in frame.groupby("problem_id"):
        assert traces[str(problem)].sentences == tuple(own["chunk_text"])
    assert read_jsonl(out / "traces.jsonl")[0]["text_from"] == "sentences"
    assert read_json(out / "splits.json") == read_json(splits)
    zeros = (theirs["importance_signed"] == 0).mean()
    summary = read_json(out / "summary.json")
    assert summary["zeros"]["share"] == pytest.approx(zeros)
    assert 0.2 < zeros < 0.4
    assert "cannot be told" in summary["zeros"]["note"]
    assert run(tmp_path / "M", "--from-metadata", given, "--zeros", "missing") == 0
    summary = read_json(tmp_path / "M" / "summary.json")
    assert summary["missing"] == {"stored as exactly 0": round(zeros * len(theirs))}


def test_its_own_table_can_be_labelled_by_another_importance(index: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "L", tmp_path / "M"
    assert run(first, "--index", index, *BY_ROLLOUTS) == 0
    table = first / "sentence_metadata.parquet"
    assert run(second, "--from-metadata", table, "--importance", RESAMPLING) == 0
    before = read_sentences(table)
    after = read_sentences(second / "sentence_metadata.parquet")
    assert after["importance_signed"].equals(before[RESAMPLING])
    assert after["importance_se"].equals(before[f"{RESAMPLING}_se"])
    missing = after["importance_signed"].isna()
    assert set(after.loc[missing, "importance_missing"]) == {"no label in the input"}
    assert run(tmp_path / "N", "--from-metadata", table) == 0
    again = read_sentences(tmp_path / "N" / "sentence_metadata.parquet")
    assert again["importance_missing"].equals(before["importance_missing"])
    # the texts beside a table are its texts; without them its sentences are joined
    assert (tmp_path / "N" / "traces.jsonl").read_bytes() == (first / "traces.jsonl").read_bytes()
    (first / "traces.jsonl").unlink()
    assert run(tmp_path / "O", "--from-metadata", table) == 0
    joined = read_jsonl(tmp_path / "O" / "traces.jsonl")
    assert {line["text_from"] for line in joined} == {"sentences"}
    third = tmp_path / "O" / "sentence_metadata.parquet"
    assert run(tmp_path / "P", "--from-metadata", third) == 0
    assert read_jsonl(tmp_path / "P" / "traces.jsonl") == joined


def test_traces_with_their_own_labels(tmp_path: Path) -> None:
    lines = [
        {
            "problem_id": f"p{number}",
            "text": "Add. One and one. Two.",
            "sentences": [
                {"text": "One and one.", "importance": 0.5, "importance_se": 0.1},
                {"text": "Two.", "importance": 0 if number else None},
            ],
        }
        for number in range(3)
    ]
    write_jsonl(tmp_path / "t.jsonl", lines)
    assert run(tmp_path / "L", "--traces", tmp_path / "t.jsonl") == 0
    frame = read_sentences(tmp_path / "L" / "sentence_metadata.parquet")
    assert frame["importance_signed"].isna().tolist() == [False, True] + [False] * 4
    assert frame["importance_se"].tolist()[0] == 0.1
    assert frame["importance_missing"].iloc[1] == "no label in the input"
    assert read_json(tmp_path / "L" / "summary.json")["sign"] == "as given"
    assert read_json(tmp_path / "L" / "splits.json").keys() == {"train", "val", "test"}


def test_planted_labels_and_token_places_of_the_tiny_world(tmp_path: Path) -> None:
    words = ["tiny", "make", "--kind", "traces", "--count", "4", "--out", str(tmp_path / "T")]
    assert main(words) == 0
    traces = tmp_path / "T" / "traces.jsonl"
    flags = ("--label-key", "decisive", "--tokenizer", "tiny")
    assert run(tmp_path / "L", "--traces", traces, *flags) == 0
    frame = read_sentences(tmp_path / "L" / "sentence_metadata.parquet")
    planted = [s["decisive"] for line in read_jsonl(traces) for s in line["sentences"]]
    assert frame["importance_signed"].tolist() == [float(each) for each in planted]
    from whence.models.load import load_tokenizer

    tokenizer = load_tokenizer("tiny")
    texts = {trace.problem_id: trace.text for trace in read_traces(traces)}
    for row in frame.itertuples():
        ids = tokenizer(texts[row.problem_id], add_special_tokens=False)["input_ids"]
        assert row.chunk_text in tokenizer.decode(ids[row.token_start : row.token_end])
        assert row.token_count == row.token_end - row.token_start


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), "give one of --index, --from-metadata and --traces"),
        (("--index", "{index}", "--traces", "x"), "give one of"),
        (("--traces", "{traces}", "--source", "rollouts"), "source rollouts needs index"),
        (("--index", "{index}", *BY_ROLLOUTS, "--zeros", "missing"), "a 0 was measured"),
        (
            ("--index", "{index}", "--source", "rollouts", "--embedding-model", "none"),
            "leaves counterfactual importance out",
        ),
        (("--index", "{traces}"), "make it with `whence anchors index`"),
        (("--traces", "{traces}", "--label-key", "weight"), "no sentence has it"),
        (("--traces", "{bad}"), "line 1 sentence 0: importance is 'much'"),
        (("--from-metadata", "{traces}"), "chunk_text"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(
    index: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: tuple[str, ...],
    said: str,
) -> None:
    sentence = {"text": "One and one."}
    write_jsonl(tmp_path / "t.jsonl", [{"problem_id": 1, "sentences": [sentence]}])
    bad = [{"problem_id": 1, "sentences": [sentence | {"importance": "much"}]}]
    write_jsonl(tmp_path / "bad.jsonl", bad)
    places = {
        "index": index, "traces": tmp_path / "t.jsonl", "bad": tmp_path / "bad.jsonl"
    }  # fmt: skip
    assert run(tmp_path / "L", *(flag.format(**places) for flag in flags)) == 2
    error = capsys.readouterr().err
    assert said in error
    assert not (tmp_path / "L").exists()


def test_bad_files_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random_problem(tmp_path / "t", 1, chunks=5, each=5)
    index = make_index(tmp_path / "t", tmp_path / "I")
    here = tmp_path / "t" / MODEL / TEMPERATURE / SPLIT / "problem_1"
    labelled = entries(tmp_path / "t", 1)
    put(here / "chunks_labeled.json", [labelled[0] | {CF: "much"}, *labelled[1:]])
    assert run(tmp_path / "L", "--index", index) == 2
    assert f"problem_1/chunks_labeled.json chunk 0: {CF} is 'much'" in capsys.readouterr().err
    (here / "chunk_0" / "solutions.json").write_text("[{")
    assert run(tmp_path / "L", "--index", index, *BY_ROLLOUTS) == 2
    assert "chunk_0/solutions.json: not JSON at line 1" in capsys.readouterr().err
    (here / "chunks_labeled.json").unlink()
    assert run(tmp_path / "L", "--index", index) == 2
    assert "use --source rollouts" in capsys.readouterr().err


def test_the_same_again_is_done_and_changed_rollouts_are_not_reused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random_problem(tmp_path / "t", 1, chunks=5, each=5)
    index = make_index(tmp_path / "t", tmp_path / "I")
    assert run(tmp_path / "L", "--index", index, *BY_ROLLOUTS) == 0
    before = contents(tmp_path / "L")
    assert run(tmp_path / "L", "--index", index, *BY_ROLLOUTS) == 0
    assert "Already labelled" in capsys.readouterr().out
    changed = tmp_path / "t" / MODEL / TEMPERATURE / SPLIT / "problem_1" / "chunk_0"
    rollouts = read_json(changed / "solutions.json")
    put(changed / "solutions.json", [{**each, "is_correct": True} for each in rollouts])
    assert run(tmp_path / "L", "--index", index, *BY_ROLLOUTS) == 2
    assert "input files" in capsys.readouterr().err
    assert run(tmp_path / "L", "--index", index, *BY_ROLLOUTS, "--overwrite") == 0
    assert contents(tmp_path / "L") != before


def test_killed_halfway_it_goes_on_and_ends_in_the_same_bytes(tmp_path: Path) -> None:
    for number in range(1, 9):
        random_problem(tmp_path / "t", number, chunks=12, each=60)
    index = make_index(tmp_path / "t", tmp_path / "I")
    out = tmp_path / "L"
    words = ["anchors", "labels", "--index", str(index), *BY_ROLLOUTS, "--output-dir", str(out)]
    problems = tmp_path / "L.partial" / ".scratch" / "problems"
    started.whence(*words).kill_when(lambda: len(list(problems.glob("problem_*.json"))) >= 3)
    shards = list(problems.glob("problem_*.json"))
    assert not out.exists()
    kept = {path: path.stat().st_mtime_ns for path in shards}
    assert 3 <= len(kept) < 8
    untouched: set[Path] = set()
    from whence.anchors.labels import write as module

    write = module.write_json

    def watching(path: Path, value: Any) -> None:
        untouched.update(p for p, at in kept.items() if p.exists() and p.stat().st_mtime_ns == at)
        write(path, value)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "write_json", watching)
        assert main(words) == 0
    assert untouched == set(kept)
    assert main([*words[:-1], str(tmp_path / "whole")]) == 0
    assert contents(out) == contents(tmp_path / "whole")
