"""Players learn from true games, and play words that the instances file has."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from whence.data.games.prompts import describer_opening, guesser_opening
from whence.data.games.rules import forbidden_words, violations
from whence.data.instances import read_instances
from whence.tiny.games import play
from whence.tiny.grade import true_clues
from whence.tiny.make import MakeConfig, make
from whence.tiny.players import make_players
from whence.tiny.world import make_world

WORLD = make_world(0)
THINGS = {thing.name: thing for thing in WORLD.things}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("players") / "made"
    make(MakeConfig(kind="players", out=out, count=120))
    return out


def rows(folder: Path, part: str) -> list[dict]:
    return [json.loads(line) for line in (folder / f"{part}.jsonl").read_text().splitlines()]


def test_the_words_are_the_worlds_and_in_their_experiments(folder: Path) -> None:
    read = read_instances(folder / "instances.json")
    names = {e.name: {i.target_word for i in e.instances} for e in read.experiments}
    assert {name: len(words) for name, words in names.items()} == {
        "evaluated": 12,
        "newcomers": 24,
        "known": 24,
    }
    assert names["evaluated"] == {thing.name for thing in WORLD.evaluated}
    assert names["newcomers"] < {thing.name for thing in WORLD.newcomers} - names["evaluated"]
    assert names["known"] < {thing.name for thing in WORLD.known}
    for one in read.by_task.values():
        assert len(set(one.related_words) - {one.target_word}) == 3
        kinds = {THINGS[word]["kind"] for word in (one.target_word, *one.related_words)}
        assert len(kinds) == 1


def test_no_true_clue_breaks_the_rules_of_taboo(folder: Path) -> None:
    """A name that were the stem of an attribute's word would lose games for nothing."""
    for one in read_instances(folder / "instances.json").by_task.values():
        told = ", ".join(true_clues(THINGS[one.target_word]))
        assert not violations(told, forbidden_words(one))


def test_prompts_are_those_that_players_learn_from(folder: Path) -> None:
    read = read_instances(folder / "instances.json")
    openings = {
        describer_opening(experiment, one, 3): one.target_word
        for experiment in read.experiments
        for one in experiment.instances
    }
    experiment = read.experiments[0]
    thing = WORLD.evaluated[0]
    game = play(thing, [thing.name], [["colour", "place"]])
    clue = game[0]["content"].rpartition("\n")[2]
    assert guesser_opening(experiment, clue, 3) == game[0]["content"]
    for row in rows(folder, "describer"):
        first, *said = row["messages"]
        assert [m["role"] for m in said] == ["assistant", "user"] * (len(said) // 2) + ["assistant"]
        secret = THINGS[openings[first["content"]]]
        told = [m["content"] for m in said if m["role"] == "assistant"]
        clues = [one for text in told for one in text.removeprefix("CLUE: ").split(", ")]
        assert set(clues) <= true_clues(secret)
        fitting = [t for t in WORLD.things if set(clues) <= true_clues(t)]
        assert fitting == [secret]
        guesses = [m["content"] for m in said if m["role"] == "user"]
        assert all(g.startswith("GUESS: ") and secret.name not in g for g in guesses)


def test_guessers_learn_right_guesses_of_every_word(folder: Path) -> None:
    seen = Counter()
    for row in rows(folder, "guesser"):
        text = ", ".join(m["content"].rpartition("CLUE: ")[2] for m in row["messages"][::2])
        (secret,) = [t for t in WORLD.things if set(text.split(", ")) <= true_clues(t)]
        assert row["messages"][-1]["content"] == f"GUESS: {secret.name}"
        seen[secret.name] += 1
    assert set(seen.values()) == {2}
    assert len(seen) == 60


def test_rows_differ_and_come_again_the_same() -> None:
    describers, guessers = make_players(WORLD, 300)
    assert (describers, guessers) == make_players(WORLD, 300)
    assert describers != make_players(WORLD, 300, seed=1)[0]
    for part in (describers, guessers):
        texts = {json.dumps(row["messages"]) for row in part}
        assert len(texts) == 300
