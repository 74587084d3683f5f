"""The proofs hold for a sound model of any architecture, and fail for one that is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import PreTrainedTokenizerFast

from whence.models import proof
from whence.models.load import Loaded, load_tokenizer

VOCABULARY = 320
_SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}

# Absolute positions, rotary, ALiBi, sliding windows, parallel attention, Conv1D, experts.
CONFIGS: dict[str, Callable[[], Any]] = {
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=128, **_SPECIAL
    ),
    "llama": lambda: transformers.LlamaConfig(**_SHAPE),
    "gemma3": lambda: transformers.Gemma3TextConfig(**_SHAPE, head_dim=8, sliding_window=8),
    "opt": lambda: transformers.OPTConfig(
        vocab_size=VOCABULARY, hidden_size=32, ffn_dim=64, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=128, word_embed_proj_dim=32, **_SPECIAL,
    ),
    "bloom": lambda: transformers.BloomConfig(
        vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4, **_SPECIAL
    ),
    "falcon": lambda: transformers.FalconConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        **_SPECIAL,
    ),
    "mixtral": lambda: transformers.MixtralConfig(**_SHAPE, num_local_experts=4),
}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(random_gemma: Path) -> Any:
    return load_tokenizer(str(random_gemma))


@pytest.fixture(scope="module")
def build(tokenizer: Any) -> Callable[..., Loaded]:
    """A model of this architecture with random weights, large enough that attention matters."""

    def make(name: str, dtype: torch.dtype = torch.float32, cls: Any = None) -> Loaded:
        torch.manual_seed(0)
        config = CONFIGS[name]()
        cls = cls or transformers.AutoModelForCausalLM
        make_model = cls.from_config if hasattr(cls, "from_config") else cls
        model = make_model(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.mul_(3)
        for parameter in model.parameters():
            parameter.data = parameter.data.to(dtype)
        return Loaded(model, tokenizer, torch.device("cpu"), dtype, name)

    return make


def measured(loaded: Loaded) -> tuple[proof.Floor, proof.BatchEffect]:
    rows = proof.prompt_ids(loaded.tokenizer, proof.context_length(loaded.model.config))
    return proof.noise_floor(loaded, rows), proof.batch_effect(loaded, rows)


@pytest.mark.parametrize("name", CONFIGS)
def test_neither_batch_nor_padding_moves_a_sound_model(build: Any, name: str):
    floor, effect = measured(build(name))
    assert 0 < floor.value < 1e-4
    for moved in (effect.unpadded, effect.right, effect.left):
        assert floor.covers(moved), (floor, effect)


def test_positions_have_to_be_given_where_the_model_does_not_count_them(build: Any):
    floor, effect = measured(build("gpt2"))
    assert effect.left_unplaced > 1000 * floor.value
    floor, effect = measured(build("llama"))
    assert floor.covers(effect.left_unplaced)  # rotary positions are relative
    assert measured(build("bloom"))[1].left_unplaced is None


def test_the_floor_of_bfloat16_is_what_its_seven_bits_say(build: Any):
    narrow, _ = measured(build("llama", torch.bfloat16))
    wide, _ = measured(build("llama"))
    ratio = torch.finfo(torch.bfloat16).eps / torch.finfo(torch.float32).eps
    assert wide.widened is None
    assert narrow.widened is not None
    assert 0.02 < narrow.last_place / wide.last_place / ratio < 50


def test_measuring_leaves_the_model_as_it_was(build: Any):
    loaded = build("gemma3", torch.bfloat16)
    before = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    hooks = len(loaded.model.get_input_embeddings()._forward_hooks)
    measured(loaded)
    after = loaded.model.state_dict()
    assert all(after[n].dtype == t.dtype and torch.equal(after[n], t) for n, t in before.items())
    assert len(loaded.model.get_input_embeddings()._forward_hooks) == hooks


def test_widening_is_a_forward_pass_in_float32(build: Any):
    """Against an independently widened copy of the same weights."""
    import copy

    loaded = build("llama", torch.bfloat16)
    rows = proof.prompt_ids(loaded.tokenizer, 128)
    wide = replace(loaded, model=copy.deepcopy(loaded.model).float(), dtype=torch.float32)
    expected = max(
        float(
            (proof.next_token_logits(loaded, [r]) - proof.next_token_logits(wide, [r])).abs().max()
        )
        for r in rows
    )
    assert proof.noise_floor(loaded, rows).widened == pytest.approx(expected, rel=1e-4)


class Deaf(transformers.LlamaForCausalLM):
    """Does not listen to its attention mask."""

    def forward(self, attention_mask: Any = None, **others: Any) -> Any:
        return super().forward(**others)


class Sociable(transformers.LlamaForCausalLM):
    """Lets the rows of a batch talk to each other."""

    def forward(self, **arguments: Any) -> Any:
        output = super().forward(**arguments)
        output.logits = output.logits / output.logits.std(dim=0, correction=0).add(1)
        return output


def test_a_model_that_ignores_its_mask_is_caught_on_the_left(build: Any):
    floor, effect = measured(build("llama", cls=Deaf))
    assert not floor.covers(effect.left)
    assert floor.covers(effect.right)  # a causal model never sees what is on its right


def test_a_model_whose_rows_depend_on_each_other_is_caught(build: Any):
    floor, effect = measured(build("llama", cls=Sociable))
    assert not floor.covers(effect.unpadded)


def test_nan_is_never_within_the_floor(build: Any):
    loaded = build("llama")
    with torch.no_grad():
        loaded.model.model.layers[1].mlp.up_proj.weight[3, 4] = float("nan")
    assert proof.weights(loaded.model).not_finite == ("model.layers.1.mlp.up_proj.weight",)
    floor, effect = measured(loaded)
    assert not floor.covers(effect.right)
    assert not floor.covers(0.0)
    assert not proof.Floor(1.0, None).covers(float("nan"))


def test_weights_are_counted_once_and_lora_targets_named(build: Any):
    gpt2 = proof.weights(build("gpt2").model)
    # 320·32 tied embeddings, 128·32 positions, two blocks, and the last norm.
    block = 2 * 64 + (32 * 96 + 96) + (32 * 32 + 32) + (32 * 128 + 128) + (128 * 32 + 32)
    assert gpt2.parameters == 320 * 32 + 128 * 32 + 2 * block + 64
    assert gpt2.not_finite == ()
    assert gpt2.linear_layers == {"c_attn": 2, "c_proj": 4, "c_fc": 2}
    llama = proof.weights(build("llama").model).linear_layers
    assert set(llama) == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"
    }  # fmt: skip


def test_lora_targets_keep_their_names_under_an_adapter(build: Any):
    from peft import LoraConfig, get_peft_model

    loaded = build("llama")
    plain = proof.weights(loaded.model).linear_layers
    wrapped = get_peft_model(loaded.model, LoraConfig(target_modules=["q_proj", "down_proj"]))
    assert proof.weights(wrapped).linear_layers == plain
    assert proof.takes(wrapped, "position_ids")


def test_context_is_what_bounds_the_positions(build: Any):
    assert proof.context_length(CONFIGS["gpt2"]()) == 128
    assert proof.context_length(CONFIGS["opt"]()) == 128
    assert proof.context_length(CONFIGS["bloom"]()) is None


def test_tokenizer_behaviour_is_read_off_its_output(tokenizer: Any, random_gemma: Path):
    seen = proof.tokenizer_behaviour(tokenizer)
    assert (seen.adds_bos, seen.adds_eos, seen.pads_with_eos) == (True, False, False)
    assert (seen.pad_id, seen.bos_id, seen.eos_id) == (0, 1, 2)
    assert not seen.has_chat_template

    from tokenizers import processors

    other = PreTrainedTokenizerFast.from_pretrained(random_gemma)
    other.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 2)]
    )
    other.pad_token = other.eos_token
    other.chat_template = "{{ messages }}"
    seen = proof.tokenizer_behaviour(other)
    assert (seen.adds_bos, seen.adds_eos, seen.pads_with_eos) == (False, True, True)
    assert seen.has_chat_template
    assert all(row[-1] != 2 for row in proof.prompt_ids(other, None))
    assert max(map(len, proof.prompt_ids(other, 10))) == 10
