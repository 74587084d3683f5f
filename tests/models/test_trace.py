"""A trace holds what every module read and wrote at the moment it did."""

from __future__ import annotations

from typing import Any

import torch
import zoo
from taken_apart import logits, unharmed
from torch import Tensor, nn
from toy import make_toy

from whence.models.trace import first_tensor, given, same, trace


def test_it_holds_what_modules_read_and_wrote():
    model = zoo.make("llama")
    with unharmed(model):
        calls = trace(model, zoo.VOCABULARY)
    layers = model.model.layers
    assert calls.logits.shape == (2, 9, zoo.VOCABULARY)
    down = layers[1].mlp.down_proj
    assert torch.equal(down(calls.read(down)), calls.wrote(down))
    assert torch.equal(calls.wrote(layers[0]), calls.read(layers[1]))
    assert torch.equal(model.lm_head(calls.wrote(model.model.norm)), calls.logits)


def test_order_is_by_when_a_call_ended():
    model = zoo.make("llama")
    order = trace(model, zoo.VOCABULARY).order
    block = model.model.layers[0]
    inner = [block.self_attn.q_proj, block.self_attn.o_proj, block.self_attn, block.mlp, block]
    assert [order[m] for m in inner] == sorted(order[m] for m in inner)
    assert order[block] < order[model.model.layers[1].input_layernorm]


def test_what_is_added_in_place_later_does_not_change_it():
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = nn.Identity()

        def forward(self, hidden: Tensor) -> Tensor:
            written = self.part(hidden * 2)
            written += hidden
            return written

    model = make_toy()
    model.inner.steps[0].feed = InPlace()
    calls = trace(model, 40)
    whole, part = model.inner.steps[0].feed, model.inner.steps[0].feed.part
    assert torch.equal(calls.wrote(part), 2 * calls.read(whole))
    assert torch.equal(calls.wrote(part), calls.read(part))
    assert torch.equal(calls.wrote(whole), 3 * calls.read(whole))


def test_it_knows_tuples_patterns_and_what_ran_again():
    calls = trace(model := make_toy(twice=True), 40)
    step = model.inner.steps[1]
    assert {model.inner.steps[0], step, step.mixer, step.feed} <= calls.again
    assert model.inner.last not in calls.again
    assert calls.tuples[step.mixer] == 2
    assert step not in calls.tuples
    assert calls.patterns[step.mixer] == (2, 3, 9, 9)
    model = make_toy()
    assert trace(model, 40).again == {step.drop for step in model.inner.steps}


def test_it_leaves_no_trace():
    model = zoo.make("gpt2")
    ids = torch.arange(6)[None] + 3
    before = logits(model, ids)
    trace(model, zoo.VOCABULARY)
    assert torch.equal(logits(model, ids), before)
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    assert model.transformer.wte.weight.grad.abs().max() > 0


def test_a_failing_model_keeps_no_hook():
    model = make_toy()
    model.inner.steps[1].feed = nn.Linear(5, 5)
    with unharmed(model):
        try:
            trace(model, 40)
        except RuntimeError:
            return
    raise AssertionError("it should not have run")


def test_hidden_states_are_found_among_arguments():
    one, two = torch.ones(1), torch.zeros(2)
    assert given((one, two), {}) is one
    assert given((), {"hidden_states": two, "x": one}) is two
    assert given((), {"x": one}) is None
    assert first_tensor((one, two)) is one
    nothing: list[Any] = [None, "x", (), (None, one)]
    assert [first_tensor(value) for value in nothing] == [None] * 4


def test_same_numbers_in_another_layout_are_the_same():
    a = torch.arange(6.0)
    assert same(a.reshape(2, 3), a.reshape(3, 2))
    assert not same(a, a + 1)
    assert not same(a, a[:5])
