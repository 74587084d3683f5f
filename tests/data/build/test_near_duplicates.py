"""Near-duplicates: all that brute force finds, and no other, with planted ones among them."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from whence.data.build import BuildConfig, build
from whence.data.build.near_duplicates import (
    MOST_MISSED,
    PERMUTATIONS,
    NearIndex,
    bands_for,
    compare_splits,
    sample_rows,
)
from whence.runs.jsonfile import read_json

INSTRUCTIONS = "USER: you are playing a game of words and have to find the one that is meant here"
WORDS = [f"w{i}" for i in range(400)]


def texts(rng: np.random.Generator, rows: int) -> list[str]:
    return [" ".join(rng.choice(WORDS, rng.integers(20, 60))) for _ in range(rows)]


def changed(rng: np.random.Generator, text: str, words: int) -> str:
    parts = text.split()
    for at in rng.choice(len(parts), words, replace=False):
        parts[at] = f"new{rng.integers(1000)}"
    return " ".join(parts)


def table(prefix: str, prompts: list[str]) -> pa.Table:
    return pa.table(
        {
            "row_id": [f"{prefix}{i}" for i in range(len(prompts))],
            "prompt": [f"{INSTRUCTIONS} {prompt}" for prompt in prompts],
            "completion": ["yes it is"] * len(prompts),
        }
    )


def shingle_sets(rows: pa.Table) -> list[set[tuple[str, ...]]]:
    """Brute force: 5 words in a row, without any that the instructions have a word of."""
    sets = []
    for prompt, completion in zip(
        rows["prompt"].to_pylist(), rows["completion"].to_pylist(), strict=True
    ):
        words = f"{prompt} {completion}".lower().replace(":", "").split()
        whole = {tuple(words[i : i + 5]) for i in range(len(words) - 4)}
        sets.append({s for s in whole if not set(s) <= COMMON})
    return sets


COMMON = set(INSTRUCTIONS.lower().replace(":", "").split())


@pytest.mark.parametrize("threshold", [0.5, 0.8, 1.0])
def test_the_pairs_of_brute_force_and_no_others(threshold: float) -> None:
    rng = np.random.default_rng(7)
    held = texts(rng, 120)
    copies = [changed(rng, held[i], words) for i in range(60) for words in (0, 1, 2, 4)]
    train = table("t", texts(rng, 200) + copies)
    query, evaluation = table("q", held[:50]), table("e", [*held[50:], changed(rng, held[3], 1)])
    splits = {"train_base": train, "score_pool": train, "attr_query": query, "eval": evaluation}
    known = pa.concat_tables([query, evaluation])
    index = NearIndex(known, [sample_rows(train, np.arange(train.num_rows)), known], threshold)
    found = compare_splits(index, splits, ("attr_query", "eval"), None)

    expected = {}
    for a, b in (("train_base", "attr_query"), ("train_base", "eval"), ("attr_query", "eval")):
        sets = shingle_sets(splits[a]), shingle_sets(splits[b])
        for (i, one), (j, other) in product(*map(enumerate, sets)):
            similarity = len(one & other) / len(one | other)
            if similarity >= threshold:
                expected[a, splits[a]["row_id"][i].as_py(), b, splits[b]["row_id"][j].as_py()] = (
                    similarity
                )
    assert len(expected) > 50
    pairs = {tuple(row.values())[:4]: row["similarity"] for row in found.pairs.to_pylist()}
    assert set(pairs) == set(expected)
    assert pairs == pytest.approx(expected)
    assert found.pairs["similarity"].to_pylist() == sorted(pairs.values(), reverse=True)
    compared = found.report["compared"]
    assert set(compared) == {"train_base&attr_query", "train_base&eval", "attr_query&eval"}
    for name, one in compared.items():
        a, b = name.split("&")
        mine = [key for key in expected if (key[0], key[2]) == (a, b)]
        assert one["pairs"] == one["pairs_listed"] == len(mine)
        assert one[a]["with_near_duplicate"] == len({key[1] for key in mine})
        assert one[b]["with_near_duplicate"] == len({key[3] for key in mine})
        assert one[b]["share"] == pytest.approx(len({k[3] for k in mine}) / splits[b].num_rows)


def test_bands_miss_no_more_than_they_may() -> None:
    for threshold in (0.3, 0.5, 0.8, 0.95, 1.0):
        bands, rows = bands_for(threshold)
        assert bands * rows <= PERMUTATIONS
        assert (1 - threshold**rows) ** bands <= MOST_MISSED
    assert bands_for(0.8) == (25, 5)
    assert bands_for(0.001) == (128, 1)


def test_rows_that_are_all_alike_have_nothing_of_their_own() -> None:
    same = table("t", ["the very same words in every row of it"] * 30)
    index = NearIndex(same, [same], 0.8)
    pairs, empty = index.search(same)
    assert (len(pairs.searched), empty) == (0, 30)
    assert len(index.without_own_text) == 30


def written(path: Path, prompts: list[str]) -> Path:
    frame = pd.DataFrame({"prompt": prompts, "completion": [f"c{i}" for i in range(len(prompts))]})
    frame.to_json(path, orient="records", lines=True)
    return path


def test_build_says_what_leaks_and_drops_it_on_request(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    held = texts(rng, 40)
    train = written(tmp_path / "train.jsonl", [*texts(rng, 60), *held[:30]])
    test = written(tmp_path / "test.jsonl", held)
    sizes = {"query_size": 20, "eval_size": 20, "train_size": 60}
    plain = build(
        BuildConfig(
            run_dir=tmp_path / "a", train_file=train, test_file=test, **{**sizes, "train_size": 90}
        )
    )
    report = read_json(tmp_path / "a/near_duplicates.json")
    found = {name: one["pairs"] for name, one in report["compared"].items()}
    assert sum(found.values()) == found["train_base&attr_query"] + found["train_base&eval"] == 30
    leaked = found["train_base&eval"]
    assert f"{leaked} of 20 eval rows have a near-duplicate in train_base." in (
        plain.finding().headline
    )
    assert plain.finding().files["near-duplicates"].is_file()
    pairs = pd.read_parquet(tmp_path / "a/near_duplicates.parquet")
    assert len(pairs) == 30
    assert "dropped_from_training" not in report

    config = BuildConfig(
        run_dir=tmp_path / "b",
        train_file=train,
        test_file=test,
        drop_near_duplicates=True,
        **sizes,
    )
    clean = build(config)
    report = read_json(tmp_path / "b/near_duplicates.json")
    assert report["dropped_from_training"] == 30
    assert all(one["pairs"] == 0 for one in report["compared"].values())
    assert "30 near-duplicates of query and eval rows may not train." in clean.finding().headline
    prompts = set(pd.read_parquet(tmp_path / "b/data/train_base.parquet")["prompt"])
    assert not prompts & set(held)
    # Which rows evaluate does not depend on what is dropped.
    for name in ("eval", "attr_query"):
        kept = [(tmp_path / run / f"data/{name}.parquet").read_bytes() for run in ("a", "b")]
        assert kept[0] == kept[1]
    with pytest.raises(Exception, match="60 are left to it, 30 near-duplicates of query and eval"):
        build(config.model_copy(update={"train_size": 61, "run_dir": tmp_path / "c"}))
    off = build(
        config.model_copy(
            update={
                "near_duplicates": False,
                "drop_near_duplicates": False,
                "run_dir": tmp_path / "d",
            }
        )
    )
    assert not (tmp_path / "d/near_duplicates.json").exists()
    assert "near" not in off.finding().headline


def test_one_file_drops_from_what_is_left(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    base = texts(rng, 40)
    file = written(tmp_path / "all.jsonl", [*base, *base])
    build(
        BuildConfig(
            run_dir=tmp_path / "r",
            train_file=file,
            train_size=None,
            query_size=5,
            eval_size=5,
            drop_near_duplicates=True,
        )
    )
    report = read_json(tmp_path / "r/near_duplicates.json")
    assert report["compared"]["train_base&eval"]["pairs"] == 0
    splits = {
        name: pd.read_parquet(tmp_path / f"r/data/{name}.parquet")["prompt"]
        for name in ("train_base", "attr_query", "eval")
    }
    held = [*splits["attr_query"], *splits["eval"]]
    assert len(splits["train_base"]) == 80 - 2 * len(set(held))
    assert not set(splits["train_base"]) & set(held)


def test_a_prompt_of_eval_that_is_answered_otherwise_is_said(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    prompts, answers = texts(rng, 12), texts(rng, 24)
    rows = pd.DataFrame({"prompt": prompts * 2, "completion": answers})
    for name, part in (("train", rows[:12]), ("test", rows[12:])):
        part.to_json(tmp_path / f"{name}.jsonl", orient="records", lines=True)
    files = {f"{name}_file": tmp_path / f"{name}.jsonl" for name in ("train", "test")}
    sizes = {"train_size": 12, "query_size": 5, "eval_size": 7}
    result = build(BuildConfig(run_dir=tmp_path / "r", **files, **sizes))
    said = result.finding().headline
    assert "7 prompts of eval are in train_base too, answered otherwise." in said
    assert "5 prompts of attr_query are in train_base too, answered otherwise." in said
    assert "score_pool" not in said
