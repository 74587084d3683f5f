"""Folders of recorded games: two ages of the format, outcomes, and files that are none."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from playpen_games import say, write_episode, write_instances

from whence.data.sources.clembench import Recorded, recorded_games
from whence.data.sources.playpen import read_playpen
from whence.data.sources.source import Source
from whence.errors import BadInput
from whence.tiny.world import make_world


def read(place: Path, **changes: Any) -> tuple[Source, dict[str, Any]]:
    settings: dict[str, Any] = {
        "config": "interactions",
        "revision": None,
        "game": "taboo",
        "role": "WordGuesser",
        "instances": None,
        "limits": {"train": None, "test": None},
        **changes,
    }
    sources, described = read_playpen(str(place), **settings)
    assert len(sources) == 1
    return sources[0], described


def older(root: Path, task: int, **settings: Any) -> Path:
    return write_episode(root / f"a--b/taboo/0_high_en/episode_{task}", task=task, **settings)


def newer(root: Path, task: int, **settings: Any) -> Path:
    folder = root / f"a--b/taboo/high_en/instance_{task:05d}"
    return write_episode(folder, task=task, newer=True, **settings)


FOUR_GAMES: list[dict[str, Any]] = [
    {"word": "council", "guesses": ["parliament", "committee", "council"], "end": "correct guess"},
    {"word": "x-ray", "guesses": ["scan", "image", "photo"], "end": "max turns reached"},
    {"word": "sole", "guesses": [], "end": "invalid format"},
    {"word": "winter", "guesses": ["cold"], "end": "invalid clue"},
]


@pytest.mark.parametrize("scored", [False, True])
@pytest.mark.parametrize("form", [older, newer])
def test_both_ages_of_the_format(tmp_path: Path, form: Any, scored: bool) -> None:
    for task, game in enumerate(FOUR_GAMES):
        form(tmp_path / "results", task, scored=scored, **game)
    source, described = read(tmp_path / "results")
    assert (source.split, source.origin) == ("train", str(tmp_path / "results"))
    assert described["name"] == "results"
    assert described["episodes"] == 4
    assert str(tmp_path) not in json.dumps(described)
    rows = source.table.to_pylist()
    assert [row["outcome"] for row in rows] == ["success", "failure", "failure"]
    assert [row["target_word"] for row in rows] == ["council", "x-ray", "winter"]
    assert [row["group_id"] for row in rows] == ["high_en::0", "high_en::1", "high_en::3"]
    assert {row["model"] for row in rows} == {"beta"}
    place = "0_high_en/episode_1" if form is older else "high_en/instance_00001"
    assert rows[1]["row_id"] == f"a--b/taboo/{place}"
    assert rows[0]["messages"] == [
        {"role": "user", "content": "Guess the word.\n\nCLUE: clue 0"},
        {"role": "assistant", "content": "GUESS: parliament"},
        {"role": "user", "content": "CLUE: clue 1"},
        {"role": "assistant", "content": "GUESS: committee"},
        {"role": "user", "content": "CLUE: clue 2"},
        {"role": "assistant", "content": "GUESS: council"},
    ]
    assert source.left_out == {"other_game_or_role": 4, "aborted": 1}
    assert source.available == 8 == len(rows) + sum(source.left_out.values())


def test_the_describer(tmp_path: Path) -> None:
    for task, game in enumerate(FOUR_GAMES):
        older(tmp_path, task, **game)
    rows = read(tmp_path, role="WordDescriber")[0].table.to_pylist()
    assert [len(row["messages"]) for row in rows] == [6, 6, 2]
    assert rows[0]["model"] == "alpha"
    assert "council" in rows[0]["messages"][0]["content"]
    assert rows[0]["messages"][-2] == {"role": "user", "content": "GUESS: committee"}
    assert [row["target_word"] for row in rows] == ["council", "x-ray", "winter"]


def test_the_game_may_be_given_itself_and_the_order_is_that_of_numbers(tmp_path: Path) -> None:
    for task in (10, 2, 1):
        older(tmp_path, task, **FOUR_GAMES[0])
    source, _ = read(tmp_path / "a--b/taboo")
    assert source.table["row_id"].to_pylist() == [f"0_high_en/episode_{k}" for k in (1, 2, 10)]
    assert source.table["task_id"].to_pylist() == ["1", "2", "10"]
    assert set(source.table["game"].to_pylist()) == {"taboo"}


def test_without_an_instance_file_the_folder_numbers_the_game(tmp_path: Path) -> None:
    (older(tmp_path, 3, **FOUR_GAMES[0]) / "instance.json").unlink()
    row = read(tmp_path)[0].table.to_pylist()[0]
    assert (row["experiment"], row["task_id"], row["target_word"]) == ("high_en", "3", "council")


def test_roles_by_number_where_the_file_has_only_names(tmp_path: Path) -> None:
    folder = older(tmp_path, 0, **FOUR_GAMES[0])
    raw = json.loads((folder / "interactions.json").read_text())
    raw["players"] = {"GM": "Game master for taboo", "Player 1": "gamma", "Player 2": "delta"}
    (folder / "interactions.json").write_text(json.dumps(raw))
    row = read(tmp_path)[0].table.to_pylist()[0]
    assert (row["game_role"], row["model"]) == ("WordGuesser", "delta")
    raw["players"]["GM"] = "Game master for chess"
    (folder / "interactions.json").write_text(json.dumps(raw))
    (folder / "scores.json").write_text('{"episode scores": {"Aborted": 0, "Success": 1}}')
    row = read(tmp_path, game="chess", role="Player 2")[0].table.to_pylist()[0]
    assert (row["game_role"], row["model"]) == ("Player 2", "delta")
    with pytest.raises(BadInput, match=r"--role Player: .* it has Player 1, Player 2"):
        read(tmp_path, game="chess", role="Player")


def test_two_players_of_one_role_are_two_rows(tmp_path: Path) -> None:
    folder = newer(tmp_path, 0, scored=True, **FOUR_GAMES[0])
    raw = json.loads((folder / "interactions.json").read_text())
    raw["players"]["Player 1"]["game_role"] = "WordGuesser"
    (folder / "interactions.json").write_text(json.dumps(raw))
    ids = read(tmp_path)[0].table["row_id"].to_pylist()
    own = "a--b/taboo/high_en/instance_00000"
    assert ids == [f"{own}::Player 1", f"{own}::Player 2"]


def test_who_cannot_be_learned_from_is_left_out_and_counted(tmp_path: Path) -> None:
    older(tmp_path, 0, **FOUR_GAMES[0])
    programmed = newer(tmp_path, 1, **FOUR_GAMES[0])
    raw = json.loads((programmed / "interactions.json").read_text())
    raw["players"]["Player 2"]["model_name"] = "programmatic"
    (programmed / "interactions.json").write_text(json.dumps(raw))
    older(tmp_path, 2, word="a", guesses=[], end="invalid clue")
    older(tmp_path, 3, word="a", guesses=["b"], end="valid guess")
    assert read(tmp_path)[0].left_out == {
        "other_game_or_role": 4,
        "programmatic_player": 1,
        "took_no_turn": 1,
        "outcome_unknown": 1,
    }


def test_scores_have_the_last_word_and_newer_games_keep_them_inside(tmp_path: Path) -> None:
    folder = older(tmp_path, 0, scored=True, **FOUR_GAMES[1])
    scores = {"Aborted": 1, "Success": 1, "Lose": 0, "Main Score": float("nan")}
    (folder / "scores.json").write_text(json.dumps({"episode scores": scores}))
    assert Recorded(folder / "interactions.json").outcome == "aborted"
    (folder / "scores.json").unlink()
    raw = json.loads((folder / "interactions.json").read_text())
    (folder / "interactions.json").write_text(json.dumps({**raw, "Aborted": 0, "Success": 1}))
    assert Recorded(folder / "interactions.json").outcome == "success"


def test_the_file_of_other_games_is_refused(tmp_path: Path) -> None:
    older(tmp_path, 0, **FOUR_GAMES[0])
    wrong = write_instances(tmp_path / "wrong.json", make_world().known[:1])
    with pytest.raises(BadInput, match=r'episode_0/interactions.json: was played with "council"'):
        read(tmp_path, instances=wrong)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not JSON at line 1"),
        ("[]", 'expected an object with "players"'),
        ('{"players": {}}', '"turns" is not a list of lists'),
        ('{"players": {}, "turns": [{}]}', '"turns" is not a list of lists'),
        ('{"players": {"Player 2": 3}, "turns": []}', "the player Player 2 is neither text nor"),
    ],
)
def test_a_file_that_is_no_game_is_named(tmp_path: Path, text: str, says: str) -> None:
    older(tmp_path, 0, **FOUR_GAMES[0])
    bad = older(tmp_path, 1, **FOUR_GAMES[0]) / "interactions.json"
    bad.write_text(text)
    with pytest.raises(BadInput, match=says) as error:
        read(tmp_path)
    assert str(error.value).startswith(str(bad))
    assert "\n" not in str(error.value)


def test_a_message_that_is_not_text_matters_only_in_the_game_asked_for(tmp_path: Path) -> None:
    folder = older(tmp_path, 0, **FOUR_GAMES[0])
    raw = json.loads((folder / "interactions.json").read_text())
    raw["turns"][0].append(say("GM", "Player 2", {"image": "x.png"}))
    (folder / "interactions.json").write_text(json.dumps(raw))
    with pytest.raises(BadInput, match="in turn 0, what GM says to Player 2 is not text"):
        read(tmp_path)
    raw["players"]["GM"] = "Game master for chess"
    (folder / "interactions.json").write_text(json.dumps(raw))
    older(tmp_path, 1, **FOUR_GAMES[0])
    assert read(tmp_path)[0].table.num_rows == 1


def test_a_limit_is_of_kept_rows(tmp_path: Path) -> None:
    for task in range(6):
        older(tmp_path, task, **FOUR_GAMES[task % 4])
    source, _ = read(tmp_path, limits={"train": 2, "test": 1})
    assert source.table.num_rows == 3
    assert source.available is None


def test_thousands_of_games_take_seconds(tmp_path: Path) -> None:
    for task in range(1_000):
        older(tmp_path, task, **FOUR_GAMES[0])
    began = time.process_time()
    assert read(tmp_path)[0].table.num_rows == 1_000
    assert time.process_time() - began < 5
    assert len(recorded_games(tmp_path)) == 1_000
