"""Rates, intervals and comparisons against figures computed by hand or otherwise."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from whence.data.games.backend import Ask, AskError, Reply
from whence.data.games.ledger import UNREACHABLE, Ledger
from whence.data.games.summary import compare_guessers, summarize


def brief(word: str, guesser: str, outcome: str, repeat: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "game_id": f"{word}-{guesser}-{repeat}",
        "word": word,
        "experiment": word[0],
        "guesser_model": guesser,
        "repeat": repeat,
        "outcome": outcome,
        "cause": None,
        "final_turn": 2,
        "describer_repairs": 1,
        "guesser_repairs": 0,
        "has_row": True,
        "requests": 4,
        **more,
    }


def summary(games: Sequence[dict[str, Any]], tmp_path: Path, **more: Any) -> dict[str, Any]:
    ledger = Ledger(tmp_path / "requests.tsv", 40)
    return summarize(games, len(games), ledger, {}, partial=more.get("partial", False))


def some_games() -> list[dict[str, Any]]:
    rng = random.Random(3)
    return [
        brief(
            f"w{w}", guesser, "success" if rng.random() < skill else "failure", repeat,
            final_turn=rng.randint(1, 3),
        )
        for w in range(12)
        for repeat in range(1 + w % 3)
        for guesser, skill in (("a", 0.8), ("b", 0.3))
    ]  # fmt: skip


def test_the_interval_is_of_resampled_words(tmp_path: Path) -> None:
    games = some_games()
    found = summary(games, tmp_path)
    assert found["success_rate"] == sum(g["outcome"] == "success" for g in games) / len(games)
    # the same by another way: words drawn as whole blocks of games
    blocks = [[g["outcome"] == "success" for g in games if g["word"] == f"w{w}"] for w in range(12)]
    rng = np.random.default_rng(1)
    means = [
        np.mean(np.concatenate([blocks[i] for i in rng.integers(0, 12, 12)])) for _ in range(1500)
    ]
    expected = np.percentile(means, [2.5, 97.5])
    assert found["success_rate_interval"] == pytest.approx(expected, abs=0.03)
    assert "12 words" in found["success_rate_note"]
    assert found["mean_turns"] == pytest.approx(np.mean([g["final_turn"] for g in games]))


def test_errors_are_missing_data_and_aborted_games_count_against(tmp_path: Path) -> None:
    games = [
        brief("w1", "a", "success"), brief("w2", "a", "aborted", cause="guesser_empty_guess"),
        brief("w3", "a", "failure"), brief("w4", "a", "failure", cause="describer_rule_violation"),
        brief("w5", "a", "error", cause="timeout", final_turn=1, has_row=False),
    ]  # fmt: skip
    found = summary(games, tmp_path)
    assert found["success_rate"] == 0.25
    assert found["success_rate_of"] == 4
    assert found["success_rate_interval"] is None
    assert found["success_rate_note"] == "4 words, and an interval needs at least 5"
    assert (found["mean_turns"], found["mean_turns_of"]) == (2, 3)
    assert found["outcome_counts"] == {"success": 1, "failure": 2, "aborted": 1, "error": 1}
    assert found["failures_by_cause"] == {
        "describer_rule_violation": 1, "guesser_empty_guess": 1, "timeout": 1,
    }  # fmt: skip
    assert found["repairs"] == {"describer": 5, "guesser": 0}
    assert found["rows_written"] == 4


def test_guessers_are_compared_on_the_words_that_both_played(tmp_path: Path) -> None:
    games = some_games()
    (verdict,) = summary(games, tmp_path)["comparisons"]
    assert (verdict["arm"], verdict["control"], verdict["metric"]) == ("a", "b", "success")
    rate = {
        name: np.mean([g["outcome"] == "success" for g in games if g["guesser_model"] == name])
        for name in "ab"
    }
    assert verdict["effect"] == pytest.approx(rate["a"] - rate["b"])
    assert verdict["interval"][0] > 0
    assert verdict["items"] == len(games) // 2
    # without b's game of a word, a's counts no more
    fewer = [g for g in games if not (g["guesser_model"] == "b" and g["word"] == "w0")]
    assert compare_guessers(fewer)[0]["items"] == len(games) // 2 - 1


def test_three_guessers_and_guessers_without_a_common_word() -> None:
    games = [brief(f"w{w}", g, "success" if w % 2 else "failure") for w in range(6) for g in "abc"]
    games += [brief("w9", "d", "success"), brief("w0", "e", "error", cause="timeout")]
    pairs = [(c["arm"], c["control"]) for c in compare_guessers(games)]
    assert pairs == [("a", "b"), ("a", "c"), ("b", "c")]
    assert compare_guessers([brief("w0", "e", "error", cause="timeout")]) == []
    assert compare_guessers([]) == []


def test_an_unfinished_run_has_rates_but_no_intervals_yet(tmp_path: Path) -> None:
    found = summary(some_games(), tmp_path, partial=True)
    assert found["is_partial"] is True
    assert found["success_rate"] is not None
    assert found["success_rate_interval"] is None
    assert found["comparisons"] == []
    assert summary([], tmp_path, partial=True)["success_rate"] is None


def test_buckets_and_guessers_add_up(tmp_path: Path) -> None:
    games = [{**game, "experiment": "xyz"[int(game["word"][1:]) % 3]} for game in some_games()]
    found = summary(games, tmp_path)
    for key in ("by_guesser", "by_experiment"):
        assert sum(one["games"] for one in found[key].values()) == len(games)
        total = sum(one["success_rate"] * one["success_rate_of"] for one in found[key].values())
        assert total == pytest.approx(found["success_rate"] * len(games))
    assert list(found["by_experiment"]) == ["x", "y", "z"]


def test_the_ledger_counts_what_left_over_all_processes(tmp_path: Path) -> None:
    path = tmp_path / "requests.tsv"
    ask = Ask("g1", "model a", [], 1, 0.0, 1)
    first = Ledger(path, 40)
    for attempt in (1, 2, 3):
        first.sent(ask, attempt)
    first.failed(ask, 1, "429")
    first.failed(ask, 2, UNREACHABLE)
    first.answered(ask, Reply("x", 7, 2))
    first.close()
    with path.open("ab") as file:
        file.write(b"sent\tg2\tmod")  # a kill in the middle of a line
    second = Ledger(path, 40)
    assert vars(second.total()) == vars(first.total())
    assert vars(second.total()) == {
        "sent": 2, "retries": 1, "answered": 1, "prompt_tokens": 7, "completion_tokens": 2,
    }  # fmt: skip
    assert second.failures == {"429": 1, UNREACHABLE: 1}
    second.sent(ask, 1)
    second.close()
    assert Ledger(path, 40).total().sent == 3


def test_a_games_budget_is_its_own(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "requests.tsv", most=2)
    one, other = (Ask(name, "m", [], 1, 0.0, 1) for name in ("g1", "g2"))
    ledger.sent(one, 1)
    ledger.sent(one, 2)
    ledger.sent(other, 1)
    with pytest.raises(AskError, match=r"^budget_requests: 2 requests"):
        ledger.sent(one, 3)
    assert ledger.total().sent == 3
