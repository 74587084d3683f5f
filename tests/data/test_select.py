"""`whence data select`: arms drawn from one ranking, written as splits to train from."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from whence.data.arms import parse_arm, parse_arms
from whence.data.draws import draw, draw_arms
from whence.data.select import SelectConfig, select
from whence.errors import BadInput
from whence.runs.manifest import Split, load_manifest, read_split, write_manifest, write_split

N = 120


def make_pool() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "row_id": [f"p{i:03d}" for i in rng.permutation(N)],
            "prompt": [f"USER: {i}?" for i in range(N)],
            "completion": "yes",
            "source_split": "train",
            "group_id": [f"train::{i}" for i in range(N)],
            "category": rng.choice(["math", "code"], size=N),
        }
    )


def make_ranking(pool: pd.DataFrame) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    ranking = pd.DataFrame(
        {
            "index": np.arange(N),
            "row_id": pool["row_id"],
            "score": rng.normal(size=N),
            "length_tokens": rng.integers(10, 60, size=N),
        }
    )
    ranking["rank"] = ranking["score"].rank(ascending=False).astype(int)
    return ranking


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A manifest with a scored pool beside it, as `data build` and `data score` leave them."""
    pool = make_pool()
    write_split(pool, tmp_path / "data/train_base.parquet")
    write_split(pool.iloc[:2], tmp_path / "data/eval.parquet")
    write_split(make_ranking(pool), tmp_path / "scored/scores.parquet")
    at = tmp_path / "data"
    write_manifest(
        tmp_path / "manifest.json",
        {
            "train_base": Split("train_base", at / "train_base.parquet", N),
            "score_pool": Split("score_pool", at / "train_base.parquet", N),
            "attr_query": Split("attr_query", at / "eval.parquet", 2),
            "eval": Split("eval", at / "eval.parquet", 2),
        },
        {"dataset": {"name": "d"}, "split_policy": {"stratify_by": ["category"]}},
    )
    return tmp_path


def config(folder: Path, *arms: str, out: str = "selected", **settings: Any) -> SelectConfig:
    return SelectConfig(
        output_dir=folder / out,
        scores=folder / "scored",
        manifest=folder / "manifest.json",
        arm=arms,
        **settings,
    )


ISSUE_ARMS = ("top:30", "window:31-50", "random:20:after=50", "matched_random:of=top")


def test_arms_of_the_notes(folder: Path) -> None:
    result = select(config(folder, *ISSUE_ARMS, "all=full", "bottom:7"))
    manifest = load_manifest(folder / "selected/continuation_manifest.json")
    ranking = make_ranking(make_pool()).sort_values("score", ascending=False)
    ids = {name: read_split(manifest, name)["row_id"].tolist() for name in manifest.splits}
    assert ids["top_30"] == ranking["row_id"].iloc[:30].tolist()
    assert ids["window_31_50"] == ranking["row_id"].iloc[30:50].tolist()
    assert ids["bottom_7"] == ranking["row_id"].iloc[-7:].tolist()
    assert set(ids["random_20_after_50"]) <= set(ranking["row_id"].iloc[50:])
    assert len(set(ids["random_20_after_50"])) == 20
    assert len(ids["matched_random_of_top"]) == 30
    assert not set(ids["matched_random_of_top"]) & set(ids["top_30"])
    assert ids["all"] == make_pool()["row_id"].tolist()
    assert list(manifest.splits)[-2:] == ["attr_query", "eval"]
    pool = make_pool().set_index("row_id")
    categories = pool["category"]
    assert (
        categories[ids["top_30"]].value_counts().to_dict()
        == categories[ids["matched_random_of_top"]].value_counts().to_dict()
    )
    top = read_split(manifest, "top_30").set_index("row_id")
    pd.testing.assert_frame_equal(top, pool.loc[top.index])
    assert result.arms["top_30"]["tokens"] == ranking["length_tokens"].iloc[:30].sum()
    assert "matched_random_of_top" in result.finding().rows[3]


def test_controls_with_and_without_overlap_are_arms_of_one_draw(folder: Path) -> None:
    apart, among = "apart=matched_random:of=top", "among=matched_random:of=top:overlap=yes"
    arms = select(config(folder, "top:30", apart, among)).arms
    assert arms["apart"]["shared_rows"]["top_30"] == 0
    assert arms["among"]["shared_rows"]["top_30"] > 0
    alone = select(config(folder, "top:30", apart, out="alone")).arms
    assert alone["apart"] == {
        **arms["apart"],
        "shared_rows": {"top_30": 0},
    }, "one control changed what the other one drew"


def test_overlap_is_as_often_as_chance_has_it(folder: Path) -> None:
    """A stratum of n rows, w of them of the top, is drawn from w times: w²/n of those expected."""
    pool, ranking = make_pool(), make_ranking(make_pool())
    arms = parse_arms(["top=top:30", "m=matched_random:of=top:overlap=yes"])
    ranked = ranking.set_index("row_id").loc[pool["row_id"]]
    lengths = ranked["length_tokens"].to_numpy()
    bins = np.searchsorted(np.quantile(lengths, [0.2, 0.4, 0.6, 0.8]), lengths, side="left")
    strata = pd.DataFrame(
        {"key": pool["category"] + bins.astype(str), "top": ranked["rank"].to_numpy() <= 30}
    ).groupby("key")["top"]
    expected = (strata.sum() ** 2 / strata.size()).sum()
    shared = [
        len(set(drawn["m"].row_ids) & set(drawn["top"].row_ids))
        for seed in range(200)
        for drawn in [draw_arms(arms, ranking, pool, seed, match_on=["category"])]
    ]
    assert np.mean(shared) == pytest.approx(expected, abs=4 * np.std(shared) / np.sqrt(200))
    assert 0 < expected < 15


def test_subset_manifest_says_what_a_control_is_worth(folder: Path) -> None:
    select(config(folder, "top:100", "rest=random:20:after=100", "rnd=matched_random:of=rest"))
    subsets = json.loads((folder / "selected/subsets/subset_manifest.json").read_text())
    assert subsets["parent_manifest"] == "../manifest.json"
    assert subsets["token_unit"] == "length_tokens"
    arm = subsets["arms"]["rnd"]
    assert arm["match"]["of"] == "rest"
    assert arm["match"]["token_budget"]["drawn"] == arm["tokens"]
    assert sum(stratum["drawn"] for stratum in arm["match"]["strata"]) == 20
    assert arm["shared_rows"]["rest"] == 0
    assert subsets["arms"]["top_100"]["rank"] == {"min": 1, "mean": 50.5, "max": 100}


def test_same_seed_same_bytes_and_a_second_call_does_nothing(folder: Path) -> None:
    for out in ("selected", "again"):
        select(config(folder, *ISSUE_ARMS, out=out))
    files = sorted((folder / "selected").rglob("*.parquet")) + sorted(
        (folder / "selected").rglob("*manifest.json")
    )
    assert len(files) == 6
    for file in files:
        twin = folder / "again" / file.relative_to(folder / "selected")
        assert (
            hashlib.sha256(file.read_bytes()).digest() == hashlib.sha256(twin.read_bytes()).digest()
        ), file
    assert select(config(folder, *ISSUE_ARMS)).done_before
    select(config(folder, *ISSUE_ARMS, out="other", seed=43))
    name = "subsets/random_20_after_50.parquet"
    assert (folder / "other" / name).read_bytes() != (folder / "selected" / name).read_bytes()


def test_draws_do_not_depend_on_order_or_on_other_arms() -> None:
    pool = make_pool()
    ranking = make_ranking(pool)
    arms = parse_arms(["top:10", "random:10", "matched_random:of=top"])
    drawn = draw_arms(arms, ranking, pool, 5, match_on=["category"])
    shuffled = draw_arms(
        arms[::-1],
        ranking.sample(frac=1, random_state=1),
        pool.sample(frac=1, random_state=2),
        5,
        match_on=["category"],
    )
    assert {k: v.row_ids for k, v in drawn.items()} == {k: v.row_ids for k, v in shuffled.items()}
    alone = draw(arms[1], ranking, pool, 5)
    assert alone == drawn["random_10"].row_ids
    taken = {"top_10": drawn["top_10"].row_ids}
    assert (
        draw(arms[2], ranking, pool, 5, taken, match_on=["category"])
        == drawn["matched_random_of_top"].row_ids
    )


def test_more_ranks_than_rows() -> None:
    pool = make_pool()
    for text in ("top:121", "window:100-121", "random:100:after=21"):
        with pytest.raises(BadInput, match="needs 121 ranked rows, the pool has 120"):
            draw(parse_arm(text), make_ranking(pool), pool, 0)
    with pytest.raises(BadInput, match="the arm to match is not among"):
        draw(parse_arm("matched_random:of=top"), make_ranking(pool), pool, 0)


def ruin(folder: Path, what: str) -> None:
    ranking = make_ranking(make_pool())
    if what == "nan":
        ranking.loc[4, "score"] = np.nan
    elif what == "foreign":
        ranking.loc[4, "row_id"] = "zzz"
    elif what == "missing":
        ranking = ranking.iloc[1:]
    elif what == "doubled":
        ranking.loc[4, "row_id"] = ranking.loc[3, "row_id"]
    elif what == "column":
        ranking = ranking.drop(columns="score")
    write_split(ranking, folder / "scored/scores.parquet")


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("nan", r"scores\.parquet, row 5: score is nan"),
        ("foreign", 'not of the split score_pool .*row_id "zzz" is not in it'),
        ("missing", "1 of its 120 rows have no score"),
        ("doubled", r"scores\.parquet, row 5: row_id .* is doubled"),
        ("column", r'scores\.parquet: no column "score"; it has index, row_id'),
    ],
)
def test_bad_scores_leave_nothing_behind(folder: Path, what: str, says: str) -> None:
    ruin(folder, what)
    with pytest.raises(BadInput, match=says):
        select(config(folder, "top:3"))
    assert sorted(path.name for path in folder.iterdir()) == ["data", "manifest.json", "scored"]


def test_scores_from_a_plain_table_without_ranks(folder: Path, tmp_path: Path) -> None:
    ranking = make_ranking(make_pool())[["row_id", "score"]]
    ranking.to_json(tmp_path / "mine.jsonl", orient="records", lines=True)
    settings = config(folder, "top:5").model_copy(update={"scores": tmp_path / "mine.jsonl"})
    select(settings)
    got = read_split(load_manifest(folder / "selected/continuation_manifest.json"), "top_5")
    expected = ranking.sort_values("score", ascending=False)["row_id"].iloc[:5].tolist()
    assert got["row_id"].tolist() == expected


def test_unknown_pool_split(folder: Path) -> None:
    with pytest.raises(BadInput, match=r'no split "pool"; did you mean "score_pool"\?'):
        select(config(folder, "top:3", pool_split="pool"))
    with pytest.raises(BadInput, match=r"nowhere: no such manifest"):
        select(config(folder, "top:3").model_copy(update={"manifest": folder / "nowhere"}))
    with pytest.raises(BadInput, match="no such file"):
        select(config(folder, "top:3").model_copy(update={"scores": folder / "nowhere.parquet"}))


def predicted(folder: Path) -> pd.DataFrame:
    """`predicted/`, as a predictor leaves it: it was fitted on the first 60 rows of the pool."""
    pool = make_pool()
    scores = np.random.default_rng(5).permutation(N).astype(float)
    table = pd.DataFrame({"row_id": pool["row_id"], "score": scores})
    table["part"] = np.where(np.arange(N) < 60, "train", "test")
    write_split(table, folder / "predicted/scores.parquet")
    (folder / "predicted/row_scores.jsonl").write_text("{}\n")
    return table.sort_values("score", ascending=False)


def drawn(folder: Path, out: str = "selected") -> dict[str, list[str]]:
    manifest = load_manifest(folder / out / "continuation_manifest.json")
    return {name: read_split(manifest, name)["row_id"].tolist() for name in manifest.splits}


BY_ARMS = ("top:30", "attribution=top:30:by=attribution", "w=window:11-20:by=length",
           "r=random:5:after=110:by=predictor", "chance=matched_random:of=top_30")  # fmt: skip


def test_by_predictor_of_a_folder_that_is_given(folder: Path) -> None:
    best = predicted(folder)
    result = select(config(folder, *BY_ARMS, by="predictor", rankings={
        "predictor": folder / "predicted"
    }))  # fmt: skip
    ids = drawn(folder)
    assert ids["top_30"] == best["row_id"].iloc[:30].tolist()
    ranking = make_ranking(make_pool())
    by_score = ranking.sort_values("score", ascending=False)["row_id"]
    assert ids["attribution"] == by_score.iloc[:30].tolist()
    longest = ranking.sort_values(["length_tokens", "row_id"], ascending=[False, True])["row_id"]
    assert ids["w"] == longest.iloc[10:20].tolist()
    assert set(ids["r"]) <= set(best["row_id"].iloc[110:])
    arms = result.arms
    seen = (best["part"].iloc[:30] == "train").sum()
    assert arms["top_30"]["ranked_by"] == "predictor"
    assert arms["top_30"]["trained_on"] == seen
    assert arms["top_30"]["rank"] == {"min": 1, "mean": 15.5, "max": 30}
    assert arms["attribution"]["ranked_by"] == "attribution"
    assert "trained_on" not in arms["attribution"]
    # A control's ranks are of what it is a control for; what it took is no predictor's choice.
    place = dict(zip(best["row_id"], range(1, N + 1), strict=True))
    assert arms["chance"]["rank"]["max"] == max(place[row_id] for row_id in ids["chance"])
    assert "trained_on" not in arms["chance"]
    notes = {row[0]: row[-1] for row in result.finding().rows}
    assert f"by predictor; {seen} of its rows trained the predictor" in notes["top_30"]
    assert notes["attribution"] == "by attribution"
    assert "by " not in notes["chance"]


def test_by_predictor_when_the_scores_are_its_own(folder: Path) -> None:
    best = predicted(folder)
    own = config(folder, "top:30", "a=top:9:by=length", by="predictor").model_copy(
        update={"scores": folder / "predicted"}
    )
    select(own)
    assert drawn(folder)["top_30"] == best["row_id"].iloc[:30].tolist()
    plain = own.model_copy(update={"by": None, "output_dir": folder / "plain"})
    told = select(plain)
    assert drawn(folder, "plain") == drawn(folder)
    assert "rows trained the predictor that ranked them" in told.finding().rows[0][-1]
    with pytest.raises(BadInput, match="--by predictor: a folder of `whence sae predict` or"):
        select(config(folder, "top:30", by="predictor", out="no"))


def test_unknown_rankings_and_lost_queries_leave_nothing_behind(folder: Path) -> None:
    before = sorted(path.name for path in folder.iterdir())
    for settings, says in (
        ({"by": "lenght"}, r'--by lenght: no ranking "lenght"; did you mean "length"\?'),
        ({"by": "bm25", "query_split": "qry"}, "--by bm25: needs rows that say what is wanted"),
        ({"rankings": {"p": folder / "p.parquet"}}, "p.parquet: no such file or folder"),
        ({"by": "column:category"}, 'column "category" of .* is not of numbers'),
    ):
        with pytest.raises(BadInput, match=says):
            select(config(folder, "top:3", **settings))
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_changed_ranking_is_another_run(folder: Path) -> None:
    predicted(folder)
    settings = {"by": "predictor", "rankings": {"predictor": folder / "predicted"}}
    select(config(folder, "top:3", **settings))
    assert select(config(folder, "top:3", **settings)).done_before
    table = pd.read_parquet(folder / "predicted/scores.parquet")
    write_split(table.assign(score=-table["score"]), folder / "predicted/scores.parquet")
    with pytest.raises(BadInput, match="input ranking predictor"):
        select(config(folder, "top:3", **settings))


def test_what_was_drawn_before_there_were_rankings_is_done_and_unchanged(folder: Path) -> None:
    """A record of an earlier version has none of their settings, and its files no new key."""
    select(config(folder, *ISSUE_ARMS))
    arms = json.loads((folder / "selected/subsets/subset_manifest.json").read_text())["arms"]
    for arm in arms.values():
        assert list(arm) == [
            "arm", "path", "rows", "tokens", "score", "rank", "shared_rows", "match",
        ]  # fmt: skip
    record = json.loads((folder / "selected/whence.json").read_text())
    for name in ("by", "rankings", "embedding_model", "query_split"):
        del record["config"][name]
    (folder / "selected/whence.json").write_text(json.dumps(record))
    assert select(config(folder, *ISSUE_ARMS)).done_before


def test_pairs_on_the_command_line(folder: Path) -> None:
    from whence.__main__ import main

    best = predicted(folder)
    words = ["--scores", folder / "scored", "--manifest", folder / "manifest.json", "--arm"]
    words += ["top:3", "--arm", "b=top:2:by=bm25", "--by", "predictor", "--output-dir"]
    words += [folder / "cli", "--rankings", f"predictor={folder / 'predicted'}"]
    assert main(["data", "select", *map(str, words)]) == 0
    assert drawn(folder, "cli")["top_3"] == best["row_id"].iloc[:3].tolist()
