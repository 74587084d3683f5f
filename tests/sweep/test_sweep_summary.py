"""A whole summary where the truth is planted: who wins, what is left of it, what is told."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_sweeps import entry, grid, rows, stage_of
from scipy import stats

from whence.errors import BadInput
from whence.runs.jsonfile import write_json
from whence.sweep.entries import Entry
from whence.sweep.settings import RankSettings
from whence.sweep.summarize.board import make_board
from whence.sweep.summarize.bounds import bounds
from whence.sweep.summarize.contest import contests
from whence.sweep.summarize.page import write_page
from whence.sweep.summarize.sides import sides_of
from whence.sweep.summarize.summary import Summary, summary_of
from whence.sweep.summarize.told import headline, markdown
from whence.sweep.summarize.winner import winner_of


def _summary(
    entries: list[Entry], measured: pd.DataFrame, draws: int = 400, seed: int = 0, **rank: Any
) -> Summary:
    return summary_of(
        stage_of(entries),
        measured,
        RankSettings(**rank),
        per=(),
        draws=draws,
        seed=seed,
        noun="problem",
    )


def _winner(found: Summary, group: int = 0) -> dict[str, Any]:
    return dict(found.facts["groups"][group]["winner"])


def test_under_a_null_confirmation_covers_and_choosing_flatters() -> None:
    """20 settings that are all worth 0.5: the truth of the winner is 0.5 whoever it is."""
    covered, confirmed, naive, corrected = [], [], [], []
    sweeps = 120
    entries, measured = grid([0.5] * 20, 40, 0.1, seed=0)
    (made,) = contests(measured, entries, {each.run: "" for each in entries})
    rng = np.random.default_rng(0)
    for at in range(sweeps):
        contest = replace(made, test=rng.normal(0.5, 0.1, made.test.shape))
        settings: dict[str, Any] = {"draws": 100, "seed": at, "noun": "problem"}
        board = make_board(contest, sides_of(contest, "units", 0.5, "problem", at), **settings)
        chosen = winner_of(board, **settings)
        assert chosen is not None
        winner = chosen.facts
        low, high = winner["confirmation"]["interval"]
        covered.append(low <= 0.5 <= high)
        confirmed.append(winner["confirmation"]["mean"] - 0.5)
        naive.append(winner["naive"] - 0.5)
        corrected.append(winner["bias_corrected"] - 0.5)
    # 95 % of 120 within three standard errors.
    assert np.mean(covered) > 0.95 - 3 * math.sqrt(0.05 * 0.95 / sweeps)
    assert abs(np.mean(confirmed)) < 3 * np.std(confirmed) / math.sqrt(sweeps)
    assert np.mean(naive) > 0.03
    assert abs(np.mean(corrected)) < 3 * np.std(corrected) / math.sqrt(sweeps)


def test_a_planted_best_is_found_and_told_apart() -> None:
    worth = [0.5] * 15
    worth[6] = 0.7
    found = _summary(*grid(worth, 60, 0.1, seed=0, hard=0.2))
    winner = _winner(found)
    assert winner["factors"] == {"layer": 6}
    assert winner["cannot_be_told_from"] == 0
    assert winner["share_of_resamples_won"] == 1
    assert found.facts["groups"][0]["agreement"]["halves"]["spearman"] < 0.9
    assert "probe, layer 6 is best of 15 on selection" in headline(found.facts)


def test_choice_and_shortlist_know_nothing_of_confirmation() -> None:
    """Numbers of the confirming units changed at will: winner, order and selection stay."""
    entries, measured = grid([0.5] * 10, 30, 0.1, seed=3)
    before = _summary(entries, measured)
    kept = set(before.boards[0].contest.units)
    chosen = before.boards[0].sides
    assert chosen.confirmation is not None
    # Which units confirm, by their values.
    confirming = {
        unit
        for unit, value in zip(measured["unit"], measured["value"], strict=True)
        if value in chosen.confirmation
    }
    assert len(confirming) == 15
    assert confirming < kept
    changed = measured.copy()
    rng = np.random.default_rng(0)
    at = changed["unit"].isin(confirming)
    changed.loc[at, "value"] = rng.normal(0, 5, int(at.sum()))
    after = _summary(entries, changed)
    assert before.shortlist == after.shortlist
    assert _winner(before)["run"] == _winner(after)["run"]
    assert _winner(before)["confirmation"] != _winner(after)["confirmation"]
    places = [each["selection"] for each in before.shortlist["settings"]]
    assert places == sorted(places, reverse=True)
    assert len(places) == 10


def test_lower_is_better_turns_everything_round() -> None:
    entries, measured = grid([0.5] * 8, 24, 0.1, seed=4)
    more = _summary(entries, measured)
    less = _summary(entries, measured.assign(value=-measured["value"], higher_is_better=False))
    one, two = _winner(more), _winner(less)
    assert one["factors"] == two["factors"]
    assert one["confirmation"]["mean"] == pytest.approx(-two["confirmation"]["mean"])
    assert one["expected_shrinkage"] == pytest.approx(two["expected_shrinkage"])
    assert one["cannot_be_told_from"] == two["cannot_be_told_from"]


def test_deltas_are_paired_and_q_counts_the_table() -> None:
    rng = np.random.default_rng(5)
    entries = [entry(f"s{at}", {"layer": at, "pool": "mean"}) for at in range(4)]
    hard = rng.normal(0, 1, 50)
    measured = pd.concat(
        [rows(f"s{at}", "p", hard + 0.1 * at + rng.normal(0, 0.2, 50)) for at in range(4)]
        + [rows(f"s{at}", "base", hard, baseline=True) for at in range(4)]
    )
    found = _summary(entries, measured, draws=4000, against={"layer": 0})
    deltas = found.deltas
    assert (deltas["against"] == "baseline").sum() == 4
    assert (deltas["against"] == "reference").sum() == 3
    one = deltas[(deltas["arm"] == "p, layer 3") & (deltas["against"] == "reference")].iloc[0]
    table = measured[measured["series"] == "p"].pivot(index="unit", columns="run", values="value")
    expected = stats.ttest_1samp(table["s3"] - table["s0"], 0)
    low, high = expected.confidence_interval()
    assert one["effect"] == pytest.approx((table["s3"] - table["s0"]).mean())
    assert one["low"] == pytest.approx(low, abs=0.01)
    assert one["high"] == pytest.approx(high, abs=0.01)
    assert one["control"] == "p, layer 0"
    assert one["items"] == 50
    assert one["seeds"] == 0
    expected_q = stats.false_discovery_control(deltas["p"].to_numpy())
    assert deltas["q"].to_numpy() == pytest.approx(expected_q)
    assert "beats p, layer 0 on score" in one["sentence"]
    twelve = set(found.facts["groups"][0]["comparisons"][0])
    assert {"arm", "control", "metric", "effect", "interval", "p", "q", "seeds", "items"} <= twelve
    assert len(twelve) == 12


def test_seeds_widen_where_they_vary() -> None:
    rng = np.random.default_rng(6)
    entries = [entry("a", {"layer": 1}, seed=seed) for seed in range(4)]
    hard = rng.normal(0, 0.05, 40)
    measured = pd.concat(
        [rows(f"a-{seed}", "mlp", 0.5 + 0.2 * seed + hard, seed=seed) for seed in range(4)]
        + [rows(f"a-{seed}", "still", 0.5 + hard) for seed in range(4)]
    )
    board = _summary(entries, measured, draws=2000).leaderboard.set_index("series")
    mlp, still = board.loc["mlp"], board.loc["still"]
    assert (mlp["seeds"], still["seeds"]) == (4, 0)
    assert mlp["sd_over_seeds"] == pytest.approx(np.std([0, 0.2, 0.4, 0.6], ddof=1))
    assert mlp["high"] - mlp["low"] > 10 * (still["high"] - still["low"])
    assert still["repeated_seeds"] == 3


def test_stability_over_seeds() -> None:
    """Two settings that change places with the seed, and one that never does."""
    values = {("a", 0): 0.9, ("a", 1): 0.1, ("b", 0): 0.1, ("b", 1): 0.9, ("c", 0): 0.0}
    values["c", 1] = 0.01
    entries = [entry(name, {"layer": name}, seed=seed) for name in "abc" for seed in (0, 1)]
    measured = pd.concat(
        [
            rows(f"{name}-{seed}", "mlp", value + 0.001 * np.arange(6), seed=seed)
            for (name, seed), value in values.items()
        ]
    )
    found = _summary(entries, measured)
    table = found.stability.set_index("row")
    assert table.loc["mlp, layer a", ["best_rank", "worst_rank"]].tolist() == [1, 2]
    assert table.loc["mlp, layer c", ["best_rank", "worst_rank"]].tolist() == [3, 3]
    expected = stats.kendalltau([0.9, 0.1, 0.0], [0.1, 0.9, 0.01]).statistic
    agreement = found.facts["groups"][0]["agreement"]["seeds"]
    assert agreement["kendall"] == pytest.approx(expected)


def test_settings_of_one_run_are_one_line_everywhere() -> None:
    entries = [
        entry(f"{layer}-{pct}", {"layer": layer, "pct": pct}, run=f"r{layer}")
        for layer in (1, 2)
        for pct in (80, 90)
    ]
    rng = np.random.default_rng(7)
    measured = pd.concat([rows(f"r{layer}", "p", rng.normal(0, 1, 12)) for layer in (1, 2)])
    found = _summary(entries, measured)
    assert len(found.leaderboard) == 2
    assert found.leaderboard["settings"].tolist() == [2, 2]
    assert found.leaderboard["factor.pct"].tolist() == ["any of 80, 90"] * 2
    assert [each["stands_for"] for each in found.shortlist["settings"]] == [2, 2]
    assert found.facts["groups"][0]["winner"]["others"] == 1


def test_equal_lines_compete_once_and_are_one_of_the_shortlist() -> None:
    """Two modes that a probe does not see: one line, one entry, a setting each in the factors."""
    entries = [
        entry(f"{layer}-{mode}", {"layer": layer, "mode": mode})
        for layer in (1, 2)
        for mode in ("light", "full")
    ]
    rng = np.random.default_rng(8)
    linear = {layer: layer + rng.normal(0, 0.5, 20) for layer in (1, 2)}
    measured = pd.concat(
        [rows(each.run, "linear", linear[each.factors["layer"]]) for each in entries]
        + [rows("1-full", "vertical", rng.normal(1.5, 0.01, 20))]
    )
    found = _summary(entries, measured, against={"mode": "full", "layer": 1})
    winner = _winner(found)
    assert winner["name"] == "linear, layer 2, mode any of light, full"
    assert (winner["settings"], winner["others"]) == (2, 2)
    assert found.facts["groups"][0]["competing"] == 3
    assert [each["stands_for"] for each in found.shortlist["settings"]] == [2, 1, 1]
    first = found.shortlist["settings"][0]
    assert first["factors"] == {"layer": 2, "mode": "light"}
    assert first["any_of"] == {"mode": ["light", "full"]}
    assert found.shortlist["settings"][2]["factors"] == {"layer": 1, "mode": "light"}
    means = {
        (each["factor"], each["value"]): (each["mean"], each["settings"])
        for each in found.facts["groups"][0]["factors"]
    }
    assert means["layer", "2"] == (pytest.approx(linear[2].mean()), 2)
    assert means["mode", "full"][1] == 2
    # The reference is found under the second of the settings that its line stands for.
    assert found.deltas[["arm", "control"]].to_numpy().tolist() == [
        ["linear, layer 2, mode any of light, full", "linear, layer 1, mode any of light, full"]
    ]


def test_what_chose_is_one_number_where_seeds_lack_units() -> None:
    """Ranked is the mean over cells; the correction begins from that number and no other."""
    rng = np.random.default_rng(9)
    entries = [entry(f"s{at}", {"layer": at}, seed=seed) for at in range(4) for seed in range(3)]
    parts = []
    for at in range(4):
        for seed in range(3):
            values = rng.normal(0, 1, 24) + seed
            values[rng.random(24) < 0.4] = np.nan
            parts.append(rows(f"s{at}-{seed}", "mlp", values, seed=seed))
    winner = _winner(_summary(entries, pd.concat(parts)))
    assert winner["naive"] == pytest.approx(winner["selection"], abs=1e-12)


def test_two_metrics_of_one_question_keep_their_own_differences() -> None:
    entries = [entry("a", {"judge": 1}), entry("b", {"judge": 2})]
    rng = np.random.default_rng(10)
    measured = pd.concat(
        [
            rows(run, name, rng.normal(at, 0.1, 12), metric=metric, baseline=name == "base")
            for run, metric, at in (("a", "loss", 5), ("b", "words", 9))
            for name in ("arm", "base")
        ]
    )
    groups = _summary(entries, measured).facts["groups"]
    assert [[each["metric"] for each in group["comparisons"]] for group in groups] == [
        ["loss"],
        ["words"],
    ]
    assert [group["name"] for group in groups] == ["loss", "words"]
    said = headline({**_summary(entries, measured).facts})
    assert said.startswith("one: 2 questions, each with a winner of its own. loss: arm")
    assert ". words: arm (words 9." in said


def test_luck_with_seeds_is_on_both_sides_and_said() -> None:
    rng = np.random.default_rng(11)
    entries = [entry("a", {}, seed=seed) for seed in range(2)]
    drawn = pd.concat([rows(f"a-{seed}", "mlp", rng.normal(size=8), seed=seed) for seed in (0, 1)])
    still = pd.concat([rows(f"a-{seed}", "mlp", np.arange(8.0)) for seed in (0, 1)])
    notes = [
        _summary(entries, table).facts["groups"][0]["sides"]["notes"] for table in (drawn, still)
    ]
    assert "luck with seeds is on both" in " ".join(notes[0])
    assert not notes[1]


def test_a_few_easy_units_do_not_win() -> None:
    """A line measured on one unit alone would be first with the mean of it."""
    rng = np.random.default_rng(12)
    entries = [entry(f"s{at}", {"layer": at}) for at in range(3)]
    values = [np.full(20, np.nan), rng.uniform(0, 0.9, 20), rng.uniform(0, 0.9, 20)]
    values[0][:2] = 1.0
    values[1][:2] = np.nan
    measured = pd.concat([rows(f"s{at}", "p", own) for at, own in enumerate(values)])
    found = _summary(entries, measured, against={"layer": 0})
    group = found.facts["groups"][0]
    assert group["competing"] == 2
    assert group["winner"]["factors"]["layer"] in (1, 2)
    assert any("1 line has fewer than half" in note for note in group["sides"]["notes"])
    assert len(found.shortlist["settings"]) == 2
    assert "1 line has fewer than half" in markdown({**found.facts, "matrix": None})


def test_a_winner_without_some_units_says_so() -> None:
    entries = [entry(f"s{at}", {"layer": at}) for at in range(2)]
    best = np.full(20, 0.9) + 0.001 * np.arange(20)
    best[::4] = np.nan
    measured = pd.concat([rows("s0", "p", best), rows("s1", "p", np.arange(20) / 100)])
    said = headline(_summary(entries, measured).facts)
    own = _winner(_summary(entries, measured))["selection_units"]
    assert 5 <= own < 10
    assert f"on 10 of 20 problems, {own} of which have it" in said


def test_factors_of_one_last_word_are_said_in_full() -> None:
    entries = [entry(f"s{at}", {"a.mode": at, "b.mode": 1 - at, "c.size": at}) for at in range(2)]
    measured = pd.concat([rows(f"s{at}", "p", np.arange(8.0) + at) for at in range(2)])
    assert _winner(_summary(entries, measured))["name"] == "p, a.mode 1, b.mode 0, size 1"


def test_an_interval_ends_where_its_metric_does_and_a_name_alone_says_nothing() -> None:
    assert bounds("top_loss", np.array([0.5, 7.0])) == (-np.inf, np.inf)
    assert bounds("top_5_recall", np.array([0.5, 1.0])) == (0.0, 1.0)
    assert bounds("spearman", np.array([-0.5, 1 + 2e-16])) == (-1.0, 1.0)
    assert bounds("anything", np.array([0.0, 1.0, np.nan])) == (0.0, 1.0)
    assert bounds("anything", np.array([np.nan])) == (-np.inf, np.inf)


def test_one_unit_one_setting_and_what_cannot_be_are_said(tmp_path: Path) -> None:
    found = _summary([entry("a", {})], rows("a", "p", [0.5]))
    assert "nothing was left to confirm the choice on" in headline(found.facts)
    assert "the only one" in headline(found.facts)
    few = _summary(*grid([0.1, 0.2], 3, 0.1, seed=0))
    assert "an interval needs at least 5" in headline(few.facts)
    for number, each in enumerate((found, few)):
        write_json(tmp_path / f"{number}.json", each.facts)  # refuses NaN
        write_page(each.boards, each.facts, tmp_path / f"{number}.html")
    assert "NaN" not in (tmp_path / "0.json").read_text()
    with pytest.raises(BadInput, match="nothing competes"):
        _summary([entry("a", {})], rows("a", "p", [0.5, 0.6], baseline=True))
    with pytest.raises(BadInput, match=r"rank.against: depth is no factor"):
        _summary(*grid([0.1, 0.2], 8, 0.1, seed=0), against={"depth": 1})


def test_names_are_text_in_page_and_markdown(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>|x"
    entries = [entry(f"s{at}", {"name": f"{evil}{at}"}) for at in range(2)]
    measured = pd.concat([rows(f"s{at}", evil, np.arange(8) + at) for at in range(2)])
    found = _summary(entries, measured)
    page = write_page(found.boards, found.facts, tmp_path / "page.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    text = markdown(found.facts)
    assert "<script>" not in text
    assert "\\|x" in text


def test_partial_is_said_first() -> None:
    entries, measured = grid([0.1, 0.2, 0.3], 12, 0.1, seed=0)
    stage = stage_of(entries, missing=["s2"])
    own = measured[measured["run"] != "s2"]
    found = summary_of(stage, own, RankSettings(), per=(), draws=200, seed=0, noun="problem")
    assert headline(found.facts).startswith("one: partial, 2 of 3 runs: ")
