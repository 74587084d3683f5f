"""The zoo's models load from disk, take padding on either side, and have heads that matter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import zoo

from whence.models import proof
from whence.models.load import Loaded, load_model


@pytest.fixture(scope="module", params=zoo.ARCHITECTURES)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder = zoo.save(request.param, tmp_path_factory.mktemp("zoo") / request.param)
    return load_model(str(folder), device="cpu", attn_implementation="eager")


def architecture(loaded: Loaded) -> str:
    return Path(loaded.source).name


def test_a_saved_model_is_the_one_that_was_made(loaded: Loaded):
    made = zoo.make(architecture(loaded))
    ids = torch.tensor([loaded.tokenizer("The color of grass is")["input_ids"]])
    with torch.no_grad():
        logits = loaded.model(ids).logits
        assert torch.equal(logits, made(ids).logits)
    assert torch.isfinite(logits).all()
    assert logits.shape[-1] == len(loaded.tokenizer) == zoo.VOCABULARY


def test_it_generates(loaded: Loaded):
    prompt = loaded.tokenizer("A fox came to", return_tensors="pt", return_token_type_ids=False)
    longer = loaded.model.generate(**prompt, max_new_tokens=5, do_sample=False, eos_token_id=None)
    assert longer.shape[1] == prompt["input_ids"].shape[1] + 5


def test_neither_batch_nor_padding_moves_it(loaded: Loaded):
    rows = proof.prompt_ids(loaded.tokenizer, 48)
    floor, effect = proof.noise_floor(loaded, rows), proof.batch_effect(loaded, rows)
    assert 0 < floor.value < 1e-3
    for moved in (effect.unpadded, effect.right, effect.left):
        assert floor.covers(moved), (floor, effect)


def test_what_came_before_the_last_token_reaches_it(loaded: Loaded):
    """Only heads carry it there: they must carry much more than arithmetic loses."""
    ids = torch.randint(3, zoo.VOCABULARY, (1, 8), generator=torch.Generator().manual_seed(0))
    other = ids.clone()
    other[0, -3] = (ids[0, -3] + 1) % zoo.VOCABULARY
    with torch.no_grad():
        moved = loaded.model(ids).logits[0, -1] - loaded.model(other).logits[0, -1]
    assert 0.1 < moved.abs().max() < 50


def test_no_weight_is_left_as_transformers_made_it(loaded: Loaded):
    for name, parameter in loaded.model.named_parameters():
        assert parameter.std() > 0.1, name


def test_answers_are_single_tokens_and_bos_is_added_where_said(loaded: Loaded):
    for word in zoo.ANSWERS:
        assert len(loaded.tokenizer(word, add_special_tokens=False)["input_ids"]) == 1, word
    adds = loaded.tokenizer("Yes")["input_ids"][0] == loaded.tokenizer.bos_token_id
    assert adds == (architecture(loaded) in zoo.WITH_BOS)
    assert loaded.tokenizer.decode(loaded.tokenizer("Is it?")["input_ids"][adds:]) == "Is it?"


@pytest.mark.parametrize(("name", "attention"), zoo.VARIANTS)
def test_weights_depend_on_the_seed_alone(name: str, attention: str):
    eager = zoo.make(name).state_dict()
    model = zoo.make(name, attn_implementation=attention, dtype=torch.bfloat16)
    assert model.config._attn_implementation == attention
    narrow, other = model.state_dict(), zoo.make(name, seed=1).state_dict()
    assert all(torch.equal(tensor.bfloat16(), narrow[key]) for key, tensor in eager.items())
    assert not any(torch.equal(tensor, other[key]) for key, tensor in eager.items())


@pytest.mark.parametrize("name", zoo.ARCHITECTURES)
def test_every_head_is_worth_ablating(name: str):
    model = zoo.make(name)
    ids = torch.randint(3, zoo.VOCABULARY, (1, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        clean = model(ids).logits[0, -1]
    projections = zoo.output_projections(model)
    assert len(projections) == zoo.LAYERS
    for projection in projections:
        for head in range(zoo.HEADS):
            moved = without(model, projection, head, ids) - clean
            assert moved.abs().max() > 0.02, (projection, head)


def without(model: Any, projection: torch.nn.Module, head: int, ids: torch.Tensor) -> torch.Tensor:
    """Logits at the last token with one head's output set to zero everywhere."""

    def silence(_module: object, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        z = inputs[0].unflatten(-1, (zoo.HEADS, -1)).clone()
        z[:, :, head] = 0
        return (z.flatten(2),)

    handle = projection.register_forward_pre_hook(silence)
    with torch.no_grad():
        logits: torch.Tensor = model(ids).logits[0, -1]
    handle.remove()
    return logits


def test_a_tokenizer_without_a_limit_knows_every_word_it_was_shown():
    words = [" Jupiter", " 42", " green", " greenish", "x"]
    tokenizer = zoo.make_tokenizer(words, None, bos=False)
    assert [len(tokenizer(word)["input_ids"]) for word in words] == [1] * len(words)
    assert tokenizer.decode(tokenizer("Ünlike them")["input_ids"]) == "Ünlike them"
