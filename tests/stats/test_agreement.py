"""Agreement of rankings against SciPy and sets, and its intervals against fresh pools."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from whence.errors import BadInput
from whence.stats.agreement import Agreement, agreement
from whence.stats.intervals import Interval, NoInterval
from whence.stats.ranking import overlap_at_k

Floats = NDArray[np.float64]


def pool(rng: np.random.Generator, rows: int, rho: float) -> dict[str, Floats]:
    a, e = rng.standard_normal((2, rows))
    return {"a": a, "b": rho * a + np.sqrt(1 - rho**2) * e}


def top(scores: Floats, k: int) -> set[int]:
    return set(np.argsort(-scores)[:k].tolist())


def test_values_are_those_of_scipy_and_of_sets() -> None:
    rng = np.random.default_rng(0)
    scores = {name: rng.standard_normal(60) for name in "abc"}
    scores["b"] += scores["a"]
    found = agreement(scores, [10, 25], draws=40)
    assert found.pairs == ((0, 1), (0, 2), (1, 2))
    for number, (x, y) in enumerate([("a", "b"), ("a", "c"), ("b", "c")]):
        rho = spearmanr(scores[x], scores[y]).statistic
        assert found.value("spearman", [number]) == pytest.approx(rho, abs=1e-12)
        for k in (10, 25):
            shared = len(top(scores[x], k) & top(scores[y], k)) / k
            assert found.value(f"overlap_at_{k}", [number]) == pytest.approx(shared, abs=1e-12)
    every = [found.value("spearman", [number]) for number in range(3)]
    assert found.value("spearman") == pytest.approx(np.mean(every))
    assert found.numbers([0, 2]) == [1]
    assert found.numbers([2], [1, 0]) == [2, 1]


def test_ties_count_by_the_share_that_fits() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 5, (2, 40)).astype(float)
    found = agreement({"a": a, "b": b}, [7], draws=40)
    assert found.value("spearman") == pytest.approx(spearmanr(a, b).statistic)
    assert found.value("overlap_at_7") == pytest.approx(overlap_at_k(a, b, 7).value)


def test_a_draw_is_what_the_drawn_rows_give() -> None:
    rng = np.random.default_rng(2)
    scores = pool(rng, 30, 0.6)
    found = agreement(scores, [6], draws=3, seed=5)
    drawn = np.random.default_rng(5).integers(0, 30, (3, 30))
    for at, rows in enumerate(drawn):
        a, b = scores["a"][rows], scores["b"][rows]
        assert found.draws("spearman")[at] == pytest.approx(spearmanr(a, b).statistic)
        assert found.draws("overlap_at_6")[at] == pytest.approx(overlap_at_k(a, b, 6).value)


@pytest.mark.parametrize(("rows", "rho", "k"), [(120, 0.5, 30), (200, 0.9, 50)])
def test_intervals_cover_what_fresh_pools_would_give(rows: int, rho: float, k: int) -> None:
    rng = np.random.default_rng(3)
    name = f"overlap_at_{k}"
    fresh = [agreement(pool(rng, rows, rho), [k], draws=0) for _ in range(600)]
    truth = {m: np.mean([each.value(m) for each in fresh]) for m in ("spearman", name)}
    covered = dict.fromkeys(truth, 0)
    for seed in range(100):
        found = agreement(pool(rng, rows, rho), [k], draws=150, seed=seed)
        for measure, value in truth.items():
            interval = found.interval(measure)
            assert isinstance(interval, Interval)
            covered[measure] += interval.low <= value <= interval.high
    assert all(count / 100 >= 0.9 for count in covered.values()), covered


def test_rows_that_belong_together_are_drawn_together() -> None:
    rng = np.random.default_rng(4)
    few = pool(rng, 20, 0.5)
    many = {name: np.repeat(v, 10) + 1e-6 * rng.random(200) for name, v in few.items()}
    groups = np.repeat(np.arange(20), 10)

    def width(found: Agreement) -> float:
        interval = found.interval("spearman")
        assert isinstance(interval, Interval)
        return interval.high - interval.low

    grouped = agreement(many, [20], groups, draws=400)
    assert grouped.clusters == 20
    assert width(grouped) > 2 * width(agreement(many, [20], draws=400))


def test_no_interval_where_there_is_none() -> None:
    rng = np.random.default_rng(5)
    scores = pool(rng, 40, 0.5)
    few = agreement(scores, [10], np.arange(40) % 4).interval("spearman")
    assert isinstance(few, NoInterval)
    assert "4 clusters" in few.reason
    twice = agreement({"a": scores["a"], "b": 3 * scores["a"]}, [10])
    for measure in ("spearman", "overlap_at_10"):
        assert twice.value(measure) == pytest.approx(1)
        same = twice.interval(measure)
        assert isinstance(same, NoInterval)
        assert "the rankings are the same" in same.reason


@pytest.mark.parametrize(
    ("scores", "k", "said"),
    [
        ({"a": [1.0, 2.0]}, 1, "1 ranking"),
        ({"a": [1.0, 2.0], "b": [1.0, 2.0, 3.0]}, 1, "b has 3 rows"),
        ({"a": [1.0, 2.0], "b": [1.0, 1.0]}, 1, "ranks nothing"),
        ({"a": [1.0, 2.0], "b": [1.0, float("nan")]}, 1, "b row 1 is nan"),
        ({"a": [1.0, 2.0], "b": [2.0, 1.0]}, 2, "k is 2"),
    ],
)
def test_what_cannot_be_compared(scores: dict[str, list[float]], k: int, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        agreement(scores, [k])
