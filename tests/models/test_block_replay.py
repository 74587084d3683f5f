"""Blocks run apart from their model give what the model gives."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import zoo
from taken_apart import architectures, every, logits, taken_apart, tokens, unharmed, with_adapter
from toy import make_toy

from whence.errors import BadInput
from whence.models.anatomy import Anatomy, Parts, find_anatomy, register
from whence.models.capture import capture
from whence.models.intervene import intervening, scale_heads
from whence.models.replay import KEPT_SHAPES, Replay, prove_replay

LONG = 3 * zoo.WINDOW + 2  # tokens: sliding windows have let go of the first by then


def states(anatomy: Anatomy, ids: torch.Tensor) -> list[torch.Tensor]:
    """What enters block 0, 1, … and what leaves the last, as the model itself runs."""
    names = [f"blocks.{layer}.hook_resid_pre" for layer in range(anatomy.n_layers)]
    names.append(f"blocks.{anatomy.n_layers - 1}.hook_resid_post")
    found = capture(anatomy, ids, sites=names)
    return [found[name] for name in names]


@every
def test_any_span_of_blocks_gives_what_the_model_gives(
    name: str, attention: str, dtype: torch.dtype
):
    anatomy = taken_apart(name, attention, dtype)
    replay = Replay(anatomy)
    for ids in (tokens(2, LONG), tokens(3, 5, seed=1), tokens(1, 1), tokens(2, LONG, seed=2)):
        theirs = states(anatomy, ids)
        with unharmed(anatomy.model), torch.no_grad():
            assert torch.equal(replay.enter(ids), theirs[0])
            for start, stop in itertools.combinations_with_replacement(range(4), 2):
                assert torch.equal(replay.blocks(theirs[start], start, stop), theirs[stop])
            assert torch.equal(replay.blocks(theirs[1], 1), theirs[3])


@every
def test_batches_of_other_shapes_give_it_within_noise(
    name: str, attention: str, dtype: torch.dtype
):
    """Prompts in copies, several at once and one alone, without ever entering such a batch."""
    anatomy = taken_apart(name, attention, dtype)
    ids = tokens(2, LONG)
    theirs = states(anatomy, ids)
    noise = 1e-5 if dtype == torch.float32 else 0.05
    replay = Replay(anatomy)
    with torch.no_grad():
        for copies in (3, 1):
            ours = replay.blocks(theirs[1].repeat(copies, 1, 1), 1)
            off = (ours - theirs[3].repeat(copies, 1, 1)).abs().max() / theirs[3].abs().max()
            assert off < noise
        alone = replay.blocks(theirs[1][1:], 1)
        assert (alone - theirs[3][1:]).abs().max() / theirs[3].abs().max() < noise


@architectures
def test_edits_hold_in_a_replay_as_in_the_model(name: str):
    anatomy = taken_apart(name)
    ids = tokens(2, LONG)
    replay = Replay(anatomy)
    for layer, site in itertools.product(
        (1, 2), ("attn.hook_z", "hook_mlp_out", "hook_resid_post")
    ):
        edit = scale_heads({0: 0.0, 3: -1.0}) if "z" in site else lambda value: value.flip(-1) / 2
        edits = {f"blocks.{layer}.{site}": edit}
        with intervening(anatomy, edits):
            plain = states(anatomy, ids)
        with unharmed(anatomy.model), torch.no_grad():
            ours = replay.blocks(plain[1], 1, edits=edits)
            assert torch.equal(ours, plain[3])
            assert not torch.equal(replay.blocks(plain[1], 1), ours)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_an_adapter_around_the_model_takes_part(name: str):
    adapted = with_adapter(name)
    anatomy, ids = find_anatomy(adapted), tokens()
    replay = Replay(anatomy)
    with torch.no_grad():
        ours = replay.blocks(replay.enter(ids), 0)
        assert torch.equal(anatomy.unembedding(anatomy.final_norm(ours)), logits(adapted, ids))
        with adapted.disable_adapter():
            bare = replay.blocks(replay.enter(ids), 0)
            assert torch.equal(anatomy.unembedding(anatomy.final_norm(bare)), logits(adapted, ids))
    assert not torch.equal(ours, bare)


def test_more_shapes_than_are_kept_come_round_again():
    anatomy = taken_apart("falcon_alibi")
    replay = Replay(anatomy)
    batches = [tokens(1, length) for length in range(2, KEPT_SHAPES + 5)]
    with torch.no_grad():
        for ids in [*batches, batches[0], batches[-1]]:
            theirs = states(anatomy, ids)
            assert torch.equal(replay.blocks(theirs[0], 0), theirs[3])
    assert len(replay._calls) == KEPT_SHAPES


@architectures
def test_gradients_flow_after_inference_mode(name: str):
    """What blocks were given while a sweep ran in inference mode serves a backward pass later."""
    anatomy = taken_apart(name)
    replay = Replay(anatomy)
    with torch.inference_mode():
        entering = replay.enter(tokens())
        swept = replay.blocks(entering, 0)
    leaf = entering.clone().requires_grad_()
    out = replay.blocks(leaf, 0)
    assert torch.equal(out, swept)
    (gradient,) = torch.autograd.grad(out[:, -1].square().sum(), leaf)
    assert gradient[:, 0].abs().max() > 0


@architectures
def test_a_decoder_that_fails_gets_its_blocks_back(name: str):
    anatomy = taken_apart(name)
    clean = logits(anatomy.model, tokens())
    with unharmed(anatomy.model), pytest.raises((IndexError, RuntimeError)):
        Replay(anatomy).enter(torch.full((1, 4), 10_000))
    assert torch.equal(logits(anatomy.model, tokens()), clean)


def test_blocks_get_back_a_forward_of_their_own():
    """Libraries that spread a model over devices put one on the instance."""
    model = zoo.make("llama")
    block = model.model.layers[1]
    plain, seen = block.forward, []

    def own(*args: Any, **kwargs: Any) -> Any:
        seen.append(1)
        return plain(*args, **kwargs)

    block.forward = own
    anatomy = find_anatomy(model)
    with unharmed(model):
        prove_replay(anatomy)
    assert block.forward is own
    assert seen


def test_arguments_that_depend_on_tokens_are_found_out(monkeypatch: pytest.MonkeyPatch):
    """With the same tokens such a model replays exactly; only other tokens give it away."""
    from whence.models import anatomy as anatomy_module

    monkeypatch.setattr(anatomy_module, "_REGISTERED", {})
    register("toy", Parts(attention="mixer"))
    anatomy = find_anatomy(make_toy(per_token=True))
    ids = tokens() % 40
    replay = Replay(anatomy)
    with torch.no_grad():
        assert torch.equal(replay.blocks(replay.enter(ids), 0), left_by(anatomy, ids))
    with pytest.raises(BadInput, match="more passes between them"):
        prove_replay(anatomy)
    prove_replay(find_anatomy(make_toy()))


def left_by(anatomy: Anatomy, ids: torch.Tensor) -> torch.Tensor:
    site = f"blocks.{anatomy.n_layers - 1}.hook_resid_post"
    return capture(anatomy, ids, sites=[site])[site]


@architectures
def test_it_is_proved_for_every_architecture(name: str):
    with unharmed(taken_apart(name).model):
        prove_replay(taken_apart(name))


@every
def test_leaving_out_what_nobody_reads_changes_nothing_that_is_read(
    name: str, attention: str, dtype: torch.dtype
):
    anatomy = taken_apart(name, attention, dtype)
    ids = tokens(2, LONG)
    replay, theirs = Replay(anatomy), states(anatomy, ids)
    noise = 1e-5 if dtype == torch.float32 else 0.05
    edits = {
        "none": {},
        "head": {"blocks.2.attn.hook_z": scale_heads({1: 0.0}, positions=[-1])},
        "MLP": {"blocks.2.hook_mlp_out": lambda value: value.roll(1, dims=1)},
        "residual": {"blocks.1.hook_resid_post": lambda value: value * 2},
    }
    with unharmed(anatomy.model), torch.no_grad():
        for what, edit in edits.items():
            whole = replay.blocks(theirs[1], 1, edits=edit)
            for first in (1, LONG - 1):
                part = replay.blocks(theirs[1], 1, edits=edit, needed_from=first)
                off = (part - whole)[:, first:].abs().max() / whole.abs().max()
                assert off < noise, (what, first)
