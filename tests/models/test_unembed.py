"""Logits at chosen positions are the model's own, scales and caps included."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
)

from whence.models.unembed import hidden_states, proven, unembed

SIZES = {
    "vocab_size": 90,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.4,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MODELS = {
    "cap": lambda: Gemma2ForCausalLM(
        Gemma2Config(**SIZES, head_dim=8, final_logit_softcapping=3.0)
    ),
    "factor": lambda: CohereForCausalLM(CohereConfig(**SIZES, logit_scale=0.25)),
    "divisor": lambda: GraniteForCausalLM(GraniteConfig(**SIZES, logits_scaling=7.0)),
}
IDS = torch.tensor([[3, 14, 15, 9, 26]])


@pytest.fixture(params=MODELS)
def model(request):
    torch.manual_seed(0)
    return MODELS[request.param]().eval()


def test_scaled_and_capped_logits_are_the_models_own(model):
    assert proven(model, IDS)
    with torch.inference_mode():
        states = hidden_states(model, IDS, torch.ones_like(IDS))
        ours = unembed(model, states[:, 2:4])
        theirs = model(IDS).logits[:, 2:4]
        bare = model.lm_head(states[:, 2:4])
    torch.testing.assert_close(ours, theirs)
    # The head alone would not do: the scale or cap matters on this model.
    assert (bare - theirs).abs().max() > 0.1


def test_a_model_that_does_more_to_its_logits_is_not_proven():
    class Shifted(GPT2LMHeadModel):
        def forward(self, *args, **kwargs):
            output = super().forward(*args, **kwargs)
            output.logits = output.logits * 1.5
            return output

    torch.manual_seed(0)
    model = Shifted(GPT2Config(n_layer=1, n_head=2, n_embd=16, vocab_size=90)).eval()
    assert not proven(model, IDS)
