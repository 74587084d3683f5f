"""Batched answers are the answers each prompt gets alone; right is right, however it is written."""

from __future__ import annotations

import random

import pandas as pd
import pytest
import torch

from whence.data.evaluate.guesses import guess_words, is_correct, parse_guess, target_words
from whence.errors import BadInput
from whence.models.alignment import align

RNG = random.Random(0)
PROMPTS = [
    " ".join(f"w{RNG.randrange(3, 320)}" for _ in range(length)) for length in (3, 30, 5, 12, 44, 8)
]


def alone(loaded, prompt: str) -> str:
    ids = torch.tensor([loaded.tokenizer(prompt)["input_ids"]])
    written = loaded.model.generate(ids, do_sample=False, max_new_tokens=9, pad_token_id=0)
    return loaded.tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True)


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_batched_answers_are_those_each_prompt_gets_alone(loaded, batch_size):
    answers = guess_words(loaded, PROMPTS, max_new_tokens=9, batch_size=batch_size)
    assert answers == [alone(loaded, prompt) for prompt in PROMPTS]
    assert len(set(answers)) > 1


def test_greedy_in_spite_of_the_models_own_settings(shaped):
    loaded = shaped("llama")
    plain = guess_words(loaded, PROMPTS)
    own = loaded.model.generation_config
    before = own.to_dict()
    own.update(do_sample=True, temperature=3.0, repetition_penalty=9.0, top_k=5)
    try:
        assert guess_words(loaded, PROMPTS) == plain
    finally:
        own.update(**before)


def test_the_prefix_is_the_one_trained_on(shaped):
    loaded = shaped("gpt2")
    row = align(PROMPTS[1], "w9 w10", loaded.tokenizer, 200)
    prefix = [i for i, label in zip(row.input_ids, row.labels, strict=True) if label == -100]
    seen = []
    hook = loaded.model.transformer.wte.register_forward_hook(
        lambda module, inputs, output: seen.append(inputs[0][0].tolist())
    )
    guess_words(loaded, [PROMPTS[1]], max_new_tokens=1)
    hook.remove()
    assert seen[0] == prefix


def test_a_prompt_that_is_too_long_keeps_its_end(shaped):
    loaded = shaped("llama")
    long = "w7 " * 100 + PROMPTS[0]
    longer = "w8 " * 50 + long
    kept = [guess_words(loaded, [text], max_length=64)[0] for text in (long, longer)]
    assert kept[0] == kept[1]
    with pytest.raises(BadInput, match="no room"):
        guess_words(loaded, PROMPTS, max_length=16)


def test_answers_stop_at_the_end_token(shaped):
    loaded = shaped("llama")
    first = guess_words(loaded, PROMPTS[:1], max_new_tokens=1)[0]
    token = loaded.tokenizer(first, add_special_tokens=False)["input_ids"][0]
    own = loaded.model.generation_config
    own.eos_token_id = [2, token]
    try:
        assert guess_words(loaded, PROMPTS[:1], max_new_tokens=16) == [first]
    finally:
        own.eos_token_id = 2


@pytest.mark.parametrize(
    ("text", "guess"),
    [
        ("GUESS: fox", "fox"),
        ("guess:Fox.", "fox"),
        ("I think so.\nGUESS:  **Ice-Cream**!\nCLUE: no", "ice cream"),
        ("GUESS: fox\nGUESS: owl", "fox"),
        ("GUESS:\nfox", None),
        ("fox", None),
        ("", None),
    ],
)
def test_the_guess_is_what_follows_the_word_guess(text, guess):
    assert parse_guess(text) == guess


@pytest.mark.parametrize(
    ("text", "target", "right"),
    [
        ("GUESS: Fox!", "fox", True),
        ("Fox.", "fox", True),
        ("GUESS: ÉCLAIR", "éclair", True),
        ("GUESS: ice  cream", "Ice-cream", True),
        ("GUESS: foxes", "fox", False),
        ("GUESS: fox or owl", "fox", False),
        ("GUESS: owl\nfox", "fox", False),
        ("GUESS:", "fox", False),
        ("", "fox", False),
        ("...", "...", False),
    ],
)
def test_right_is_the_word_and_nothing_else(text, target, right):
    assert is_correct(text, target) is right


def test_the_target_is_the_column_or_the_completion():
    rows = pd.DataFrame(
        {
            "row_id": ["a", "b", "c"],
            "completion": ["GUESS: wrong", "GUESS: Owl", "GUESS: elk."],
            "target_word": ["fox", None, ""],
        }
    )
    assert target_words(rows) == ["fox", "owl", "elk"]
    assert target_words(rows.drop(columns="target_word")) == ["wrong", "owl", "elk"]
    with pytest.raises(BadInput, match="row c: no target word"):
        target_words(rows.assign(completion=["GUESS: a", "GUESS: b", "nothing"]))


def test_the_last_guess_of_a_lost_game_is_not_its_word():
    rows = pd.DataFrame(
        {
            "row_id": ["a", "b", "c"],
            "completion": ["GUESS: fox", "GUESS: owl", "GUESS: elk"],
            "target_word": ["fox", None, "stork"],
            "outcome": ["success", "success", "failure"],
        }
    )
    assert target_words(rows) == ["fox", "owl", "stork"]
    with pytest.raises(BadInput, match='row c: has no target word, and its last guess "elk"') as e:
        target_words(rows.assign(target_word=None))
    assert "--instances" in str(e.value)
    other = rows.assign(target_word=None, outcome=["x", None, 3])
    assert target_words(other) == ["fox", "owl", "elk"]
