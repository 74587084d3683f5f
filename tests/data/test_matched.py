"""Matched random: alike in size, strata and tokens, or it says where it is not."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from whence.data.matched import MatchedDraw, matched_random
from whence.errors import BadInput


def make_pool(n: int = 1000, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "row_id": [f"r{i:05d}" for i in range(n)],
            "category": rng.choice(["math", "code", None], p=[0.5, 0.4, 0.1], size=n),
            "tokens": rng.lognormal(5, 0.6, size=n).astype(int) + 1,
        }
    )


def strata(pool: pd.DataFrame, row_ids: list[str]) -> Counter[tuple[str, int]]:
    """Strata by pandas' own quantile binning, independently of the module."""
    bins = pd.qcut(pool["tokens"], 5, labels=False)
    keys = dict(
        zip(pool["row_id"], zip(pool["category"].fillna("-"), bins, strict=True), strict=True)
    )
    return Counter(keys[row_id] for row_id in row_ids)


def match(pool: pd.DataFrame, chosen: list[str], **settings: object) -> MatchedDraw:
    defaults = {"match_on": ["category"], "seed": 3, "token_lengths": pool["tokens"]}
    return matched_random(pool, chosen, **{**defaults, **settings})  # type: ignore[arg-type]


def test_same_size_strata_and_tokens_without_the_chosen() -> None:
    pool = make_pool()
    # Chosen as attribution chooses: the long ones rather than the short, one category above others.
    weight = pool["tokens"] * np.where(pool["category"] == "math", 3.0, 1.0)
    rng = np.random.default_rng(1)
    chosen = rng.choice(pool["row_id"], size=150, replace=False, p=weight / weight.sum()).tolist()
    draw = match(pool, chosen)
    assert len(draw.row_ids) == len(set(draw.row_ids)) == 150
    assert not set(draw.row_ids) & set(chosen)
    assert strata(pool, draw.row_ids) == strata(pool, chosen)
    tokens = pool.set_index("row_id")["tokens"]
    assert draw.budget.chosen == tokens[chosen].sum()
    assert draw.budget.drawn == tokens[draw.row_ids].sum()
    assert abs(tokens[draw.row_ids].sum() / tokens[chosen].sum() - 1) <= 0.02
    assert draw.borrowed == ()
    assert draw.notes() == []
    assert sum(stratum.drawn for stratum in draw.strata) == 150


def test_same_rows_whatever_the_order_of_the_pool() -> None:
    pool = make_pool()
    chosen = pool["row_id"].iloc[:90].tolist()
    shuffled = pool.sample(frac=1, random_state=9)
    assert match(pool, chosen) == match(shuffled, chosen[::-1], token_lengths=shuffled["tokens"])
    assert match(pool, chosen).row_ids != match(pool, chosen, seed=4).row_ids
    assert match(pool, chosen).row_ids != match(pool, chosen, name="other").row_ids


def test_every_row_of_a_stratum_is_as_likely() -> None:
    pool = make_pool(60).assign(category="math", tokens=100)
    chosen = pool["row_id"].iloc[:10].tolist()
    times = Counter(i for seed in range(500) for i in match(pool, chosen, seed=seed).row_ids)
    assert set(times) == set(pool["row_id"].iloc[10:])
    # Probability 1/5: 100 times, standard deviation 9.
    assert all(60 < count < 145 for count in times.values())


def test_a_stratum_that_runs_out_borrows_from_the_nearest_length_and_says_so() -> None:
    # math: 20 rows in each of the five length bins; every one in the longest bin is chosen.
    pool = pd.DataFrame(
        {
            "row_id": [f"{i:03d}" for i in range(200)],
            "category": ["math"] * 100 + ["code"] * 100,
            "tokens": np.tile(np.arange(100), 2) + 100,
        }
    )
    chosen = pool.query("category == 'math' and tokens >= 180")["row_id"].tolist()
    draw = match(pool, chosen)
    (borrowing,) = draw.borrowed
    assert (borrowing.wanted, borrowing.given) == ((("math",), 4), (("math",), 3))
    assert borrowing.rows == 20
    assert set(draw.row_ids) == set(
        pool.query("category == 'math' and 160 <= tokens < 180")["row_id"]
    )
    assert "20 of 20 rows stand in" in draw.notes()[0]
    assert "token budgets differ by -10.6%" in draw.notes()[1]
    assert not draw.budget.within


def test_other_values_stand_in_only_when_their_own_are_used_up() -> None:
    pool = pd.DataFrame(
        {
            "row_id": list("abcdef"),
            "category": ["rare", "rare", "rare", "x", "y", "y"],
            "tokens": [10, 10, 10, 10, 10, 10],
        }
    )
    draw = match(pool, ["a", "b"])
    assert "c" in draw.row_ids
    assert len(draw.row_ids) == 2
    assert sum(entry.rows for entry in draw.borrowed) == 1
    others = {match(pool, ["a", "b"], seed=seed).row_ids[-1] for seed in range(30)}
    assert others == {"d", "e", "f"}


def test_overlap_only_when_asked() -> None:
    pool = make_pool(100)
    chosen = pool["row_id"].iloc[:60].tolist()
    with pytest.raises(
        BadInput, match="60 rows needs as many others, but the pool of 100 leaves 40"
    ):
        match(pool, chosen)
    draw = match(pool, chosen, allow_overlap=True)
    assert len(set(draw.row_ids)) == 60
    assert set(draw.row_ids) & set(chosen)
    assert strata(pool, draw.row_ids) == strata(pool, chosen)


def test_swaps_stop_at_the_tolerance() -> None:
    pool = make_pool(400).assign(category="math")
    # In the longest bin the chosen are longer than most, which strata alone cannot match.
    chosen = pool.nlargest(40, "tokens")["row_id"].iloc[::2].tolist()
    chosen += pool.nsmallest(300, "tokens")["row_id"].iloc[::4].tolist()
    draw = match(pool, chosen)
    before, after = draw.budget.difference_before, draw.budget.difference
    assert before < -0.02 <= after < 0
    assert 0 < draw.budget.swaps < len(chosen)
    assert strata(pool, draw.row_ids) == strata(pool, chosen)


def test_bad_columns_and_rows() -> None:
    pool = make_pool(20)
    with pytest.raises(BadInput, match="--match-on kind: the pool has no such column, but row_id"):
        match(pool, ["r00000"], match_on=["kind"])
    with pytest.raises(BadInput, match='row_id "zzz", which is not in the pool'):
        match(pool, ["zzz"])
    with pytest.raises(BadInput, match="holds no rows"):
        match(pool, [])
