"""Parts are found in every architecture of the zoo, and what cannot be proved is refused."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
import torch
import transformers
import zoo
from taken_apart import architectures, every, logits, taken_apart, tokens, unharmed, with_adapter
from toy import make_toy

from whence.errors import BadInput
from whence.models import anatomy as anatomy_module
from whence.models.anatomy import Anatomy, Parts, find_anatomy, register
from whence.models.capture import capture
from whence.models.intervene import intervening, scale_heads
from whence.models.replay import prove_replay
from whence.models.trace import trace

KV_HEADS = dict.fromkeys(zoo.ARCHITECTURES, 2) | {
    "gpt2": 4, "gpt_neox": 4, "gpt_neox_sequential": 4, "falcon": 1, "falcon_alibi": 4, "opt": 4,
    "bloom": 4,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _nothing_stays_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anatomy_module, "_REGISTERED", {})


def refusal(model: Any) -> str:
    """The one line with which this model is refused."""
    with unharmed(model), pytest.raises(BadInput) as error:
        prove_replay(find_anatomy(model))
    assert "\n" not in str(error.value)
    return str(error.value)


@every
def test_all_parts_are_found(name: str, attention: str, dtype: torch.dtype):
    anatomy = taken_apart(name, attention, dtype)
    model = anatomy.model
    assert [block.out_proj for block in anatomy.blocks] == zoo.output_projections(model)
    assert all(block.attn_out is not None for block in anatomy.blocks)
    assert all(block.mlp_out is not None for block in anatomy.blocks)
    assert all((block.down is None) == (name == "mixtral") for block in anatomy.blocks)
    assert (anatomy.n_layers, anatomy.n_heads) == (zoo.LAYERS, zoo.HEADS)
    assert anatomy.n_kv_heads == KV_HEADS[name]
    assert anatomy.d_head == (16 if name in ("gemma2", "gemma3", "qwen3") else 8)
    assert anatomy.d_model == model.get_input_embeddings().weight.shape[1]
    assert anatomy.d_vocab == zoo.VOCABULARY
    ids = tokens()
    with torch.no_grad():
        hidden = anatomy.decoder(ids, attention_mask=torch.ones_like(ids), use_cache=False)[0]
    assert torch.equal(
        hidden, capture(anatomy, ids, sites=["ln_final.hook_normalized"]).popitem()[1]
    )
    prove_replay(anatomy)


@architectures
def test_w_out_is_what_the_projection_does_to_each_head(name: str):
    anatomy = taken_apart(name)
    z = torch.randn(5, anatomy.n_heads, anatomy.d_head, generator=torch.Generator().manual_seed(0))
    for layer, block in enumerate(anatomy.blocks):
        with torch.no_grad():
            bias = block.out_proj(torch.zeros_like(z).flatten(1))
            theirs = block.out_proj(z.flatten(1)) - bias
            ours = torch.einsum("nhd,hdm->nm", z, anatomy.w_out(layer))
        assert torch.allclose(ours, theirs, atol=1e-5)
        weight = zoo.output_projections(anatomy.model)[layer].weight
        exactly = weight if name == "gpt2" else weight.T
        assert torch.equal(anatomy.w_out(layer).flatten(0, 1), exactly)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_w_out_counts_an_adapter_on_the_projection(name: str):
    adapted = with_adapter(name)
    anatomy = find_anatomy(adapted)
    assert type(anatomy.blocks[0].out_proj).__module__.startswith("peft")
    bare = find_anatomy(zoo.make(name)).w_out(1)
    merged = find_anatomy(copy.deepcopy(adapted).merge_and_unload()).w_out(1)
    assert torch.allclose(anatomy.w_out(1), merged, atol=1e-5)
    assert (merged - bare).abs().max() > 0.01
    with adapted.disable_adapter():
        assert torch.allclose(anatomy.w_out(1), bare, atol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_an_adapter_is_looked_through(name: str):
    adapted = with_adapter(name)
    anatomy = find_anatomy(adapted)
    prove_replay(anatomy)
    ids = tokens()
    found = capture(
        anatomy,
        ids,
        sites=["blocks.1.attn.hook_z", "blocks.1.hook_attn_out", "blocks.1.mlp.hook_post"],
    )
    with torch.no_grad():
        written = anatomy.blocks[1].out_proj(found["blocks.1.attn.hook_z"].flatten(2))
    assert torch.equal(written, found["blocks.1.hook_attn_out"])
    assert not torch.equal(logits(adapted, ids), logits(zoo.make(name), ids))


# What is not found is said, and `register` repairs it.


def test_attention_under_another_name_is_asked_for():
    line = refusal(make_toy())
    assert "no attention in block 0 (its parts: one, two, mixer, drop, feed)" in line
    assert 'register("toy", Parts(' in line
    assert "docs/models.md" in line


def test_register_says_where_it_is():
    register("toy", Parts(attention="mixer"))
    anatomy = find_anatomy(model := make_toy())
    prove_replay(anatomy)
    step = model.inner.steps[1]
    block = anatomy.blocks[1]
    assert (block.attention, block.out_proj) == (step.mixer, step.mixer.write)
    assert (block.attn_out, block.mlp_out, block.down) == (step.mixer, step.feed, step.feed[2])
    assert (anatomy.n_heads, anatomy.d_head) == (3, 4)


def test_everything_can_be_registered():
    register(
        "toy", Parts("inner.steps", "mixer", "mixer.write", attn_out="mixer", mlp_out="feed.2")
    )
    block = find_anatomy(model := make_toy()).blocks[0]
    assert block.mlp_out is model.inner.steps[0].feed[2]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (Parts(attention="attention"), "no attention in ToyBlock, though it was registered; its p"),
        (Parts(blocks="inner.layers"), "no inner.layers in ToyForCausalLM, though it was regist"),
        (Parts(blocks="inner"), "inner, registered as its blocks, is no list of modules"),
        (Parts(attention="mixer", out_proj="mixer.nothing"), "no mixer.nothing in ToyBlock"),
        (Parts(attention="mixer", mlp_out="feed.7"), "no feed.7 in ToyBlock"),
        (Parts(attention="unused"), "unused, registered as a part of block 0, must run once"),
    ],
)
def test_what_is_registered_wrongly_is_said(parts: Parts, expected: str):
    model = make_toy()
    for step in model.inner.steps:
        step.unused = torch.nn.Linear(2, 2)
    register("toy", parts)
    assert expected in refusal(model)


def test_a_registered_part_that_does_not_add_up_leaves_its_sites_refused():
    register("toy", Parts(attention="mixer", attn_out="mixer", mlp_out="feed.1"))
    anatomy = find_anatomy(make_toy())
    assert anatomy.blocks[0].attn_out is None
    with pytest.raises(BadInput, match=re.escape("blocks.0.hook_attn_out: not found in Toy")):
        capture(anatomy, tokens() % 40, sites=["blocks.0.hook_attn_out"])


# Models that mean something else than they seem to.


def test_a_matrix_that_is_not_the_output_projection_is_not_taken_for_it():
    """As in JetMoE, where the last matrix of attention makes keys and values."""
    line = refusal(make_toy(attention_name="attention", hidden_projection=True))
    assert "write, its last matrix, does not give what the attention gives" in line


@pytest.mark.parametrize("heads_really", [2, 6])
def test_heads_are_counted_by_their_patterns(heads_really: int):
    line = refusal(make_toy(attention_name="attention", heads_really=heads_really))
    assert f"attention has {heads_really} patterns, which are not 3 heads" in line


def test_heads_of_several_sizes_are_refused():
    line = refusal(make_toy(attention_name="attention", widths=(12, 24)))
    assert "heads of several sizes" in line
    assert "12, 24" in line


def test_a_head_count_for_every_layer_is_refused():
    model = make_toy(attention_name="attention")
    model.config.num_attention_heads = [3, 3]
    assert "num_attention_heads = [3, 3]" in refusal(model)


def test_blocks_that_run_again_are_refused():
    assert "no list of 2 blocks that run one after the other" in refusal(
        make_toy(attention_name="attention", twice=True)
    )


def test_blocks_that_are_given_more_than_the_residual_stream_cannot_be_replayed():
    line = refusal(make_toy(attention_name="attention", per_token=True))
    assert "more passes between them than the residual stream" in line


def test_nan_is_refused():
    model = make_toy(attention_name="attention")
    model.inner.last.weight.data[0] = float("nan")
    assert "not finite" in refusal(model)


def test_weights_that_were_not_loaded_are_refused():
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(zoo.make("llama").config)
    assert "meta device: load them first" in refusal(model)


def test_layers_with_attention_of_several_kinds_are_refused():
    shape = zoo.make("llama").config.to_dict()
    config = transformers.MiniMaxConfig(
        **{key: shape[key] for key in ("vocab_size", "hidden_size", "num_attention_heads",
                                       "intermediate_size", "num_key_value_heads")},
        num_hidden_layers=2, num_local_experts=2, head_dim=8,
        layer_types=["linear_attention", "full_attention"],
    )  # fmt: skip
    assert "MiniMaxAttention, MiniMaxLightningAttention" in refusal(zoo.randomised(config, 0))


def test_a_decoder_that_is_not_one_norm_at_the_end_is_refused():
    config = zoo.make("opt").config
    config.word_embed_proj_dim, config.do_layer_norm_before = 16, False
    projected = transformers.OPTForCausalLM(config).eval()
    assert "between its last block and its unembedding there is not one norm" in refusal(projected)


def test_a_state_space_model_has_no_attention():
    config = transformers.MambaConfig(vocab_size=40, hidden_size=16, num_hidden_layers=2)
    assert "no attention in block 0 (its parts: norm, mixer)" in refusal(
        transformers.MambaForCausalLM(config).eval()
    )


# Models a little beside the zoo.

SHAPE = {
    "vocab_size": 320, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0,
}  # fmt: skip


def test_a_residual_multiplier_leaves_heads_but_not_what_is_added():
    config = transformers.GraniteConfig(
        **{k: v for k, v in SHAPE.items() if k != "head_dim"},
        residual_multiplier=0.3, embedding_multiplier=2.0,
    )  # fmt: skip
    model = zoo.randomised(config, 0)
    anatomy = find_anatomy(model)
    prove_replay(anatomy)
    ids = tokens()
    for site in ("blocks.1.hook_attn_out", "blocks.1.hook_mlp_out"):
        with pytest.raises(BadInput, match="does not simply add attention and MLP"):
            capture(anatomy, ids, sites=[site])
    edited = copy.deepcopy(model)
    edited.model.layers[1].self_attn.o_proj.weight.data[:, 8:16] = 0
    with intervening(anatomy, {"blocks.1.attn.hook_z": scale_heads({1: 0.0})}):
        without = logits(model, ids)
    assert torch.allclose(without, logits(edited, ids), atol=1e-5)


def test_one_huge_feature_does_not_hide_that_parts_do_not_add_up():
    """Real models have features of the residual stream in the thousands; bfloat16 rounds those."""
    model = zoo.randomised(
        transformers.GraniteConfig(
            **{k: v for k, v in SHAPE.items() if k != "head_dim"}, residual_multiplier=0.8
        ),
        0,
        dtype=torch.bfloat16,
    )
    model.model.embed_tokens.weight.data[:, 3] = 3e4
    assert [block.attn_out for block in find_anatomy(model).blocks] == [None, None]


def test_a_dropout_that_serves_attention_and_mlp_is_neither():
    """As in Emu 3: it gives what attention adds at one call and what the MLP adds at the next."""
    model = make_toy(attention_name="attention")
    ran_again = trace(model, 40).again
    assert ran_again == {step.drop for step in model.inner.steps}
    for block, step in zip(find_anatomy(model).blocks, model.inner.steps, strict=True):
        assert (block.attn_out, block.mlp_out) == (step.attention, step.feed)


def multimodal() -> Any:
    config = transformers.Gemma3Config(
        text_config={**SHAPE, "sliding_window": 4, "query_pre_attn_scalar": 8},
        vision_config={
            "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2,
            "num_attention_heads": 2, "image_size": 28, "patch_size": 14,
        },
        mm_tokens_per_image=4, image_token_index=319, boi_token_index=317, eoi_token_index=318,
    )  # fmt: skip
    return transformers.Gemma3ForConditionalGeneration(config)


def llama4() -> Any:
    """Its class names its decoder wrongly."""
    config = transformers.Llama4TextConfig(
        **SHAPE, intermediate_size_mlp=48, num_local_experts=2, moe_layers=[1],
        attention_chunk_size=4,
    )  # fmt: skip
    return transformers.Llama4ForCausalLM(config)


def whisper() -> Any:
    """Its configuration counts the encoder's heads and layers under the plain names."""
    config = transformers.WhisperConfig(
        vocab_size=320, d_model=32, decoder_layers=2, encoder_layers=3, decoder_attention_heads=4,
        encoder_attention_heads=2, decoder_ffn_dim=48, encoder_ffn_dim=48, pad_token_id=0,
    )  # fmt: skip
    return transformers.WhisperForCausalLM(config)


def deepseek() -> Any:
    """Latent attention: values are narrower than queries; a dense block, then experts."""
    config = transformers.DeepseekV3Config(
        **SHAPE | {"num_key_value_heads": 4, "head_dim": 64}, n_routed_experts=4,
        num_experts_per_tok=2, moe_intermediate_size=16, n_group=1, topk_group=1, q_lora_rank=8,
        kv_lora_rank=8, v_head_dim=6, first_k_dense_replace=1,
    )  # fmt: skip
    return transformers.DeepseekV3ForCausalLM(config)


@pytest.mark.parametrize(
    ("make", "heads", "kv_heads", "d_head"),
    [(multimodal, 4, 2, 8), (llama4, 4, 2, 8), (whisper, 4, 4, 8), (deepseek, 4, 4, 6)],
)
def test_relatives_are_taken_apart_too(make: Any, heads: int, kv_heads: int, d_head: int):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make().eval()
    anatomy = find_anatomy(model)
    prove_replay(anatomy)
    assert anatomy.n_layers == 2
    assert (anatomy.n_heads, anatomy.n_kv_heads, anatomy.d_head) == (heads, kv_heads, d_head)
    added_up(anatomy)


def added_up(anatomy: Anatomy) -> None:
    parts = [f"blocks.1.{s}" for s in ("hook_resid_pre", "hook_attn_out", "hook_mlp_out")]
    found = capture(anatomy, tokens() % 300, sites=[*parts, "blocks.1.hook_resid_post"])
    before, attention, mlp = (found[part] for part in parts)
    assert torch.equal(before + attention + mlp, found["blocks.1.hook_resid_post"])


def test_weights_that_come_in_only_as_they_are_used():
    from accelerate import cpu_offload

    model = zoo.make("llama")
    here = taken_apart("llama")
    cpu_offload(model, execution_device=torch.device("cpu"))
    assert next(model.parameters()).is_meta
    anatomy = find_anatomy(model)
    prove_replay(anatomy)
    ids, site = tokens(), "blocks.2.attn.hook_z"
    there = capture(anatomy, ids, sites=[site])[site]
    assert torch.equal(there, capture(here, ids, sites=[site])[site])
    assert torch.allclose(anatomy.w_out(1), here.w_out(1), atol=1e-6)
    assert torch.equal(logits(model, ids), logits(here.model, ids))
