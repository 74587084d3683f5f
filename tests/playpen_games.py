"""Games of Taboo as the Playpen data set has them, made of the tiny world; and clembench's folders.

Every instance is played by several models, each game seen by both its players. Which games are won,
lost and aborted is a function of their number, so that a test can say what must come out.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from whence.tiny.games import draw_game
from whence.tiny.world import Thing, World

TOLD = (
    "You have to describe a target word for another player to guess.\n\nThis is the target word "
    "that you need to describe and that the other player needs to guess:\n\n{word}\n\n"
    "Related words are:\n\n- one\n- two"
)
OUTCOMES = ("success", "failure", "success", "aborted")


def outcome_of(number: int) -> str:
    """success, failure, success, aborted, success, …"""
    return OUTCOMES[number % len(OUTCOMES)]


def played(
    world: World,
    things: Sequence[Thing],
    *,
    split: str,
    models: Sequence[str] = ("alpha", "beta"),
    first_task: int = 0,
    outcomes: Sequence[str] = OUTCOMES,
) -> list[dict[str, Any]]:
    """Rows `{messages, meta}`: per thing and model a describer's row, a guesser's, and one of
    another game. Task k is the k-th thing; game n (of all) ends as `outcomes[n % len]`.
    """
    rng = random.Random(f"playpen:{split}")
    rows: list[dict[str, Any]] = []
    number = 0
    for task, thing in enumerate(things, start=first_task):
        used: set[tuple[str, ...]] = set()
        for model in models:
            outcome = outcomes[number % len(outcomes)]
            guessed = draw_game(thing, world, rng, used, wrong=outcome != "success")
            told = [
                {"role": "user", "content": TOLD.format(word=thing.name)},
                {"role": "assistant", "content": "CLUE: a secret"},
            ]
            common = {"experiment": "high_en", "task_id": task, "model": model, "outcome": outcome}
            taboo = {"game": "taboo", **common}
            rows += [
                {"messages": told, "meta": {**taboo, "game_role": "WordDescriber"}},
                {"messages": guessed, "meta": {**taboo, "game_role": "WordGuesser"}},
                {
                    "messages": [
                        {"role": "user", "content": f"{split} word {number}"},
                        {"role": "assistant", "content": "guess: apple"},
                    ],
                    "meta": {**common, "game": "wordle", "game_role": "Word Guesser"},
                },
            ]
            number += 1
    return rows


def write_playpen(folder: Path, splits: dict[str, list[dict[str, Any]]], form: str) -> Path:
    """Write splits as "parquet", "jsonl" (meta as JSON text), "saved", or "hub" (in `data/`)."""
    from datasets import Dataset, DatasetDict
    from pyarrow import Table

    from whence.runs.tables import write_parquet

    if form == "saved":
        made = {name: Dataset.from_list(rows) for name, rows in splits.items()}
        DatasetDict(made).save_to_disk(folder)
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in splits.items():
        if form == "jsonl":
            lines = [json.dumps({**row, "meta": json.dumps(row["meta"])}) for row in rows]
            (folder / f"{name}.jsonl").write_text("\n".join(lines))
        else:
            file = f"{name}.parquet" if form == "parquet" else f"data/{name}-00000-of-00001.parquet"
            write_parquet(Table.from_pylist(rows), folder / file)
    return folder


def write_instances(path: Path, things: Sequence[Thing], experiment: str = "high_en") -> Path:
    """An instances file whose k-th game is about the k-th thing."""
    games = [{"game_id": i, "target_word": thing.name} for i, thing in enumerate(things)]
    path.write_text(json.dumps({"experiments": [{"name": experiment, "game_instances": games}]}))
    return path


def say(sender: str, receiver: str, content: Any, kind: str | None = None) -> dict[str, Any]:
    """One event of a recorded game."""
    kind = kind or ("send message" if sender == "GM" else "get message")
    action = {"type": kind, "content": content}
    return {"from": sender, "to": receiver, "timestamp": "2026-01-01T00:00:00", "action": action}


def write_episode(
    folder: Path,
    word: str,
    guesses: Sequence[str],
    *,
    end: str,
    task: int,
    newer: bool = False,
    scored: bool = False,
) -> Path:
    """One game of Taboo as clembench records it, in the older or newer format.

    end: the game master's last word on it ("correct guess", "invalid format", …).
    """
    folder.mkdir(parents=True, exist_ok=True)
    players: dict[str, Any] = {
        "GM": "Game master for taboo",
        "Player 1": "WordDescriber, alpha",
        "Player 2": "WordGuesser, beta",
    }
    raw: dict[str, Any] = {"players": players}
    if newer:
        raw["meta"] = {"game_name": "taboo", "experiment_name": "high_en", "game_id": task}
        raw["players"] = {
            "GM": {"game_role": "Game Master", "model_name": "programmatic"},
            "Player 1": {"game_role": "WordDescriber", "model_name": "alpha"},
            "Player 2": {"game_role": "WordGuesser", "model_name": "beta"},
        }
    turns = []
    for number, guess in enumerate(guesses):
        asked = TOLD.format(word=word) if number == 0 else f"GUESS: {guesses[number - 1]}"
        opening = "Guess the word.\n\n" if number == 0 else ""
        turns.append(
            [
                say("GM", "Player 1", asked),
                say("Player 1", "GM", f"CLUE: clue {number}"),
                say("GM", "GM", "continue", "valid response"),
                say("GM", "Player 2", f"{opening}CLUE: clue {number}"),
                say("Player 2", "GM", f"GUESS: {guess}"),
            ]
        )
    if not guesses:
        turns.append([say("GM", "Player 1", TOLD.format(word=word)), say("Player 1", "GM", "Hm.")])
    turns[-1].append(say("GM", "GM", "end game", end))
    raw["turns"] = turns
    (folder / "interactions.json").write_text(json.dumps(raw))
    instance = {"game_id": task, "target_word": word, "related_word": ["one", "two"]}
    (folder / "instance.json").write_text(json.dumps(instance))
    (folder / "requests.json").write_text("[]")
    if scored:
        aborted, won = end == "invalid format", end == "correct guess"
        marks = {"Aborted": int(aborted), "Success": int(won), "Lose": int(not aborted and not won)}
        text = json.dumps({"turn scores": {}, "episode scores": {**marks, "Main Score": None}})
        (folder / "scores.json").write_text(text)
    return folder
