"""What games came to: rates with intervals over words, comparisons of guessers, costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from whence.data.games.ledger import Ledger, per_model

OUTCOMES = ("success", "failure", "aborted", "error")
COUNTED = ("success", "failure", "aborted")
"""Outcomes that say something about the players; games that ended in an error are missing data."""
PLAYED = ("success", "failure")
"""Outcomes of games that were played to an end, whose turns are averaged."""
NOT_YET = "computed once all games are played"

Briefs = Sequence[Mapping[str, Any]]


def summarize(
    games: Briefs,
    requested: int,
    ledger: Ledger,
    settings: Mapping[str, Any],
    *,
    partial: bool,
) -> dict[str, Any]:
    """The content of `summary.json`. games: what `records.in_brief` keeps of those finished.

    partial: not all are; rates are then without intervals and comparisons, which cost time.
    """
    spent = ledger.total()
    requests = spent.sent
    causes = Counter(game["cause"] for game in games if game["cause"] is not None)
    return {
        "is_partial": partial,
        "games_requested": requested,
        "games_written": len(games),
        "rows_written": sum(game["has_row"] for game in games),
        "outcome_counts": _outcomes(games),
        **_rates(games, partial),
        "by_guesser": _by(games, "guesser_model", partial),
        "by_experiment": _by(games, "experiment", partial),
        "comparisons": [] if partial else compare_guessers(games),
        "failures_by_cause": dict(sorted(causes.items())),
        "repairs": {
            role: sum(game[f"{role}_repairs"] for game in games)
            for role in ("describer", "guesser")
        },
        "requests": requests,
        "retries": spent.retries,
        "requests_of_unfinished_games": requests - sum(game["requests"] for game in games),
        "request_failures": dict(sorted(ledger.failures.items())),
        "usage": {
            "prompt_tokens": spent.prompt_tokens,
            "completion_tokens": spent.completion_tokens,
            "by_model": per_model(ledger.by_model),
        },
        "settings": settings,
    }


def compare_guessers(games: Briefs) -> list[dict[str, Any]]:
    """Every two guessers on the games that both have: success, over words (house verdict keys).

    Guessers that have no game in common are not compared.
    """
    import pandas as pd

    from whence.stats import verdicts

    counted = [game for game in games if game["outcome"] in COUNTED]
    items = pd.DataFrame(
        {
            "arm": [game["guesser_model"] for game in counted],
            "seed": None,
            "row_id": [f"{game['word']}::{game['repeat']}" for game in counted],
            "word": [game["word"] for game in counted],
            "success": [float(game["outcome"] == "success") for game in counted],
        }
    )
    played = {arm: set(rows["row_id"]) for arm, rows in items.groupby("arm", sort=False)}
    names = dict.fromkeys(game["guesser_model"] for game in games)
    pairs = [
        (one, other)
        for one, other in combinations(names, 2)
        if played.get(one, set()) & played.get(other, set())
    ]
    if not pairs:
        return []
    found = verdicts(items, pairs, {"success": True}, cluster="word")
    return [comparison.to_dict() for comparison in found]


def _by(games: Briefs, key: str, partial: bool) -> dict[str, Any]:
    return {
        name: {
            "games": len(part),
            "outcome_counts": _outcomes(part),
            **_rates(part, partial),
        }
        for name in dict.fromkeys(game[key] for game in games)
        if (part := [game for game in games if game[key] == name])
    }


def _outcomes(games: Briefs) -> dict[str, int]:
    counts = Counter(game["outcome"] for game in games)
    return {name: counts[name] for name in OUTCOMES}


def _rates(games: Briefs, partial: bool) -> dict[str, Any]:
    """Success rate of the games that count, mean turns of those played to an end."""
    counted = [game for game in games if game["outcome"] in COUNTED]
    played = [game for game in games if game["outcome"] in PLAYED]
    return {
        **_mean("success_rate", [(g["word"], g["outcome"] == "success") for g in counted], partial),
        "success_rate_of": len(counted),
        **_mean("mean_turns", [(g["word"], g["final_turn"]) for g in played], partial),
        "mean_turns_of": len(played),
    }


def _mean(name: str, values: Sequence[tuple[str, float]], partial: bool) -> dict[str, Any]:
    """A mean with its 95 % interval over words, or why there is none."""
    from whence.stats import Interval, cluster_bootstrap

    if not values:
        return {name: None, f"{name}_interval": None, f"{name}_note": "no games to average"}
    numbers = [float(value) for _, value in values]
    found: dict[str, Any] = {name: sum(numbers) / len(numbers)}
    if partial:
        return found | {f"{name}_interval": None, f"{name}_note": NOT_YET}
    interval = cluster_bootstrap(numbers, [word for word, _ in values])
    if isinstance(interval, Interval):
        return found | {
            f"{name}_interval": [interval.low, interval.high],
            f"{name}_note": interval.method.replace("clusters", "words"),
        }
    reason = interval.reason.replace("clusters", "words").replace("cluster", "word")
    return found | {f"{name}_interval": None, f"{name}_note": reason}
