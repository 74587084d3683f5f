"""Random models of five shapes, small enough to compare every way of running them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from whence.models.load import Loaded

SIZE = {"vocab_size": 320, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    # Wide enough that greedy choices have no near ties.
    "initializer_range": 0.3,
}


def _shapes():
    import transformers as t

    return {
        "gpt2": lambda: t.GPT2LMHeadModel(
            t.GPT2Config(n_layer=2, n_head=4, n_embd=32, initializer_range=0.3, **SIZE)
        ),
        "llama": lambda: t.LlamaForCausalLM(t.LlamaConfig(**LLAMA, **SIZE)),
        "gemma3": lambda: t.Gemma3ForCausalLM(
            t.Gemma3TextConfig(
                **LLAMA,
                head_dim=8,
                sliding_window=8,
                final_logit_softcapping=20.0,
                tie_word_embeddings=False,
                **SIZE,
            )
        ),
        "opt": lambda: t.OPTForCausalLM(
            t.OPTConfig(
                hidden_size=32,
                ffn_dim=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=256,
                word_embed_proj_dim=16,
                init_std=0.3,
                **SIZE,
            )
        ),
        "bloom": lambda: t.BloomForCausalLM(
            t.BloomConfig(hidden_size=32, n_layer=2, n_head=4, initializer_range=0.3, **SIZE)
        ),
    }


SHAPES = ("gpt2", "llama", "gemma3", "opt", "bloom")


@pytest.fixture(scope="session")
def tokenizer():
    """One word per token (w3 … w319), so that equal texts are equal ids."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<bos>", "<eos>", *(f"w{i}" for i in range(3, 320))]
    plain = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="w3"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    plain.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    )


@pytest.fixture(scope="session")
def shaped(tokenizer) -> Callable[[str], Loaded]:
    """`shaped("opt")`: a random model of that architecture, the same one each time."""
    import torch

    made: dict[str, Loaded] = {}

    def make(name: str) -> Loaded:
        if name not in made:
            torch.manual_seed(0)
            model = _shapes()[name]().eval()
            made[name] = Loaded(model, tokenizer, torch.device("cpu"), torch.float32, name)
        return made[name]

    return make


@pytest.fixture(params=SHAPES)
def loaded(request, shaped) -> Loaded:
    return shaped(request.param)
