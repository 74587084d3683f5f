"""Weights of GPT-2 and LLaMA models that compute a circuit given on paper.

The residual stream has 64 coordinates, each with one meaning:

    ONE         1 at every token
    SINK        1 at the word "Once", where heads look that find nothing
    NAMED       1 at every name
    NAME[8]     which name this token is, one-hot; zero at other words
    PREVIOUS[8] which name the token before this one is, once a head has written it
    HELD[8]     names that heads hold for the MLP of the last block
    ANSWER[8]   the logits of the eight names; every other logit is 0
    POSITION[16], BALANCE   GPT-2 only, see below

**Norms are the identity.** Their epsilon is 1e8 and their weight 1e4, so they return
x / √(1 + var(x)/1e8): x, to one part in 10⁷. LayerNorm also takes the mean away; there is none,
because GPT-2's BALANCE coordinate is minus the sum of the others in all that is ever written.

**Attention is one-hot.** The scores of two keys differ by 30 or more where it matters, so the wrong
ones get less than e⁻³⁰ together. All heads of a block look at the same token and read its NAME
(thus the key-value groups of LLaMA are shared with nothing lost); heads differ in what they write:

    name      at the one name so far:  q·k = 60 · ONE · NAMED
    previous  at the token before. GPT-2: q(p)·k(p') = 60 · [p = p' + 1], from one-hot POSITION.
              LLaMA: rotary pairs 0 and 1 turn by f = 1 and 10^-½ a position, and a query turned
              back by one position gives q·k = 100 Σ_f cos(f (p − p' − 1)): 50 less elsewhere
              within 16 tokens
    match     at the token after this name's earlier occurrence, else at "Once":
              q·k = 60 · NAME · PREVIOUS + 30 · ONE · SINK

Content is read through rotary pairs 6 to 15, which turn by less than 0.02 in 16 tokens.

**The MLP saturates**: with two neurons a name, out = gain · (relu(held) − relu(held − ONE))
= gain · min(1, held) for held ≥ 0. LLaMA's gated MLP has relu(gate) · up with up = ONE.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import transformers
from torch import Tensor

Family = Literal["gpt2", "llama"]
Look = Literal["name", "previous", "match"]

WIDTH = 64
HEADS = 4
NAMES = 8
D_HEAD: dict[Family, int] = {"gpt2": 16, "llama": 32}

ONE, SINK, NAMED, BALANCE = 0, 1, 2, 63
NAME, PREVIOUS = slice(3, 11), slice(11, 19)
HELD, ANSWER = slice(19, 27), slice(27, 35)
POSITION, POSITIONS = slice(40, 56), 16

# Coordinates inside a head, for queries, keys and values.
_SINK_AT, _NAMED_AT, _NAME_AT = 6, 7, slice(8, 16)

_SHARP = 60.0
_EPSILON = 1e8
_ROTARY_BASE = 1e8  # pair i of 16 turns by 10^(−i/2) a position


@dataclass(frozen=True)
class Write:
    """What a head writes for the name that it carries: `to` += carried [8] @ matrix [8, 8]."""

    to: slice
    matrix: np.ndarray


@dataclass(frozen=True)
class Block:
    """Where the heads of a block look, and what those that are planted write. Others write 0."""

    looks: Look
    writes: Mapping[int, Write]
    gain: np.ndarray | None = None  # [8]: this block's MLP, HELD → ANSWER; None: writes 0


def build(
    family: Family, blocks: Sequence[Block], vocabulary: Mapping[str, int], names: Sequence[str]
) -> Any:
    """The model of this circuit on the CPU, in evaluation mode. The vocabulary knows "Once"."""
    embedding = torch.zeros(len(vocabulary), WIDTH)
    unembedding = torch.zeros(len(vocabulary), WIDTH)
    embedding[:, ONE] = 1
    embedding[vocabulary["Once"], SINK] = 1
    for i, name in enumerate(names):
        embedding[vocabulary[name], NAMED] = 1
        embedding[vocabulary[name], NAME.start + i] = 1
        unembedding[vocabulary[name], ANSWER.start + i] = 1
    model = _gpt2(blocks, embedding) if family == "gpt2" else _llama(blocks, embedding)
    with torch.no_grad():
        model.lm_head.weight.copy_(unembedding)
        for name, parameter in model.named_parameters():
            if "norm" in name or "ln_" in name:
                parameter.fill_(0 if name.endswith("bias") else _EPSILON**0.5)
    return model.eval()


def _gpt2(blocks: Sequence[Block], embedding: Tensor) -> Any:
    """Matrices of `Conv1D` are [in, out]; queries, keys and values stand side by side in one."""
    model: Any = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=len(embedding), n_embd=WIDTH, n_layer=len(blocks), n_head=HEADS,
            n_positions=64, n_inner=2 * NAMES, activation_function="relu",
            layer_norm_epsilon=_EPSILON, tie_word_embeddings=False,
            pad_token_id=0, bos_token_id=1, eos_token_id=2,
        )
    )  # fmt: skip
    positions = torch.zeros(64, WIDTH)
    positions[:, POSITION] = torch.eye(POSITIONS).repeat(4, 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.transformer.wte.weight.copy_(_balanced(embedding))
        model.transformer.wpe.weight.copy_(_balanced(positions))
        for block, layer in zip(blocks, model.transformer.h, strict=True):
            q, k, v = _looking("gpt2", block.looks)
            layer.attn.c_attn.weight.copy_(torch.cat([m.repeat(1, HEADS) for m in (q, k, v)], 1))
            layer.attn.c_proj.weight.copy_(_balanced(_writing("gpt2", block)))
            read, write = _saturating(block)
            layer.mlp.c_fc.weight.copy_(read)
            layer.mlp.c_proj.weight.copy_(_balanced(write))
    return model


def _llama(blocks: Sequence[Block], embedding: Tensor) -> Any:
    """Matrices of `Linear` are [out, in]; two key-value heads serve four query heads."""
    model: Any = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=len(embedding), hidden_size=WIDTH, num_hidden_layers=len(blocks),
            num_attention_heads=HEADS, num_key_value_heads=2, head_dim=D_HEAD["llama"],
            intermediate_size=2 * NAMES, hidden_act="relu", rms_norm_eps=_EPSILON,
            rope_parameters={"rope_type": "default", "rope_theta": _ROTARY_BASE},
            max_position_embeddings=64, tie_word_embeddings=False,
            pad_token_id=0, bos_token_id=1, eos_token_id=2,
        )
    )  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.model.embed_tokens.weight.copy_(embedding)
        for block, layer in zip(blocks, model.model.layers, strict=True):
            q, k, v = _looking("llama", block.looks)
            layer.self_attn.q_proj.weight.copy_(q.repeat(1, HEADS).T)
            layer.self_attn.k_proj.weight.copy_(k.repeat(1, 2).T)
            layer.self_attn.v_proj.weight.copy_(v.repeat(1, 2).T)
            layer.self_attn.o_proj.weight.copy_(_writing("llama", block).T)
            read, write = _saturating(block)
            layer.mlp.gate_proj.weight.copy_(read.T)
            layer.mlp.up_proj.weight[:, ONE] = 1
            layer.mlp.down_proj.weight.copy_(write.T)
    return model


def _balanced(rows: Tensor) -> Tensor:
    """The same rows [any, 64] with the BALANCE that makes each sum to zero."""
    rows = rows.clone()
    rows[:, BALANCE] = -rows.sum(dim=1)
    return rows


def _looking(family: Family, look: Look) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value matrix [64, d_head] of a head. The head's 1/√d_head is in the query."""
    size = D_HEAD[family]
    q, k, v = (torch.zeros(WIDTH, size) for _ in range(3))
    v[NAME, _NAME_AT] = torch.eye(NAMES)
    if look == "name":
        q[ONE, _NAMED_AT] = _SHARP
        k[NAMED, _NAMED_AT] = 1
    elif look == "match":
        q[NAME, _NAME_AT] = _SHARP * torch.eye(NAMES)
        k[PREVIOUS, _NAME_AT] = torch.eye(NAMES)
        q[ONE, _SINK_AT] = _SHARP / 2
        k[SINK, _SINK_AT] = 1
    elif family == "gpt2":
        q[POSITION, :POSITIONS] = _SHARP * torch.eye(POSITIONS).roll(-1, dims=1)
        k[POSITION, :POSITIONS] = torch.eye(POSITIONS)
    else:
        for pair in range(2):
            turn = torch.tensor(_ROTARY_BASE ** (-2 * pair / size))
            q[ONE, pair] = 100 * turn.cos()
            q[ONE, pair + size // 2] = -100 * turn.sin()
            k[ONE, pair] = 1
    return q * size**0.5, k, v


def _writing(family: Family, block: Block) -> Tensor:
    """The matrix [heads × d_head, 64] after the heads."""
    out = torch.zeros(HEADS, D_HEAD[family], WIDTH)
    for head, write in block.writes.items():
        out[head, _NAME_AT, write.to] = torch.tensor(write.matrix, dtype=torch.float32)
    return out.flatten(0, 1)


def _saturating(block: Block) -> tuple[Tensor, Tensor]:
    """Into the MLP's neurons [64, 16], and out of them [16, 64]."""
    read, write = torch.zeros(WIDTH, 2 * NAMES), torch.zeros(2 * NAMES, WIDTH)
    if block.gain is not None:
        read[HELD] = torch.eye(NAMES).repeat(1, 2)
        read[ONE, NAMES:] = -1
        gain = torch.tensor(block.gain, dtype=torch.float32).diag()
        write[:, ANSWER] = torch.cat([gain, -gain])
    return read, write
