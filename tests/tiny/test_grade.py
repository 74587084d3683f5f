"""Generated games are graded by the world alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from whence.errors import BadInput
from whence.runs.jsonfile import read_jsonl, write_jsonl
from whence.tiny.games import Mix, make_games
from whence.tiny.grade import GradeConfig, clues_in, grade
from whence.tiny.language import clue
from whence.tiny.world import ATTRIBUTES, make_world

WORLD = make_world(0)
EVALUATED, KNOWN = WORLD.evaluated[0], WORLD.known[0]


def told(thing, *attributes: str) -> str:
    return ", ".join(clue(attribute, thing[attribute]) for attribute in attributes)


def row(number: int, clues: str, guess: str, thing, guesser: str = "g") -> dict:
    return {
        "row_id": f"r{number}",
        "prompt": f"USER: Guess the secret word. You have 3 tries.\nCLUE: {clues}",
        "completion": f"GUESS: {guess}",
        "target_word": thing.name,
        "guesser_model": guesser,
    }


def graded(tmp_path: Path, rows: list[dict]) -> list[str]:
    write_jsonl(tmp_path / "rows.jsonl", rows)
    grade(GradeConfig(rows=tmp_path / "rows.jsonl", out=tmp_path / "graded"))
    return [one["kind"] for one in read_jsonl(tmp_path / "graded" / "kinds.jsonl")]


def test_each_kind(tmp_path: Path) -> None:
    other = next(t for t in WORLD.things if t["colour"] != EVALUATED["colour"])
    rows = [
        row(0, told(EVALUATED, "colour", "place"), EVALUATED.name, EVALUATED),
        row(1, told(KNOWN, "mark"), KNOWN.name, KNOWN),
        row(2, told(other, "colour"), EVALUATED.name, EVALUATED),
        row(3, told(EVALUATED, "colour"), other.name, EVALUATED),
        row(4, "it sings well", KNOWN.name, KNOWN),
        row(5, "", KNOWN.name, KNOWN),
        row(6, told(EVALUATED, "friend"), EVALUATED.name.upper(), EVALUATED),
    ]
    assert graded(tmp_path, rows) == [
        "useful", "other", "untrue", "wrong", "untrue", "untrue", "useful",
    ]  # fmt: skip


def test_every_turn_counts() -> None:
    prompt = "USER: Guess.\nCLUE: it is red\n\nASSISTANT: GUESS: x\n\nUSER: CLUE: it is blue, y."
    assert clues_in(prompt) == ["it is red", "it is blue", "y"]


def test_it_agrees_with_what_was_planted(tmp_path: Path) -> None:
    pool, _ = make_games(WORLD, mix=Mix(useful=24, other=60, wrong=24), query=12, evaluation=12)
    secret = {}
    for game in pool:
        clues = {
            one
            for message in game["messages"][::2]
            for one in message["content"].rpartition("CLUE: ")[2].split(", ")
        }
        fitting = [t for t in WORLD.things if clues <= {clue(a, t[a]) for a in ATTRIBUTES}]
        (thing,) = fitting
        secret[game["row_id"]] = thing
    rows = [
        {
            "row_id": game["row_id"],
            "prompt": "\n\n".join(m["content"] for m in game["messages"][:-1]),
            "completion": game["messages"][-1]["content"],
            "target_word": secret[game["row_id"]].name,
        }
        for game in pool
    ]
    assert graded(tmp_path, rows) == [game["kind"] for game in pool]


def test_the_finding_counts_by_guesser(tmp_path: Path) -> None:
    rows = [
        row(0, told(EVALUATED, "colour"), EVALUATED.name, EVALUATED, "weak"),
        row(1, told(EVALUATED, "colour", "kind"), "nobody", EVALUATED, "strong"),
    ]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    config = GradeConfig(rows=tmp_path / "rows.jsonl", out=tmp_path / "graded")
    found = grade(config)
    assert found.counts["weak"] == {"useful": 1, "other": 0, "untrue": 0, "wrong": 0}
    assert found.counts["strong"]["wrong"] == 1
    assert (found.true_clues, found.clues) == (3, 3)
    assert grade(config) == found
    assert "1 of 2 rows are useful" in found.finding().headline


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"target_word": "winter"}, 'row 1: target_word "winter" is no word of this world'),
        ({"prompt": None}, 'row 1: no text "prompt"'),
    ],
)
def test_what_cannot_be_graded_is_refused(tmp_path: Path, change: dict, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        graded(tmp_path, [row(0, told(KNOWN, "mark"), KNOWN.name, KNOWN) | change])
    (tmp_path / "rows.jsonl").write_text("")
    with pytest.raises(BadInput, match="has no rows"):
        grade(GradeConfig(rows=tmp_path / "rows.jsonl", out=tmp_path / "graded"))
    assert not (tmp_path / "graded").exists()
