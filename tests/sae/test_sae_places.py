"""Tokens, turns and spans against texts read by eye."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from whence.models.alignment import align
from whence.models.load import load_tokenizer
from whence.sae.localize.places import Turn, aligned_places, joined_places, turns_of
from whence.sae.localize.spans import role_shares, spans_of, strongest_pieces

PROMPT = "USER: Guess.\nCLUE: it is red\n\nASSISTANT: GUESS: fox\n\nUSER: CLUE: a bird 🦊é"
COMPLETION = "GUESS: klarnil"


def test_turns_are_those_of_the_prompt() -> None:
    found = turns_of(PROMPT)
    assert [turn.role for turn in found] == ["user", "assistant", "user"]
    assert "".join(PROMPT[turn.start : turn.stop] for turn in found) == PROMPT
    assert PROMPT[found[1].start : found[1].stop] == "ASSISTANT: GUESS: fox\n\n"
    assert turns_of("What is 2 + 2?\n\nUSER: no turn") == [Turn("prompt", 0, 29)]


@pytest.mark.parametrize("model", ["tiny", "random_gemma"])
def test_pieces_together_are_the_text(model: str, request: pytest.FixtureRequest) -> None:
    folder = model if model == "tiny" else str(request.getfixturevalue(model))
    tokenizer = load_tokenizer(folder)
    row = align(PROMPT, COMPLETION, tokenizer, 512)
    places = aligned_places(PROMPT, COMPLETION, row, tokenizer)
    assert len(places) == len(row.input_ids)
    for role, text in ("prompt", PROMPT), ("completion", COMPLETION):
        of_it = [p for p in places if (p.role == "completion") == (role == "completion")]
        assert "".join(p.piece for p in of_it if p.role != "special") == text
    assert places[-1].role == "special"  # the closing EOS
    by_turn = {p.turn: p.role for p in places}
    assert by_turn == {-1: "special", 0: "user", 1: "assistant", 2: "user", 3: "completion"}
    for place, token in zip(places, row.input_ids, strict=True):
        if place.piece.isascii() and place.piece.strip():
            assert place.piece.strip() == tokenizer.decode([token]).strip()


def test_a_cut_row_shows_what_is_left() -> None:
    tokenizer = load_tokenizer("tiny")
    row = align(PROMPT, COMPLETION, tokenizer, 20)
    assert row.truncated
    places = aligned_places(PROMPT, COMPLETION, row, tokenizer)
    assert len(places) == 20
    shown = "".join(p.piece for p in places if p.role not in ("completion", "special"))
    assert PROMPT.endswith(shown)
    assert shown
    assert "".join(p.piece for p in places if p.role == "completion") == COMPLETION


def test_one_text(random_gemma: Path) -> None:
    tokenizer = load_tokenizer(str(random_gemma))
    text = f"{PROMPT}\n\n{COMPLETION}"
    count = len(tokenizer(text)["input_ids"])
    places = joined_places(text, PROMPT, count, tokenizer)
    assert "".join(p.piece for p in places) == text
    assert "".join(p.piece for p in places if p.role == "completion").strip() == COMPLETION
    assert len(joined_places(text, PROMPT, 7, tokenizer)) == 7


def test_spans_end_with_their_turn() -> None:
    tokenizer = load_tokenizer("tiny")
    row = align(PROMPT, COMPLETION, tokenizer, 512)
    places = aligned_places(PROMPT, COMPLETION, row, tokenizer)
    last_of_first = max(at for at, place in enumerate(places) if place.turn == 0)
    strengths = np.zeros(len(places), dtype=np.float32)
    strengths[last_of_first - 1 : last_of_first + 2] = [1, 3, 2]
    first, second = spans_of(strengths, places, 0.0)
    assert (first.start, first.stop, first.strongest, first.mean) == (
        last_of_first - 1,
        last_of_first + 1,
        3.0,
        2.0,
    )
    assert (second.turn, second.role, second.strongest) == (1, "assistant", 2.0)
    assert spans_of(strengths, places, 3.0) == []


def test_shares_against_a_hand_worked_case() -> None:
    table = pd.DataFrame(
        {
            "row_id": ["a", "a", "b", "b", "c", "d", "e", "f"],
            "role": ["user", "completion"] * 2 + ["user"] * 4,
            "tokens": [10, 5, 20, 5, 10, 10, 10, 10],
            "strength": [4.0, 8.0, 0.0, 4.0, 0.0, 2.0, 1.0, 1.0],
            "active": [1, 2, 0, 2, 0, 1, 1, 1],
        }
    )
    shares = {each["role"]: each for each in role_shares(table)}
    # completion: 12 of 20 of the strength in 10 of 80 tokens.
    assert shares["completion"]["times_expected"] == pytest.approx((12 / 20) / (10 / 80))
    assert shares["completion"]["mean_strength"] == pytest.approx(12 / 10)
    assert shares["completion"]["active_tokens"] == 4
    assert shares["user"]["times_expected"] == pytest.approx((8 / 20) / (70 / 80))
    few = role_shares(table[table["row_id"].isin(["a", "b"])])
    assert few[0]["interval"] is None
    assert "2 clusters" in few[0]["reason"]


def test_pieces_by_their_mean_over_all_places() -> None:
    found = strongest_pieces({"bird": [2.0, 4.0], "the": [0.0, 0.0], "odd": [9.0], "a": [1.0, 0.0]})
    assert [each["piece"] for each in found] == ["bird", "a", "odd"]
    assert found[0]["mean_strength"] == 3.0
