"""The loss of a row is the model's own loss on it, whatever it is batched with."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from whence.data.evaluate import item_loss
from whence.data.evaluate.item_loss import item_losses, mean_loss
from whence.errors import WhenceError
from whence.models.alignment import AlignedRow
from whence.models.batching import attention_mask, pad


def make_rows(count=9, seed=0) -> list[AlignedRow]:
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        ids = [1] + [rng.randrange(3, 320) for _ in range(rng.randint(3, 40))] + [2]
        start = rng.randint(1, len(ids) - 1)
        rows.append(AlignedRow(ids, [-100] * start + ids[start:], False))
    return rows


ROWS = make_rows()


@pytest.fixture(scope="module")
def one_by_one(shaped):
    """What `model(**row).loss` says, without batches or padding."""

    def of(loaded):
        with torch.inference_mode():
            return [
                loaded.model(
                    input_ids=torch.tensor([row.input_ids]), labels=torch.tensor([row.labels])
                ).loss.item()
                for row in ROWS
            ]

    return of


@pytest.mark.parametrize("max_tokens", [1, 60, 10_000])
def test_it_is_the_models_own_loss_at_every_batch_size(loaded, one_by_one, max_tokens):
    items = item_losses(loaded, ROWS, max_tokens)
    assert items.shape == (len(ROWS), 2)
    assert items[:, 1].tolist() == [row.supervised for row in ROWS]
    np.testing.assert_allclose(items[:, 0] / items[:, 1], one_by_one(loaded), rtol=2e-5)


def test_the_mean_is_over_tokens_as_in_one_padded_batch(loaded):
    ids = [row.input_ids for row in ROWS]
    with torch.inference_mode():
        whole = loaded.model(
            input_ids=pad(ids, 0),
            attention_mask=attention_mask(ids),
            labels=pad([row.labels for row in ROWS], -100),
        ).loss.item()
    assert mean_loss(item_losses(loaded, ROWS)) == pytest.approx(whole, rel=1e-5)


def test_what_cannot_be_taken_apart_runs_whole(loaded, monkeypatch):
    apart = item_losses(loaded, ROWS)
    monkeypatch.setattr("whence.models.unembed.proven", lambda model, ids: False)
    np.testing.assert_allclose(item_losses(loaded, ROWS), apart, rtol=1e-5)


def test_slices_of_the_head_change_nothing(shaped, monkeypatch):
    whole = item_losses(shaped("llama"), ROWS)
    monkeypatch.setattr(item_loss, "LOGITS_AT_ONCE", 320 * 3)
    np.testing.assert_allclose(item_losses(shaped("llama"), ROWS), whole, rtol=1e-6)


def test_only_labelled_positions_meet_the_head(shaped):
    loaded = shaped("llama")
    seen = []
    hook = loaded.model.lm_head.register_forward_hook(
        lambda module, inputs, output: seen.append(output[..., 0].numel())
    )
    item_losses(loaded, ROWS)
    hook.remove()
    shortest = min(len(row.input_ids) for row in ROWS)
    proof, probes = 2 * shortest, len(seen)
    assert sum(seen) <= sum(row.supervised for row in ROWS) + proof + probes


def test_the_mode_is_given_back(shaped):
    model = shaped("gpt2").model.train()
    item_losses(shaped("gpt2"), ROWS[:2])
    assert model.training
    model.eval()


def test_nothing_to_measure(shaped):
    assert item_losses(shaped("llama"), []).shape == (0, 2)
    with pytest.raises(WhenceError, match="no token is supervised"):
        mean_loss(np.zeros((3, 2)))


def test_a_loss_that_is_not_finite_is_an_error(shaped):
    from transformers import LlamaForCausalLM

    loaded = shaped("llama")
    model = LlamaForCausalLM(loaded.model.config)
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(WhenceError, match=r"not finite in torch\.float32"):
        item_losses(replace(loaded, model=model), ROWS)
