"""What is kept of a game: its line in `games.jsonl`, and the training row of its guesser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from whence.data.games.ledger import Spent, per_model
from whence.data.games.play import Table
from whence.data.sources.chat import to_prompt_completion

GAME, ROLE = "taboo", "WordGuesser"


def game_record(
    table: Table, outcome: str, error: str | None, spent: dict[str, Spent]
) -> dict[str, Any]:
    """A finished game. error: None, or "cause: detail". spent: model → its requests for this game.

    prompt, completion: the guesser's chat up to and with its last guess, both None without one.
    """
    game = table.game
    prompt, completion = to_prompt_completion(table.guesser) or (None, None)
    by_model = per_model(spent)
    return {
        "game_id": game.game_id,
        "game": GAME,
        "game_role": ROLE,
        "max_turns": game.max_turns,
        "describer_model": game.describer,
        "guesser_model": game.guesser,
        "experiment": game.experiment.name,
        "task_id": game.instance.task_id,
        "source_task_id": game.instance.task_id,
        "repeat": game.repeat,
        "target_word": game.instance.target_word,
        "related_words": list(game.instance.related_words),
        "outcome": outcome,
        "error": error,
        "final_turn": len(table.turns),
        "turns": table.turns,
        "prompt": prompt,
        "completion": completion,
        "describer_messages": table.describer,
        "guesser_messages": table.guesser,
        "usage": {
            "total_prompt_tokens": sum(one["prompt_tokens"] for one in by_model.values()),
            "total_completion_tokens": sum(one["completion_tokens"] for one in by_model.values()),
            "requests": sum(one["requests"] for one in by_model.values()),
            "by_model": by_model,
        },
    }


def training_row(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """The row that `data build` takes; None for a game without a guess that counts.

    group_id: games of one word belong together, and must not fall apart into different splits.
    """
    if record["completion"] is None:
        return None
    guesses = [turn["guess_word"] for turn in record["turns"] if turn["guess_word"] is not None]
    return {
        "row_id": record["game_id"],
        "prompt": record["prompt"],
        "completion": record["completion"],
        "source_split": "synthetic",
        "game": record["game"],
        "game_role": record["game_role"],
        "pair_key": f"{record['game']}::{record['game_role']}",
        "outcome": record["outcome"],
        "experiment": record["experiment"],
        "task_id": record["task_id"],
        "source_task_id": record["source_task_id"],
        "group_id": word_of(record),
        "describer_model": record["describer_model"],
        "guesser_model": record["guesser_model"],
        "target_word": record["target_word"],
        "related_words": record["related_words"],
        "turn_count": len(guesses),
        "final_guess_word": guesses[-1],
        "generation_prompt_tokens": record["usage"]["total_prompt_tokens"],
        "generation_completion_tokens": record["usage"]["total_completion_tokens"],
    }


def word_of(record: Mapping[str, Any]) -> str:
    """Which word of which experiment a game is about: what intervals resample."""
    return f"{record['experiment']}::{record['task_id']}"


def cause_of(record: Mapping[str, Any]) -> str | None:
    """The first word of a game's error; None without one."""
    error = record["error"]
    return None if error is None else str(error).partition(":")[0]


def in_brief(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a summary needs of a game, a small part of its transcript."""
    turns = record["turns"]
    return {
        "game_id": record["game_id"],
        "word": word_of(record),
        "experiment": record["experiment"],
        "guesser_model": record["guesser_model"],
        "repeat": record["repeat"],
        "outcome": record["outcome"],
        "cause": cause_of(record),
        "final_turn": record["final_turn"],
        "describer_repairs": sum(turn["describer_repairs"] for turn in turns),
        "guesser_repairs": sum(turn["guesser_repairs"] for turn in turns),
        "has_row": record["completion"] is not None,
        "requests": record["usage"]["requests"],
    }
