"""Rankings of a pool by name, each against the plainest computation of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from whence.data.arms import parse_arms
from whence.data.rankings import (
    Sources,
    asked_rankings,
    check_rankings,
    is_predictor,
    make_rankings,
    mean_similarity,
    needs_queries,
    ranked_by,
    ranking_inputs,
    trained_on,
)
from whence.errors import BadInput
from whence.runs.manifest import Split, load_manifest, write_manifest, write_split
from whence.runs.ranking import ranked_ids, read_ranking
from whence.text.bm25 import bm25_scores
from whence.text.embedding import open_embedder

N = 30
WORDS = "red fox river blue fish swims it is a bird sun moon".split()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`manifest.json` with a pool and queries; `scored/` and `predicted/` of the pool."""
    rng = np.random.default_rng(0)
    pool = pd.DataFrame(
        {
            "row_id": [f"p{i:02d}" for i in rng.permutation(N)],
            "prompt": [" ".join(rng.choice(WORDS, size=4)) for _ in range(N)],
            "completion": [" ".join(rng.choice(WORDS, size=rng.integers(1, 9))) for _ in range(N)],
            "reward": rng.normal(size=N),
            "level": rng.integers(0, 3, size=N),
            "gappy": pd.array([None, *range(1, N)], dtype="Int64"),
            "category": "math",
        }
    )
    query = pd.DataFrame({"row_id": ["q0", "q1"], "prompt": ["red fox", "the sun"]})
    query["completion"] = ["river", "a moon"]
    scores = pd.DataFrame({"row_id": pool["row_id"], "score": rng.normal(size=N)})
    scores["length_tokens"] = rng.integers(5, 9, size=N)
    scores["loss"] = rng.random(N)
    write_split(pool, tmp_path / "pool.parquet")
    write_split(query, tmp_path / "query.parquet")
    write_split(scores.sample(frac=1, random_state=1), tmp_path / "scored/scores.parquet")
    predicted = scores[["row_id"]].assign(score=rng.normal(size=N), part="train")
    predicted.loc[::3, "part"] = "test"
    write_split(predicted, tmp_path / "predicted/scores.parquet")
    (tmp_path / "predicted/row_scores.jsonl").write_text("{}\n")
    splits = {
        "score_pool": Split("score_pool", tmp_path / "pool.parquet", N),
        "attr_query": Split("attr_query", tmp_path / "query.parquet", 2),
    }
    write_manifest(tmp_path / "manifest.json", splits, {})
    return tmp_path


def sources(folder: Path, scores: str | None = "scored", **given: Any) -> Sources:
    manifest = load_manifest(folder / "manifest.json")
    pool = pd.read_parquet(folder / "pool.parquet")
    settings = {"query_split": "attr_query", "embedding_model": "tfidf"}
    return Sources(
        manifest, manifest.split("score_pool"), pool, scores and folder / scores, given, **settings
    )


def made(folder: Path, *names: str, scores: str = "scored", **given: Any) -> list[pd.DataFrame]:
    """The rankings of these names, checked first, indexed by row id."""
    asked = {name: f"--by {name}" for name in names}
    here, scored = sources(folder, scores, **given), read_ranking(folder / scores)
    check_rankings(asked, here, scored)
    found = make_rankings(asked, here, scored)
    assert list(found) == list(names)
    for ranking in found.values():
        assert sorted(ranking["row_id"]) == sorted(here.pool["row_id"])
        assert sorted(ranking["rank"]) == list(range(1, N + 1))
        # 1 is best, and rows that are equally good go by their ids.
        order = ranking.sort_values(["score", "row_id"], ascending=[False, True])
        assert order["row_id"].tolist() == ranked_ids(ranking)
    return [ranking.set_index("row_id") for ranking in found.values()]


def test_the_scores_and_their_columns(folder: Path) -> None:
    scored = read_ranking(folder / "scored").set_index("row_id")
    attribution, length, loss = made(folder, "attribution", "length", "loss")
    ids = scored.index
    assert attribution.loc[ids, "score"].tolist() == scored["score"].tolist()
    assert length.loc[ids, "score"].tolist() == scored["length_tokens"].tolist()
    assert loss.loc[ids, "score"].tolist() == scored["loss"].tolist()
    assert loss["rank"].idxmin() == scored["loss"].idxmax()


def test_length_without_tokens_is_in_words(folder: Path) -> None:
    bare = read_ranking(folder / "scored")[["row_id", "score"]]
    write_split(bare, folder / "bare.parquet")
    (length,) = made(folder, "length", scores="bare.parquet")
    pool = pd.read_parquet(folder / "pool.parquet").set_index("row_id")
    words = [len(f"{p} {c}".split()) for p, c in zip(pool.prompt, pool.completion, strict=True)]
    assert length.loc[pool.index, "score"].tolist() == words


def test_columns_of_the_pool(folder: Path) -> None:
    reward, level = made(folder, "column:reward", "column:level")
    pool = pd.read_parquet(folder / "pool.parquet").set_index("row_id")
    assert reward.loc[pool.index, "score"].tolist() == pool["reward"].tolist()
    assert level.loc[pool.index, "score"].tolist() == pool["level"].tolist()


def test_bm25_is_of_whole_texts_against_whole_queries(folder: Path) -> None:
    (bm25,) = made(folder, "bm25")
    pool = pd.read_parquet(folder / "pool.parquet")
    texts = [f"{p}\n\n{c}" for p, c in zip(pool.prompt, pool.completion, strict=True)]
    expected = bm25_scores(texts, ["red fox\n\nriver", "the sun\n\na moon"])
    assert bm25.loc[pool["row_id"], "score"].tolist() == expected.tolist()
    assert np.ptp(expected) > 0


def test_embedding_is_the_mean_cosine_by_brute_force(folder: Path) -> None:
    (embedding,) = made(folder, "embedding")
    pool = pd.read_parquet(folder / "pool.parquet")
    texts = [f"{p}\n\n{c}" for p, c in zip(pool.prompt, pool.completion, strict=True)]
    vectors = open_embedder("tfidf")([*texts, "red fox\n\nriver", "the sun\n\na moon"]).toarray()
    expected = []
    for text in vectors[:N]:
        cosines = [
            text @ query / np.linalg.norm(text) / np.linalg.norm(query) for query in vectors[N:]
        ]
        expected.append(sum(cosines) / 2)
    np.testing.assert_allclose(embedding.loc[pool["row_id"], "score"], expected, rtol=1e-9)
    # TF-IDF knows words of the queries that no text has: alone it would not be of one length.
    assert mean_similarity(["red"], ["zebra", "red"], "tfidf")[0] == pytest.approx(0.5)


def test_embedding_by_a_model(folder: Path) -> None:
    texts, queries = ["red fox", "sun"], ["a red fox", "moon"]
    found = np.asarray(mean_similarity(texts, queries, "tiny", "cpu"))
    embed = open_embedder("tiny", "cpu")
    for text, value in zip(texts, found, strict=True):
        vector = embed([text])[0]
        cosines = [float(vector @ embed([query])[0]) for query in queries]
        assert value == pytest.approx(sum(cosines) / 2, abs=1e-5)


def test_given_tables_win_over_names_that_are_built_in(folder: Path) -> None:
    given = pd.read_parquet(folder / "predicted/scores.parquet").set_index("row_id")
    other, length = made(
        folder, "other", "length", other=folder / "predicted", length=folder / "predicted"
    )
    for ranking in (other, length):
        assert ranking.loc[given.index, "score"].tolist() == given["score"].tolist()
    assert trained_on(other.reset_index()) == set(given.index[given["part"] == "train"])
    assert trained_on(read_ranking(folder / "scored")) == set()


def test_a_predictor_is_a_folder_with_scores_of_rows(folder: Path) -> None:
    assert is_predictor(folder / "predicted")
    assert is_predictor(folder / "predicted/scores.parquet")
    assert is_predictor(folder / "predicted/scores_out_of_fold.parquet")
    assert not is_predictor(folder / "predicted/other.parquet")
    assert not is_predictor(folder / "scored")
    (predictor,) = made(folder, "predictor", scores="predicted")
    given = read_ranking(folder / "predicted").set_index("row_id")
    assert predictor.loc[given.index, "score"].tolist() == given["score"].tolist()
    (attribution,) = made(folder, "attribution", scores="predicted", attribution=folder / "scored")
    scored = read_ranking(folder / "scored").set_index("row_id")
    assert attribution.loc[scored.index, "score"].tolist() == scored["score"].tolist()


@pytest.mark.parametrize(
    ("name", "scores", "says"),
    [
        ("bm52", "scored", r'no ranking "bm52"; did you mean "bm25"\? there are attribution'),
        ("mine", "scored", r'no ranking "mine"; there are .* given as --rankings mine=PATH'),
        ("predictor", "scored", "scored is none; give it as --rankings predictor=FOLDER"),
        ("predictor", None, "the scores are yet to be made; give it as --rankings predictor"),
        ("attribution", "predicted", "holds a predictor's scores, not attribution"),
        ("column:rewrd", "scored", r'no column "rewrd"; did you mean "reward"\? it has row_id'),
        ("column:category", "scored", 'column "category" of .*pool.parquet is not of numbers'),
        ("column:gappy", "scored", 'row 1: column "gappy" is nan, and every row needs a number'),
        ("loss", "predicted", "no column loss, which `data score` writes"),
    ],
)
def test_what_cannot_be_had(folder: Path, name: str, scores: str | None, says: str) -> None:
    here = sources(folder, scores)
    scored = None if scores is None else read_ranking(folder / scores)
    with pytest.raises(BadInput, match=says) as error:
        check_rankings({name: f"--by {name}"}, here, scored)
    assert str(error.value).startswith(f"--by {name}: ")
    assert "\n" not in str(error.value)


def test_a_row_without_a_loss_is_not_silently_last(folder: Path) -> None:
    scored = read_ranking(folder / "scored")
    scored.loc[3, "loss"] = np.nan
    asked, here = {"loss": "--by loss"}, sources(folder)
    with pytest.raises(BadInput, match=f'loss of row_id "{scored["row_id"][3]}" is nan') as error:
        check_rankings(asked, here, scored)
    assert str(error.value).startswith("--by loss: ")


def test_a_ranking_of_other_rows(folder: Path) -> None:
    short = read_ranking(folder / "scored").iloc[1:]
    write_split(short, folder / "short.parquet")
    write_split(short.replace({"row_id": short["row_id"].iloc[0]}, "zz"), folder / "odd.parquet")
    for file, says in (("short", "1 of its 30 rows have no score"), ("odd", '"zz" is not in it')):
        here = sources(folder, mine=folder / f"{file}.parquet")
        with pytest.raises(BadInput, match=f"{file}.parquet: these scores are not of .*{says}"):
            check_rankings({"mine": "--by mine"}, here, None)
    with pytest.raises(BadInput, match="--rankings column:x=…: a name is of letters"):
        check_rankings({}, sources(folder, **{"column:x": folder / "scored"}), None)


def test_likeness_needs_the_queries(folder: Path) -> None:
    manifest = load_manifest(folder / "manifest.json")
    asked = asked_rankings(parse_arms(["top:3:by=length", "top:2:by=bm25", "full"]))
    assert asked == {"length": "--arm top:3:by=length", "bm25": "--arm top:2:by=bm25"}
    assert needs_queries(asked, {})
    assert not needs_queries(asked, {"bm25": folder})
    found = ranking_inputs(asked, {"mine": folder / "scored"}, manifest, "attr_query", "tiny")
    assert found == {
        "ranking mine": folder / "scored/scores.parquet",
        "query": (folder / "query.parquet").resolve(),
    }
    with pytest.raises(
        BadInput, match=r"--arm top:2:by=bm25: needs rows .*manifest.json has no split queries, but"
    ):
        ranking_inputs(asked, {}, manifest, "queries", "tfidf")
    embedded = {"embedding": "--by embedding"}
    assert "embedding_model" not in ranking_inputs(embedded, {}, manifest, "attr_query", "tfidf")
    kept = ranking_inputs(embedded, {}, manifest, "attr_query", "tiny")
    assert (kept["embedding_model"] / "config.json").is_file()


def test_by_for_all_leaves_those_that_have_their_own() -> None:
    arms = parse_arms(["top:3", "b=top:3:by=loss", "random:2", "matched_random:of=b", "full"])
    assert [arm.by for arm in ranked_by(arms, "bm25")] == ["bm25", "loss", "bm25", None, None]
    assert [arm.name for arm in ranked_by(arms, "bm25")] == [arm.name for arm in arms]
    assert ranked_by(arms, None) == arms
    assert list(asked_rankings(ranked_by(arms, "bm25"), "bm25")) == ["bm25", "loss"]
