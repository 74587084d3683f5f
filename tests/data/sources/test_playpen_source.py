"""Played games of one role: which rows are kept, what they are called, and whose words they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from playpen_games import outcome_of, played, write_instances, write_playpen

from whence.data.instances import read_instances
from whence.data.sources.playpen import read_playpen
from whence.data.sources.source import Source
from whence.data.sources.target_word import TOLD
from whence.errors import BadInput
from whence.tiny.world import Thing, World, make_world

TASKS, MODELS = 6, 2


@pytest.fixture(scope="module")
def world() -> World:
    return make_world()


@pytest.fixture(scope="module")
def things(world: World) -> list[Thing]:
    return list(world.evaluated[:TASKS])


@pytest.fixture
def splits(world: World, things: list[Thing]) -> dict[str, list[dict[str, Any]]]:
    """train: 6 tasks by 2 models; validation: 2 other tasks by 2 models."""
    others = list(world.known[:2])
    return {
        "train": played(world, things, split="train"),
        "validation": played(world, others, split="validation", first_task=TASKS),
    }


def read(place: Path | str, **changes: Any) -> tuple[list[Source], dict[str, Any]]:
    limits = {name: changes.pop(name, None) for name in ("train", "test")}
    settings: dict[str, Any] = {
        "config": "interactions",
        "revision": None,
        "game": "taboo",
        "role": "WordGuesser",
        "instances": None,
        "limits": limits,
        **changes,
    }
    return read_playpen(str(place), **settings)


def one(folder: Path, rows: list[dict[str, Any]], **changes: Any) -> Source:
    """The train split of these rows alone."""
    return read(write_playpen(folder, {"train": rows}, "parquet"), **changes)[0][0]


@pytest.mark.parametrize("form", ["parquet", "jsonl", "saved", "hub"])
def test_the_rows_of_the_earlier_pipeline(
    tmp_path: Path, splits: dict[str, list[dict[str, Any]]], things: list[Thing], form: str
) -> None:
    sources, described = read(write_playpen(tmp_path / "d", splits, form))
    assert [source.split for source in sources] == ["train", "validation"]
    assert described["name"] == "d"
    assert str(tmp_path) not in json.dumps(described)
    train = sources[0]
    # Game n has rows 3n (describer), 3n + 1 (guesser), 3n + 2 (wordle).
    kept = [n for n in range(TASKS * MODELS) if outcome_of(n) != "aborted"]
    rows = train.table.to_pylist()
    assert [row["row_id"] for row in rows] == [f"train-{3 * n + 1}" for n in kept]
    assert [row["outcome"] for row in rows] == [outcome_of(n) for n in kept]
    for row, n in zip(rows, kept, strict=True):
        task, model = divmod(n, MODELS)
        assert {key: row[key] for key in row if key not in ("messages", "row_id", "outcome")} == {
            "group_id": f"high_en::{task}",
            "game": "taboo",
            "game_role": "WordGuesser",
            "pair_key": "taboo::WordGuesser",
            "experiment": "high_en",
            "task_id": str(task),
            "model": ("alpha", "beta")[model],
            "target_word": things[task].name,
        }
        assert row["messages"] == splits["train"][3 * n + 1]["messages"]
    assert train.available == 3 * TASKS * MODELS
    assert train.left_out == {"other_game_or_role": 2 * TASKS * MODELS, "aborted": 3}
    assert train.available == train.table.num_rows + sum(train.left_out.values())


def test_a_lost_game_has_its_word_and_not_its_guess(
    tmp_path: Path, splits: dict[str, list[dict[str, Any]]]
) -> None:
    table = read(write_playpen(tmp_path / "d", splits, "parquet"))[0][0].table
    lost = [row for row in table.to_pylist() if row["outcome"] == "failure"]
    assert len(lost) == 3
    assert all(not row["messages"][-1]["content"].endswith(row["target_word"]) for row in lost)


def guessers(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["meta"]["game_role"] == "WordGuesser"]


def test_without_describers_a_won_game_tells_the_lost_one(
    tmp_path: Path, splits: dict[str, list[dict[str, Any]]], things: list[Thing]
) -> None:
    """Games 0 and 1 are of task 0 (won, lost), games 2 and 3 of task 1 (won, aborted), …"""
    rows = guessers(splits["train"])
    rows.append({**rows[1], "meta": {**rows[1]["meta"], "task_id": 99}})
    folder = write_playpen(tmp_path / "d", {"train": rows}, "parquet")
    sources, described = read(folder)
    words = dict(
        zip(
            sources[0].table["row_id"].to_pylist(),
            sources[0].table["target_word"].to_pylist(),
            strict=True,
        )
    )
    assert words["train-0"] == words["train-1"] == things[0].name
    assert words["train-12"] is None, "nobody won task 99"
    assert described["target_words"] == {"other_rows": 3, "own_row": 6, "unknown": 1}


def test_the_instances_file_knows_what_nobody_won(
    tmp_path: Path, splits: dict[str, list[dict[str, Any]]], things: list[Thing]
) -> None:
    rows = [row for row in guessers(splits["train"]) if row["meta"]["outcome"] == "failure"]
    file = write_instances(tmp_path / "i.json", things)
    folder = write_playpen(tmp_path / "d", {"train": rows}, "parquet")
    assert read(folder)[0][0].table["target_word"].null_count == 3
    sources, described = read(folder, instances=file)
    assert sources[0].table["target_word"].to_pylist() == [things[k].name for k in (0, 2, 4)]
    assert described["target_words"] == {"instances": 3}
    numbered = write_instances(tmp_path / "n.json", things, experiment="0_high_en")
    assert read(folder, instances=numbered)[0][0].table["target_word"].null_count == 0


def test_the_file_of_other_games_is_refused(
    tmp_path: Path, splits: dict[str, list[dict[str, Any]]], things: list[Thing]
) -> None:
    folder = write_playpen(tmp_path / "d", splits, "parquet")
    wrong = write_instances(tmp_path / "wrong.json", things[::-1])
    with pytest.raises(BadInput, match="give the instances file that these games were") as error:
        read(folder, instances=wrong)
    assert f'its describer was told "{things[0].name}"' in str(error.value)
    assert "train.parquet, row 1:" in str(error.value)
    assert "\n" not in str(error.value)
    rows = guessers(splits["train"])
    with pytest.raises(BadInput, match=f'row 1: was won with "{things[0].name}", but .*wrong.json'):
        one(tmp_path / "g", rows, instances=wrong)
    foreign = write_instances(tmp_path / "foreign.json", things, experiment="other")
    with pytest.raises(BadInput, match=r"foreign.json: has none of these games, of which the .*;"):
        read(folder, instances=foreign)


def test_releases_that_number_other_words_alike_are_not_mixed_up(
    tmp_path: Path, splits: dict[str, list[dict[str, Any]]], things: list[Thing]
) -> None:
    """Two models played task 0 of two releases; a third lost one of the two, who knows which."""
    rows = guessers(splits["train"])
    won, lost = rows[0], rows[1]
    other = {
        "messages": [*won["messages"][:-1], {"role": "assistant", "content": "GUESS: Zebra."}],
        "meta": {**won["meta"], "model": "gamma"},
    }
    gamma_lost = {**lost, "meta": {**lost["meta"], "model": "gamma"}}
    table = one(tmp_path / "d", [won, other, lost, gamma_lost]).table
    assert table["target_word"].to_pylist() == [things[0].name, "zebra", None, "zebra"]


def test_the_other_side_of_the_game(
    tmp_path: Path, splits: dict[str, list[dict[str, Any]]], things: list[Thing]
) -> None:
    folder = write_playpen(tmp_path / "d", splits, "parquet")
    table = read(folder, role="WordDescriber")[0][0].table
    assert table["row_id"][0].as_py() == "train-0"
    assert set(table["pair_key"].to_pylist()) == {"taboo::WordDescriber"}
    assert table["target_word"][0].as_py() == things[0].name
    wordle = read(folder, game="wordle", role="Word Guesser")[0][0].table
    # A lost game of Wordle shares the word of a won one.
    assert set(wordle["target_word"].to_pylist()) == {"apple"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"game": "tabu"},
            '--game tabu: .* has no such game; did you mean "taboo"? it has taboo, wordle',
        ),
        (
            {"role": "Guesser"},
            '--role Guesser: .* no such role in taboo; did you mean "WordGuesser"? it has '
            "WordDescriber, WordGuesser",
        ),
        ({"config": "instances"}, "--dataset-config instances: .* has no folder of that name"),
    ],
)
def test_unknown_names_come_with_those_that_there_are(
    tmp_path: Path, splits: dict[str, list[dict[str, Any]]], changes: dict[str, Any], says: str
) -> None:
    folder = write_playpen(tmp_path / "d", splits, "parquet")
    with pytest.raises(BadInput, match=says.replace("?", r"\?")):
        read(folder, **changes)


def test_a_split_without_finished_games(
    tmp_path: Path, world: World, splits: dict[str, list[dict[str, Any]]]
) -> None:
    splits["validation"] = played(world, world.known[:1], split="v", outcomes=["Aborted"])
    with pytest.raises(BadInput, match=r"validation.parquet: has no game of taboo as WordGuesser"):
        read(write_playpen(tmp_path / "d", splits, "parquet"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"meta": None}, "it has none at all"),
        ({"meta": "{"}, "row 1: meta is not JSON"),
        ({"meta": "[]"}, r"row 1: meta is \[\], an object was expected"),
        ({"meta": '{"game": "taboo"}'}, "meta has no game_role, experiment, outcome, task_id; it"),
        ({"messages": [{"role": "user", "text": "?"}, {"content": "x"}]}, "row 1: a message has"),
        ({"messages": "hello"}, "row 1: messages is not a list"),
        ({"messages": None}, "row 1: messages is not a list"),
    ],
)
def test_what_is_no_row_of_games_is_named(
    tmp_path: Path, splits: dict[str, list[dict[str, Any]]], change: dict[str, Any], says: str
) -> None:
    (tmp_path / "d").mkdir()
    row = {**guessers(splits["train"])[0], **change}
    (tmp_path / "d/train.jsonl").write_text(json.dumps(row))
    with pytest.raises(BadInput, match=says) as error:
        read(tmp_path / "d")
    assert "\n" not in str(error.value)


def test_other_data_sets_are_not_played_games(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"prompt": "a", "completion": "b"}')
    with pytest.raises(BadInput, match='no column "messages"') as error:
        read(tmp_path)
    assert "(it has prompt, completion); leave out --preset playpen" in str(error.value)


def test_a_row_without_meta_is_none_of_this_game(
    tmp_path: Path, splits: dict[str, list[dict[str, Any]]]
) -> None:
    rows = [{**splits["train"][0], "meta": None}, *splits["train"]]
    source = one(tmp_path / "d", rows)
    assert source.left_out["other_game_or_role"] == 2 * TASKS * MODELS + 1
    assert source.table["row_id"][0].as_py() == "train-2"


def test_only_as_much_is_streamed_as_is_needed(
    tmp_path: Path, splits: dict[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("whence.data.sources.playpen.ROWS_PER_READ", 6)
    sources, _ = read(write_playpen(tmp_path / "d", splits, "hub"), train=3, test=100)
    train, validation = sources
    assert train.table["row_id"].to_pylist() == ["train-1", "train-4", "train-7"]
    assert sum(train.left_out.values()) < 3 * TASKS * MODELS - 3
    assert train.available is None
    assert validation.available == 12


def test_validation_is_held_out_before_test(
    tmp_path: Path, splits: dict[str, list[dict[str, Any]]]
) -> None:
    splits["test"] = splits["train"][:3]
    for form in ("parquet", "hub"):
        sources, _ = read(write_playpen(tmp_path / form, splits, form))
        assert [source.split for source in sources] == ["train", "validation"]


def test_ids_with_gaps_stay_whole_numbers(
    tmp_path: Path, splits: dict[str, list[dict[str, Any]]]
) -> None:
    rows = guessers(splits["train"])[:2]
    rows[0]["meta"]["task_id"] = 7.0
    rows[1]["meta"]["task_id"] = None
    assert one(tmp_path / "d", rows).table["task_id"].to_pylist() == ["7", ""]


def test_the_word_in_the_prompts_of_the_real_instances_file(shared_data: Path) -> None:
    instances = read_instances(shared_data / "taboo" / "instances.json")
    found = {}
    for experiment in instances.experiments:
        for game in experiment.instances:
            prompt = experiment.describer_prompt.replace("$TARGET_WORD$", game.target_word)
            prompt = prompt.replace("$REL_WORD$", "\n".join(f"- {w}" for w in game.related_words))
            told = TOLD.search(prompt.replace("$N$", "3"))
            assert told
            found[experiment.name, game.task_id] = told[1]
    assert found == {key: one.target_word for key, one in instances.by_task.items()}
    assert len(found) == 60
