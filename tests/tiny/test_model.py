"""The shipped model knows its world; the recipe resumes to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from whence.tiny import train as recipe
from whence.tiny.checkpoint import save_checkpoint
from whence.tiny.corpus import documents
from whence.tiny.exam import grade, questions
from whence.tiny.heldout import heldout_form
from whence.tiny.language import prompt_of
from whence.tiny.where import path
from whence.tiny.world import ATTRIBUTES, make_world


def test_exam_of_the_shipped_weights() -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = path().folder
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    marks = grade(model, tokenizer, questions(make_world(0), per_subject=40))
    assert marks["facts"] >= 0.95
    assert marks["clues"] >= 0.95
    assert marks["sums"] >= 0.9
    assert marks["traces"] >= 0.9


def test_package_data_are_small_and_hold_no_pickle() -> None:
    files = [file for file in path().folder.iterdir() if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 10e6
    assert {file.suffix for file in files} == {".json", ".safetensors"}


def test_exam_facts_are_never_read_as_such() -> None:
    world = make_world(0)
    read = documents(world, seed=1)
    text = " ".join(next(read) for _ in range(20_000))
    for thing in world.known[:40]:
        for attribute in ATTRIBUTES:
            prompt = prompt_of(attribute, heldout_form(thing.name, attribute), thing.name)
            # A supposition may use any form of another thing's name, never this one's own truth.
            assert f"{prompt} {thing[attribute]}." not in text


def test_every_noun_is_one_token() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path().folder)
    for thing in make_world(0).things:
        assert len(tokenizer(f" {thing.name}", add_special_tokens=False)["input_ids"]) == 1
    assert tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id


def test_killed_training_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    config = recipe.TrainConfig(steps=4, batch_size=1)
    monkeypatch.setattr(recipe, "CHECKPOINT_EVERY", 2)
    whole, _ = recipe.train_base(config, tmp_path / "whole.safetensors")

    class Killed(BaseException):
        pass

    def save_and_die(*arguments: object) -> None:
        save_checkpoint(*arguments)  # type: ignore[arg-type]
        raise Killed

    monkeypatch.setattr(recipe, "save_checkpoint", save_and_die)
    with pytest.raises(Killed):
        recipe.train_base(config, tmp_path / "cut.safetensors")
    monkeypatch.setattr(recipe, "save_checkpoint", save_checkpoint)
    resumed, _ = recipe.train_base(config, tmp_path / "cut.safetensors")
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)
