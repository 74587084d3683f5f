"""Taboo's instances file: read whole, and refused by name where it is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from whence.data.instances import read_instances
from whence.errors import BadInput


def write(path: Path, games: list[dict[str, Any]], **experiment: Any) -> Path:
    entry = {"name": "high_en", "game_instances": games, **experiment}
    path.write_text(json.dumps({"experiments": [entry]}))
    return path


def test_words_and_prompts_are_read(tmp_path: Path) -> None:
    game = {"game_id": 7, "target_word": "winter", "related_word": ["cold", "snow"]}
    file = write(tmp_path / "i.json", [game], max_turns=3, guesser_initial_prompt="Guess in $N$.")
    found = read_instances(file)
    assert found.by_task["high_en", "7"].related_words == ("cold", "snow")
    assert found.experiments[0].max_turns == 3
    assert found.experiments[0].guesser_prompt == "Guess in $N$."


def test_the_real_file(shared_data: Path) -> None:
    found = read_instances(shared_data / "taboo" / "instances.json")
    assert [len(experiment.instances) for experiment in found.experiments] == [20, 20, 20]
    assert found.by_task["low_en", "12"].target_word == "hyundai"
    assert found.by_task["high_en", "1"].related_stems == ("autark", "strong-mind", "separ")


@pytest.mark.parametrize(
    ("games", "said"),
    [
        ([], "game_instances"),
        ([{"target_word": "a"}], 'instance 0: expected an object with a "game_id"'),
        ([{"game_id": 0, "target_word": " "}], '"target_word"'),
        ([{"game_id": 0, "target_word": "!?"}], '"target_word"'),
        ([{"game_id": 0, "target_word": "a", "related_word": "b"}], '"related_word"'),
        ([{"game_id": 0, "target_word": w} for w in "ab"], "two instances have game_id 0"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, games: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(BadInput, match="experiment high_en") as caught:
        read_instances(write(tmp_path / "i.json", games))
    assert said in str(caught.value)


def test_another_json_is_no_instances_file(tmp_path: Path) -> None:
    (tmp_path / "i.json").write_text("[]")
    with pytest.raises(BadInput, match="not an instances file"):
        read_instances(tmp_path / "i.json")
