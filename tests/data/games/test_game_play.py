"""One game, its repairs and its end, against players that say what a script has them say."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from whence.data.games.backend import Ask, Reply
from whence.data.games.play import Manner, Over, Table, play
from whence.data.games.records import game_record, training_row
from whence.data.games.schedule import Game, request_seed
from whence.data.instances import Instance, TabooExperiment

WINTER = Instance("high_en", "7", "winter", ("cold", "snow"))
PLAIN = TabooExperiment("high_en", [WINTER], 3, "", "")
GAME = Game("g", PLAIN, WINTER, 0, 3, "describer", "guesser")
MANNER = Manner(
    seed=42,
    strict=True,
    describer_temperature=0.7,
    guesser_temperature=0.2,
    describer_tokens=40,
    guesser_tokens=16,
    describer_repairs=2,
    guesser_repairs=1,
    placeholders=frozenset({"guess", "word"}),
)


def played(
    replies: Sequence[str], manner: Manner = MANNER, game: Game = GAME
) -> tuple[str, Table, list[Ask]]:
    """Outcome (or "outcome cause"), table and requests of a game in which these are the replies."""
    asked: list[Ask] = []
    said = iter(replies)

    async def ask(ask: Ask) -> Reply:
        asked.append(ask)
        return Reply(next(said), 10, 2)

    table = Table(game)
    try:
        outcome = asyncio.run(play(table, manner, ask))
    except Over as over:
        outcome = f"{over.outcome} {over.cause}"
    assert next(said, None) is None, "every reply was asked for"
    return outcome, table, asked


def record(replies: Sequence[str], **changes: Any) -> dict[str, Any]:
    outcome, table, _ = played(replies, **changes)
    return game_record(table, outcome, None, {})


def test_a_word_guessed_in_the_second_turn() -> None:
    outcome, table, asked = played(["CLUE: white", "GUESS: paper", "**clue:** frost", "Winter."])
    assert outcome == "success"
    assert [ask.model for ask in asked] == ["describer", "guesser"] * 2
    assert [ask.max_tokens for ask in asked] == [40, 16] * 2
    assert [ask.temperature for ask in asked] == [0.7, 0.2] * 2
    assert len({ask.seed for ask in asked}) == 4
    assert asked[3].seed == request_seed(42, "g", 2, 0, "guesser")
    # each sees what clembench's players see, in its plain form
    assert [m["content"] for m in table.describer[1:]] == [
        "CLUE: white", "GUESS: paper", "CLUE: frost",
    ]  # fmt: skip
    assert table.guesser[0]["content"].endswith("GUESS: <a word>\n\nCLUE: white")
    assert [m["content"] for m in table.guesser[1:]] == [
        "GUESS: paper", "CLUE: frost", "GUESS: Winter",
    ]  # fmt: skip
    assert [m["role"] for m in table.guesser] == ["user", "assistant"] * 2


def test_what_is_kept_of_it() -> None:
    found = record(["CLUE: white", "GUESS: paper", "CLUE: frost", "GUESS: winter"])
    row = training_row(found)
    assert row is not None
    assert row["completion"] == "GUESS: winter"
    assert row["prompt"].startswith("USER: We play")
    assert row["prompt"].endswith("\n\nCLUE: white\n\nASSISTANT: GUESS: paper\n\nUSER: CLUE: frost")
    assert row["group_id"] == "high_en::7"
    assert (row["turn_count"], row["final_guess_word"]) == (2, "winter")
    assert [turn["guess_word"] for turn in found["turns"]] == ["paper", "winter"]
    assert found["final_turn"] == 2


def test_a_word_that_is_not_guessed() -> None:
    outcome, table, _ = played(["CLUE: a", "GUESS: b"] * 3)
    assert outcome == "failure"
    assert len(table.turns) == 3


def test_a_clue_that_breaks_the_rules_is_given_again_and_leaves_no_trace_in_the_row() -> None:
    outcome, table, asked = played(["CLUE: snowy", "CLUE: winters", "CLUE: white", "GUESS: winter"])
    assert outcome == "success"
    assert [m["role"] for m in asked[1].messages] == ["user", "assistant", "user"]
    assert asked[1].messages[1]["content"] == "CLUE: snowy"
    assert '"snowy" (a form of it: "snow")' in asked[1].messages[2]["content"]
    assert '"winters" (same stem: "winter")' in asked[2].messages[2]["content"]
    assert len(asked[2].messages) == 3, "the last bad clue stands for those before"
    turn = table.turns[0]
    assert turn["describer_repairs"] == 2
    assert [(r["role"], r["reason"]) for r in turn["rejected"]] == [
        ("describer", "rule_violation")
    ] * 2
    assert [m["content"] for m in table.describer[1:]] == ["CLUE: white"]
    assert len({ask.seed for ask in asked}) == 4


def test_a_describer_that_does_not_keep_to_the_rules_loses_the_game() -> None:
    assert played(["CLUE: snow"] * 3)[0] == "failure describer_rule_violation"


def test_where_play_is_not_strict_the_clue_is_passed_on_after_the_same_repairs() -> None:
    loose = replace(MANNER, strict=False)
    outcome, table, _ = played(["CLUE: snow"] * 3 + ["GUESS: winter"], manner=loose)
    assert outcome == "success"
    assert table.turns[0]["clue"] == "CLUE: snow"
    assert table.turns[0]["clue_violations"] == [
        {"word": "snow", "forbidden": "snow", "how": "same word"}
    ]
    assert len(table.turns[0]["rejected"]) == 2


def test_no_clue_and_no_guess() -> None:
    assert played(["", "CLUE:", " "])[0] == "aborted describer_empty_clue"
    outcome, table, asked = played(["", "CLUE: white", "", "GUESS: winter"])
    assert outcome == "success"
    # an empty message would be refused: what is said about it goes below the last one
    assert [m["role"] for m in asked[1].messages] == ["user"]
    assert asked[1].messages[0]["content"].endswith("Answer in the form: CLUE: <some text>")
    assert table.turns[0]["guesser_repairs"] == 1
    assert played(["CLUE: white", "", "I have no idea"])[0] == "aborted guesser_empty_guess"


def test_a_placeholder_is_no_guess_unless_it_is_the_word() -> None:
    assert played(["CLUE: a", "GUESS: word", "GUESS: Guess!"])[0] == (
        "aborted guesser_placeholder_guess"
    )
    outcome, _, asked = played(["CLUE: a", "GUESS: <word>", "GUESS: winter"])
    assert outcome == "success"
    assert '"word" only repeats' in asked[2].messages[-1]["content"]
    word = Instance("high_en", "16", "word", ("sentence",))
    assert played(["CLUE: a", "GUESS: word"], game=replace(GAME, instance=word))[0] == "success"


def test_a_game_that_ends_without_a_guess_gives_no_row_and_one_that_ends_later_does() -> None:
    assert training_row(record(["", "", ""])) is None
    row = training_row(record(["CLUE: a", "GUESS: b", "", "", ""]))
    assert row is not None
    assert (row["completion"], row["turn_count"]) == ("GUESS: b", 1)


def test_prompts_of_the_file_are_filled() -> None:
    experiment = TabooExperiment(
        "e", [WINTER], 3, "$N$ tries for $TARGET_WORD$, not\n$REL_WORD$", "Say.\nCLUES: $CLUE$ now"
    )
    _, table, _ = played(["a", "winter"], game=replace(GAME, experiment=experiment))
    assert table.describer[0]["content"] == "3 tries for winter, not\n- cold\n- snow"
    assert table.guesser[0]["content"] == "Say.\nCLUES: CLUE: a now"
    plain = replace(experiment, guesser_prompt="In $N$.\n")
    _, table, _ = played(["a", "winter"], game=replace(GAME, experiment=plain))
    assert table.guesser[0]["content"] == "In 3.\n\n\nCLUE: a", "as clembench appends it"


@pytest.mark.parametrize("other", ["seed", "game_id", "turn", "attempt", "role"])
def test_every_part_of_a_request_changes_its_seed(other: str) -> None:
    one: dict[str, Any] = {
        "seed": 1, "game_id": "a", "turn": 1, "attempt": 0, "role": "guesser",
    }  # fmt: skip
    two = {**one, other: one[other] + (1 if isinstance(one[other], int) else "x")}
    assert request_seed(**one) != request_seed(**two)
    assert 0 <= request_seed(**one) < 2**31
