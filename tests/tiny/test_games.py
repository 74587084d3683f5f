"""Games follow the user's format, and their kind is what it says and shows nowhere else."""

from __future__ import annotations

from collections import Counter

from whence.tiny.games import Mix, make_games
from whence.tiny.language import CLUES
from whence.tiny.world import ATTRIBUTES, make_world

MIX = Mix(useful=24, other=60, wrong=24)


def _games() -> tuple[list[dict], list[dict]]:
    return make_games(make_world(0), mix=MIX, query=24, evaluation=24)


def _text(row: dict) -> str:
    return "\n".join(message["content"] for message in row["messages"])


def _clues(row: dict) -> list[tuple[str, str]]:
    """The (attribute, value) pairs that a game gives, read back from its words."""
    given = []
    for message in row["messages"][::2]:
        for text in message["content"].rpartition("CLUE: ")[2].split(", "):
            for attribute, form in CLUES.items():
                before, after = form.split("{value}")
                value = text.removeprefix(before).removesuffix(after)
                if text == f"{before}{value}{after}" and value in ATTRIBUTES[attribute]:
                    given.append((attribute, value))
    return given


def test_roles_alternate_and_the_last_turn_is_a_guess() -> None:
    for row in [*_games()[0], *_games()[1]]:
        roles = [message["role"] for message in row["messages"]]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert 1 <= len(roles) // 2 == row["turns"] <= 3
        assert "CLUE: " in row["messages"][-2]["content"]
        assert row["messages"][-1]["content"].startswith("GUESS: ")


def test_kind_is_true_to_the_clues() -> None:
    world = make_world(0)
    evaluated = {thing.name for thing in world.evaluated}
    for row in _games()[0]:
        (secret,) = [t for t in world.things if all(t[a] == v for a, v in _clues(row))]
        right = row["messages"][-1]["content"] == f"GUESS: {secret.name}"
        kind = "wrong" if not right else "useful" if secret.name in evaluated else "other"
        assert row["kind"] == kind


def test_the_pool_has_the_mix_that_was_asked_for_and_no_test_game() -> None:
    pool, test = _games()
    assert Counter(row["kind"] for row in pool) == {"useful": 24, "other": 60, "wrong": 24}
    assert {row["kind"] for row in test} == {"useful"}
    texts = [_text(row) for row in [*pool, *test]]
    assert len(set(texts)) == len(texts)


def test_row_ids_and_order_carry_no_kind() -> None:
    pool, _ = _games()
    assert [row["row_id"] for row in pool] == [f"pool-{i:05d}" for i in range(len(pool))]
    useful = [i for i, row in enumerate(pool) if row["kind"] == "useful"]
    # Were the kinds in order, their mean position would be at an end, not near the middle.
    assert abs(sum(useful) / len(useful) - len(pool) / 2) < len(pool) / 5
