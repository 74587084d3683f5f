"""The statistics behind a validation, each against a closed form or a slow computation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.stats import f_oneway, rankdata, spearmanr
from statsmodels.formula.api import ols

from whence.errors import BadInput
from whence.sae.validate.categories import eta_squared, shuffled
from whence.sae.validate.fields import read_field, read_fields
from whence.sae.validate.ranks import partial_rank_correlation
from whence.sae.validate.verdict import beyond, orthogonality
from whence.stats.whole import rank_correlation


def three(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    z = rng.integers(0, 5, rows).astype(float)
    return z + rng.normal(size=rows), np.round(z - rng.normal(size=rows), 0), z


def test_without_anything_given_it_is_spearmans_rho_on_any_resample() -> None:
    x, y, _ = three(70)
    statistic, other = partial_rank_correlation(x, y), rank_correlation(x, y)
    rng = np.random.default_rng(1)
    for rows in (np.arange(70), *(rng.integers(0, 70, 70) for _ in range(20))):
        assert statistic(rows) == pytest.approx(spearmanr(x[rows], y[rows]).statistic)
        assert statistic(rows) == pytest.approx(other(rows))


def test_with_one_given_it_is_the_closed_form_and_what_residuals_give() -> None:
    x, y, z = three(60)
    statistic = partial_rank_correlation(x, y, [z])
    rng = np.random.default_rng(2)
    for rows in (np.arange(60), *(rng.integers(0, 60, 60) for _ in range(20))):
        a, b, c = x[rows], y[rows], z[rows]
        ab, ac, bc = (spearmanr(u, v).statistic for u, v in ((a, b), (a, c), (b, c)))
        closed = (ab - ac * bc) / np.sqrt((1 - ac**2) * (1 - bc**2))
        assert statistic(rows) == pytest.approx(closed)
        design = sm.add_constant(rankdata(c))
        left = [sm.OLS(rankdata(v), design).fit().resid for v in (a, b)]
        assert statistic(rows) == pytest.approx(np.corrcoef(*left)[0, 1])


def test_with_two_given_it_is_what_residuals_give() -> None:
    x, y, z = three(80, seed=3)
    w = np.random.default_rng(3).normal(size=80) + y / 3
    design = sm.add_constant(np.stack([rankdata(z), rankdata(w)], axis=1))
    left = [sm.OLS(rankdata(v), design).fit().resid for v in (x, y)]
    expected = np.corrcoef(*left)[0, 1]
    assert partial_rank_correlation(x, y, [z, w])(np.arange(80)) == pytest.approx(expected)
    # a copy and a constant take nothing more away
    doubled = partial_rank_correlation(x, y, [z, w, 2 * w, np.ones(80)])
    assert doubled(np.arange(80)) == pytest.approx(expected)


def test_what_is_given_may_leave_nothing() -> None:
    x, y, _ = three(30)
    everyone = np.arange(30)
    assert partial_rank_correlation(x, y, [np.exp(x)])(everyone) is None
    assert partial_rank_correlation(x, np.ones(30))(everyone) is None
    with pytest.raises(BadInput, match="same rows"):
        partial_rank_correlation(x, y[:20])
    with pytest.raises(BadInput, match="given row 0 is nan"):
        partial_rank_correlation(x, y, [np.full(30, np.nan)])


def test_eta_squared_is_that_of_an_analysis_of_variance() -> None:
    rng = np.random.default_rng(4)
    codes = rng.integers(0, 4, 90)
    values = rng.normal(size=90) + codes * 0.3
    frame = pd.DataFrame({"y": values, "c": codes})
    table = sm.stats.anova_lm(ols("y ~ C(c)", frame).fit())
    found = eta_squared(values, codes)
    assert found == pytest.approx(table["sum_sq"].iloc[0] / table["sum_sq"].sum())
    # F and η² say the same: η² = k F / (k F + n − k − 1)
    ratio = f_oneway(*(values[codes == c] for c in range(4))).statistic
    assert found == pytest.approx(3 * ratio / (3 * ratio + 86))
    assert eta_squared(np.ones(90), codes) is None
    assert eta_squared(codes * 2.0, codes) == pytest.approx(1.0)


def test_shuffled_categories_give_the_p_of_the_f_test_and_the_eta_of_chance() -> None:
    rng = np.random.default_rng(5)
    codes, values = rng.integers(0, 4, 120), rng.normal(size=120)
    values += 0.35 * (codes == 1)
    found = shuffled(values, codes, np.arange(120).astype(str), draws=4000, seed=1)
    expected = f_oneway(*(values[codes == c] for c in range(4))).pvalue
    assert found.p == pytest.approx(expected, abs=0.02)
    assert found.chance == pytest.approx(3 / 119, rel=0.05)


def test_groups_of_one_category_are_shuffled_whole() -> None:
    rng = np.random.default_rng(6)
    groups = np.repeat(np.arange(24), 10)
    false = {"groups": 0, "rows": 0}
    for _ in range(60):
        codes = np.repeat(rng.integers(0, 3, 24), 10)
        values = np.repeat(rng.normal(size=24), 10) + 0.1 * rng.normal(size=240)
        whole = shuffled(values, codes, groups.astype(str), draws=200)
        assert whole.units == "groups"
        each = shuffled(values, codes, np.arange(240).astype(str), draws=200)
        false["groups"] += (whole.p or 1.0) <= 0.05
        false["rows"] += (each.p or 1.0) <= 0.05
    assert false["rows"] > 40  # rows of a group are not independent
    assert false["groups"] <= 8
    one_each = shuffled(values, groups, groups.astype(str))
    assert one_each.p is None
    assert "every category is one group" in (one_each.reason or "")
    assert shuffled(values, np.arange(240) % 3, groups.astype(str), draws=99).units == "rows"


@pytest.mark.parametrize(
    ("low", "high", "answer"),
    [
        (-0.1, 0.15, "orthogonal"),
        (0.02, 0.18, "orthogonal"),
        (0.3, 0.5, "not orthogonal"),
        (-0.5, -0.01, "not orthogonal"),
        (-0.1, 0.25, "not settled"),
        (-0.3, 0.1, "not settled"),
    ],
)
def test_the_verdict_is_that_of_the_interval(low: float, high: float, answer: str) -> None:
    found = orthogonality((low + high) / 2, (low, high), 0.2, rows=100)
    assert found.answer == answer
    assert (found.rows_needed is not None) == (answer == "not settled")
    assert ("although ρ is not 0" in found.sentence) == (low == 0.02)


def test_the_rows_asked_for_would_settle_it_whatever_rho_is() -> None:
    found = orthogonality(0.1, (-0.1, 0.3), 0.2, rows=50)
    assert found.rows_needed == 200
    assert "about 200 rows would settle it" in found.sentence
    half = 0.2 * np.sqrt(50 / 201)  # what is left of the half width at one row more
    for rho in np.linspace(-1, 1, 401):
        assert orthogonality(rho, (rho - half, rho + half), 0.2, rows=201).answer != "not settled"


def test_without_an_interval_nothing_is_settled() -> None:
    found = orthogonality(0.1, None, 0.2, rows=9, reason="1 cluster")
    assert found.answer == "not settled"
    assert "1 cluster" in found.sentence
    assert "not known: too few" in beyond(None, None, to="r", reason="too few")
    assert beyond(0.3, (0.1, 0.5), to="r").startswith("It knows something")
    assert beyond(0.1, (-0.1, 0.5), to="r").startswith("It is not shown to know")
    assert "against attribution" in beyond(-0.3, (-0.5, -0.1), to="r")


def test_words_on_a_scale_become_their_place() -> None:
    words = ["easy", "Very-Hard", " very_easy", None, "so so", "so so", "medium", ""]
    known = read_field(pd.Series(words, dtype=object), "difficulty", "difficulty")
    assert known.kind == "order"
    np.testing.assert_array_equal(known.values, [1, 4, 0, np.nan, np.nan, np.nan, 2, np.nan])
    assert known.unknown == {"so so": 2}
    assert known.missing == 4
    # a field of another name is on a scale if all of its words are
    assert read_field(pd.Series(["poor", "good"]), "grade", "grade").kind == "order"
    assert read_field(pd.Series(["poor", "fair"]), "grade", "grade").kind == "names"


def test_numbers_and_names_are_told_apart() -> None:
    numbers = read_field(pd.Series([1.5, np.inf, np.nan]), "difficulty", "difficulty")
    assert numbers.kind == "number"
    assert numbers.missing == 2
    assert read_field(pd.Series([True, False]), "solved", "solved").values.tolist() == [1.0, 0.0]
    names = read_field(pd.Series([3, 1, 3]), "category", "category")
    assert names.kind == "names"
    assert names.levels == ["1", "3"]
    assert names.values.tolist() == [1.0, 0.0, 1.0]


def test_fields_that_are_not_there_are_named() -> None:
    rows = pd.DataFrame({"row_id": ["a", "b"], "tokens": [3, 4], "quality": ["odd", "strange"]})
    found, skipped = read_fields(rows, ("quality", "length", "category"), "reward")
    assert list(found) == ["length"]
    assert found["length"].column == "tokens"
    assert skipped == {
        "reward": "no such column", "quality": "no row has a known word",
        "category": "no such column",
    }  # fmt: skip
    with pytest.raises(BadInput, match="none of the fields reward, category is in the rows"):
        read_fields(rows, ("category",), "reward")
    with pytest.raises(BadInput, match=r'--reward-field quality: expected numbers, .* "very poor"'):
        read_fields(rows, (), "quality")
