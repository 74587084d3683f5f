"""Which games are played: the same words for everyone, under names that never change."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from whence.data.games.schedule import Game, schedule
from whence.data.instances import read_instances


def games(path: Path, **changes: Any) -> list[Game]:
    settings: dict[str, Any] = {
        "describer": "d",
        "guessers": ("a", "b"),
        "games_per_guesser": 20,
        "max_turns": None,
        "seed": 42,
    }
    return schedule(read_instances(path), **(settings | changes))


def words(found: list[Game], guesser: str) -> list[tuple[str, str, int]]:
    return [
        (g.experiment.name, g.instance.target_word, g.repeat) for g in found if g.guesser == guesser
    ]


def test_every_guesser_plays_the_same_words_in_the_same_order(words_file: Path) -> None:
    found = games(words_file)
    assert len(found) == 40
    assert words(found, "a") == words(found, "b")


def test_experiments_take_turns_and_words_come_again_when_all_are_through(words_file: Path) -> None:
    found = words(games(words_file), "a")
    assert [name for name, _, _ in found[:8]] == ["high_en", "low_en"] * 4
    assert len({word for _, word, _ in found[:8]}) == 8
    assert Counter(repeat for _, _, repeat in found) == {0: 8, 1: 8, 2: 4}
    assert [word for _, word, _ in found[8:16]] == [word for _, word, _ in found[:8]]
    other = words(games(words_file, seed=1), "a")
    assert other[:8] != found[:8], "the seed shuffles"
    assert set(other[:8]) == set(found[:8])


def test_ids_are_unique_and_say_what_the_game_depends_on(words_file: Path) -> None:
    found = games(words_file)
    ids = {game.game_id for game in found}
    assert len(ids) == 40
    assert all(g.game_id.startswith(f"{g.experiment.name}-{g.instance.task_id}-g") for g in found)
    assert {g.game_id for g in games(words_file)} == ids, "not random"
    for change in ({"seed": 1}, {"describer": "x"}, {"guessers": ("x", "y")}, {"max_turns": 2}):
        assert not ids & {g.game_id for g in games(words_file, **change)}, change


def test_a_longer_run_begins_with_the_games_of_a_shorter_one(words_file: Path) -> None:
    short, long = games(words_file, games_per_guesser=3), games(words_file)
    assert [g.game_id for g in long[:6]] == [g.game_id for g in short]


def test_turns_are_the_flags_else_the_files(words_file: Path) -> None:
    assert {g.max_turns for g in games(words_file)} == {3}
    assert {g.max_turns for g in games(words_file, max_turns=5)} == {5}


def test_the_real_file_gives_each_bucket_its_share(shared_data: Path) -> None:
    found = games(shared_data / "taboo" / "instances.json", games_per_guesser=60)
    assert Counter(name for name, _, _ in words(found, "a")) == {
        "high_en": 20, "medium_en": 20, "low_en": 20,
    }  # fmt: skip
