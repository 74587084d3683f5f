"""Measured rows become contests: shared runs, seeds that repeat, questions kept apart."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from made_sweeps import entry, rows

from whence.sweep.entries import Entry
from whence.sweep.summarize.contest import Contest, contests


def _contests(entries: list[Entry], *tables: pd.DataFrame, **settings: object) -> list[Contest]:
    finished = {each.run: "" for each in entries}
    return contests(pd.concat(tables), entries, finished, **settings)  # type: ignore[arg-type]


def test_settings_that_share_a_run_are_one_row() -> None:
    entries = [
        entry("a", {"layer": 1, "percentile": 80}, run="r1"),
        entry("b", {"layer": 1, "percentile": 90}, run="r1"),
        entry("c", {"layer": 2, "percentile": 80}, run="r2"),
    ]
    (found,) = _contests(entries, rows("r1", "p", [0.1, 0.2]), rows("r2", "p", [0.3, 0.4]))
    assert len(found) == 2
    shared, alone = found.standings
    assert (shared.settings, alone.settings) == (2, 1)
    assert shared.differing == {"percentile": [80, 90]}
    assert alone.differing == {}
    assert found.test[0, 0].tolist() == [0.1, 0.2]


def test_seeds_that_share_a_run_are_no_replications() -> None:
    entries = [entry("a", {"layer": 1}, seed=seed, run="r") for seed in range(5)]
    (found,) = _contests(entries, rows("r", "p", [0.1, 0.2, 0.3]))
    assert found.test.shape == (1, 1, 3)
    assert not found.seeded[0]
    assert found.standings[0].configurations == 5


def test_seeds_that_repeat_numbers_count_once() -> None:
    entries = [entry("a", {}, seed=seed) for seed in range(3)]
    same, other = [0.11, 0.22, 0.33], [0.11, 0.22, 0.44]
    tables = [rows(f"a-{seed}", "still", same, seed=seed) for seed in range(3)]
    tables += [
        rows(f"a-{seed}", "moves", other if seed == 1 else same, seed=seed) for seed in range(3)
    ]
    (found,) = _contests(entries, *tables)
    still, moves = (found.series.index(name) for name in ("still", "moves"))
    assert found.repeats[still] == 2
    assert not found.seeded[still]
    assert found.repeats[moves] == 1
    assert found.seeded[moves]
    assert (~np.isnan(found.test[moves]).all(axis=1)).sum() == 2


def test_right_and_wrong_agree_by_chance() -> None:
    """Three seeds of which two have the same answers on four items are three seeds."""
    entries = [entry("a", {}, seed=seed) for seed in range(3)]
    answers = [[1, 0, 1, 1], [1, 0, 1, 1], [0, 0, 1, 1]]
    tables = [rows(f"a-{seed}", "arm", answers[seed], seed=seed) for seed in range(3)]
    (found,) = _contests(entries, *tables)
    assert found.repeats[0] == 0
    assert np.nanmean(found.test[0]) == pytest.approx(8 / 12)


def test_one_seed_of_what_is_drawn_is_one_seed() -> None:
    (found,) = _contests([entry("a", {}, seed=0)], rows("a-0", "mlp", [0.1, 0.2], seed=0))
    assert found.seeded[0]
    assert found.test.shape[1] == 1


def test_questions_metrics_and_groups_are_apart() -> None:
    entries = [entry(name, {"target": name, "layer": 1}) for name in ("x", "y")]
    tables = [
        rows("x", "p", [0.1, 0.2], question="q1"),
        rows("y", "p", [0.3, 0.4], question="q1"),
        rows("y", "q", [0.5, 0.6], question="q2", metric="other"),
    ]
    assert [len(each) for each in _contests(entries, *tables)] == [2, 1]
    grouped = _contests(entries, *tables, per=["target"])
    assert [each.name for each in grouped] == ["q1, target x", "q1, target y", "q2, target y"]


def test_pairs_meet_seed_by_seed() -> None:
    entries = [entry("a", {}, seed=seed) for seed in range(2)]
    tables = [rows("a-0", "mlp", [1.0, 2.0], seed=0), rows("a-1", "mlp", [3.0, 5.0], seed=1)]
    tables += [rows(f"a-{seed}", "position", [0.5, 0.25], baseline=True) for seed in range(2)]
    tables += [rows(f"a-{seed}", "still", [0.0, 1.0]) for seed in range(2)]
    (found,) = _contests(entries, *tables)
    mlp, position, still = (found.series.index(name) for name in ("mlp", "position", "still"))
    one = found.differences(found.test, np.array([mlp]), np.array([position]))[0]
    assert one.tolist() == [[0.5, 1.75], [2.5, 4.75]]
    two = found.differences(found.test, np.array([still]), np.array([position]))[0]
    assert two[0].tolist() == [-0.5, 0.75]
    assert np.isnan(two[1]).all()
    assert found.role.tolist() == ["competes", "baseline", "competes"]


def test_units_of_validation_and_test_that_overlap_are_counted() -> None:
    frame = pd.concat([rows("a", "p", [0.1, 0.2], part="val"), rows("a", "p", [0.3], part="test")])
    frame["unit"] = ["u0", "u1", "u1"]
    (found,) = _contests([entry("a", {})], frame)
    assert found.overlap == 1
    assert found.val is not None
    assert found.val.shape == (1, 1, 2)


def test_equal_numbers_of_a_series_are_one_row() -> None:
    """How attention was read cannot touch a linear probe: one competitor, and so its baseline."""
    entries = [
        entry(f"{layer}{mode}", {"layer": layer, "mode": mode})
        for layer in (1, 2)
        for mode in ("light", "full")
    ]
    rng = np.random.default_rng(0)
    linear = {layer: rng.normal(size=6) for layer in (1, 2)}
    tables = []
    for each in entries:
        tables.append(rows(each.run, "linear", linear[each.factors["layer"]]))
        tables.append(rows(each.run, "vertical", rng.normal(size=6)))
        tables.append(rows(each.run, "position", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], baseline=True))
    (found,) = _contests(entries, *tables)
    stands_for = {
        (series, line.factors["layer"]): line.settings
        for series, line in zip(found.series, found.standings, strict=True)
        if series != "vertical"
    }
    assert stands_for == {("linear", 1): 2, ("linear", 2): 2, ("position", 1): 4}
    assert found.series.count("vertical") == 4
    one = found.series.index("linear")
    assert found.standings[one].differing == {"mode": ["light", "full"]}
    assert found.standings[one].runs == ["1light", "1full"]
    assert found.test[one, 0].tolist() == linear[1].tolist()
    position = found.series.index("position")
    assert {tuple(found.baselines_of(row)) for row in found.competing.tolist()} == {(position,)}
    assert found.baselines_of(position) == []


def test_equal_numbers_on_one_side_alone_are_two_rows() -> None:
    entries = [entry(name, {"layer": name}) for name in "ab"]
    tables = [rows(name, "p", [0.1, 0.2], part="val") for name in "ab"]
    tables += [rows(name, "p", [0.3, 0.4 + 0.1 * (name == "b")], part="test") for name in "ab"]
    (found,) = _contests(entries, *tables)
    assert len(found) == 2


def test_questions_of_one_name_are_told_apart_by_their_metric() -> None:
    entries = [entry("a", {}), entry("b", {})]
    tables = [rows("a", "p", [0.1], metric="loss"), rows("b", "p", [1.0], metric="correct")]
    assert [each.name for each in _contests(entries, *tables)] == ["loss", "correct"]


def test_series_that_are_named_compete() -> None:
    tables = [rows("a", name, [0.1, 0.2]) for name in ("p", "q", "base")]
    (found,) = _contests([entry("a", {})], *tables, series=["p"], baselines=["base"])
    assert dict(zip(found.series, found.role, strict=True)) == {
        "p": "competes",
        "q": "other",
        "base": "baseline",
    }
