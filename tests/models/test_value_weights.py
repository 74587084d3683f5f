"""Value and output matrices read off a running model, against those that lie in its weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import zoo

from whence.errors import BadInput
from whence.models.anatomy import find_anatomy
from whence.models.capture import capture
from whence.models.replay import Replay
from whence.models.value_weights import head_weights

LAYER = 1
Rows = tuple[torch.Tensor, torch.Tensor | None]
"""Rows of the values in a matrix [head × d_head, d_model], and their bias."""


def grouped(attention: Any) -> Rows:
    return attention.v_proj.weight, attention.v_proj.bias


def gpt2(attention: Any) -> Rows:
    return attention.c_attn.weight.T[-32:], attention.c_attn.bias[-32:]


def interleaved(attention: Any) -> Rows:
    """Query, key and value of each head stand together."""
    fused = attention.query_key_value
    weight, bias = (t.unflatten(0, (zoo.HEADS, 3, -1))[:, 2] for t in (fused.weight, fused.bias))
    return weight.flatten(0, 1), bias.flatten()


def phi3(attention: Any) -> Rows:
    return attention.qkv_proj.weight[-16:], None  # two key-value heads of 8 come last


def falcon(attention: Any) -> Rows:
    return attention.query_key_value.weight[-8:], None  # one value for all heads


def falcon_new(attention: Any) -> Rows:
    """Two groups of two queries, a key and a value."""
    rows = attention.query_key_value.weight.unflatten(0, (2, 4, 8))
    return rows[:, 3].flatten(0, 1), None


LAYOUTS: dict[str, tuple[str, Callable[[Any], Rows]]] = {
    "llama": ("self_attn", grouped),
    "qwen2": ("self_attn", grouped),
    "gemma3": ("self_attn", grouped),
    "mixtral": ("self_attn", grouped),
    "opt": ("self_attn", grouped),
    "gpt2": ("attn", gpt2),
    "gpt_neox": ("attention", interleaved),
    "bloom": ("self_attention", interleaved),
    "falcon_alibi": ("self_attention", interleaved),
    "phi3": ("self_attn", phi3),
    "falcon": ("self_attention", falcon),
    "falcon_new": ("self_attention", falcon_new),
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layouts_that_are_known(name: str, dtype: torch.dtype) -> None:
    anatomy = find_anatomy(zoo.make(name, dtype=dtype))
    found = head_weights(Replay(anatomy), LAYER)
    part, layout = LAYOUTS[name]
    rows, bias = layout(getattr(anatomy.blocks[LAYER].module, part))
    with torch.no_grad():
        heads = rows.float().unflatten(0, (-1, anatomy.d_head))
        repeats = zoo.HEADS // len(heads)
        expected = heads.transpose(1, 2).repeat_interleave(repeats, 0)
        precision = {torch.float32: 1e-6, torch.bfloat16: 1e-2}[dtype]
        torch.testing.assert_close(found.w_v, expected, atol=precision, rtol=precision)
        flat = torch.zeros(len(rows)) if bias is None else bias.float()
        biases = flat.unflatten(0, (-1, anatomy.d_head)).repeat_interleave(repeats, 0)
        torch.testing.assert_close(found.b_v, biases)
        torch.testing.assert_close(
            found.w_o, anatomy.w_out(LAYER).float(), atol=precision, rtol=precision
        )


@pytest.mark.parametrize("name", zoo.ARCHITECTURES)
def test_patterns_and_value_weights_give_every_head(name: str) -> None:
    """z = pattern @ (x W_V + b_V), on a real prompt: both must be those of the right head."""
    anatomy = find_anatomy(zoo.make(name))
    seen = []
    handle = anatomy.blocks[LAYER].attention.register_forward_pre_hook(
        lambda _module, args, kwargs: seen.append(args[0] if args else kwargs["hidden_states"]),
        with_kwargs=True,
    )
    ids = torch.randint(3, zoo.VOCABULARY, (2, 9), generator=torch.Generator().manual_seed(2))
    sites = [f"blocks.{LAYER}.attn.{site}" for site in ("hook_pattern", "hook_z")]
    found = capture(anatomy, ids, sites=sites)
    handle.remove()
    pattern, z = (found[site] for site in sites)
    assert pattern.shape == (2, zoo.HEADS, 9, 9)
    torch.testing.assert_close(pattern.sum(-1), torch.ones(2, zoo.HEADS, 9))
    assert not pattern.triu(1).any()
    assert len(torch.unique(pattern[0, :, 3, 0])) == zoo.HEADS  # within the sliding windows
    weights = head_weights(Replay(anatomy), LAYER)
    values = torch.einsum("bpd,hdk->bhpk", seen[0], weights.w_v) + weights.b_v[:, None]
    torch.testing.assert_close((pattern @ values).transpose(1, 2), z, atol=1e-4, rtol=1e-4)


def test_an_adapter_is_part_of_the_matrices() -> None:
    import peft

    model = zoo.make("llama")
    plain = head_weights(Replay(find_anatomy(model)), LAYER)
    adapted: Any = peft.get_peft_model(
        model, peft.LoraConfig(r=2, target_modules=["v_proj", "o_proj"], init_lora_weights=False)
    )
    found = head_weights(Replay(find_anatomy(adapted.eval())), LAYER)
    attention = adapted.base_model.model.model.layers[LAYER].self_attn
    with torch.no_grad():
        added = attention.v_proj.get_delta_weight("default").T.unflatten(1, (2, -1))
        expected = plain.w_v + added.transpose(0, 1).repeat_interleave(2, 0)
        torch.testing.assert_close(found.w_v, expected, atol=1e-5, rtol=1e-5)
        out = attention.o_proj.get_delta_weight("default").T.unflatten(0, (zoo.HEADS, -1))
        torch.testing.assert_close(found.w_o, plain.w_o + out, atol=1e-5, rtol=1e-5)
        assert added.abs().max() > 0.01


def test_no_other_block_runs() -> None:
    anatomy = find_anatomy(zoo.make("gpt2"))
    replay = Replay(anatomy)
    replay.blocks(torch.zeros(32, 1, 32), 0, 0)
    ran = []
    for at in (0, 2):
        anatomy.blocks[at].attention.register_forward_hook(lambda *_: ran.append(1))
    anatomy.blocks[LAYER].mlp_out.register_forward_hook(lambda *_: ran.append(1))
    head_weights(replay, LAYER)
    assert not ran


def test_values_that_are_not_linear_are_refused() -> None:
    model = zoo.make("llama")
    attention = model.model.layers[LAYER].self_attn
    attention.v_proj.register_forward_hook(lambda _module, _args, out: torch.tanh(out))
    with pytest.raises(BadInput, match=r"LlamaForCausalLM, layer 1: its values .* not a linear"):
        head_weights(Replay(find_anatomy(model)), LAYER)
