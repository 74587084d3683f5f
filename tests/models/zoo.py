"""Tiny models of many architectures, random but not faint, for tests of anatomy and interventions.

Every model has 3 blocks, 4 query heads and 320 tokens. Its weights are redrawn, wider than
Transformers would: matrices with a standard deviation of 0.25, embeddings of 0.6, and norm weights
and biases moved by 0.3, so that no norm is the identity, no bias is zero, attention is neither
uniform nor saturated, and removing any head moves the logits far more than arithmetic does.
Sliding windows hold 4 tokens, so that they matter in a prompt of ten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

VOCABULARY = 320
LAYERS = 3
HEADS = 4
WINDOW = 4

_SPECIAL: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "max_position_embeddings": 128,
    **_SPECIAL,
}
_GROUPED: dict[str, Any] = {**_SHAPE, "num_key_value_heads": 2}
_FALCON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "max_position_embeddings": 128,
    **_SPECIAL,
}

_CONFIGS: dict[str, Callable[[], Any]] = {
    # Learned positions, fused QKV as Conv1D, tied unembedding.
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=VOCABULARY, n_embd=32, n_layer=LAYERS, n_head=HEADS, n_positions=128, **_SPECIAL
    ),
    # Attention and MLP read the same residual stream; QKV interleaved by head; partial rotary.
    "gpt_neox": lambda: transformers.GPTNeoXConfig(**_SHAPE, use_parallel_residual=True),
    "gpt_neox_sequential": lambda: transformers.GPTNeoXConfig(
        **_SHAPE, use_parallel_residual=False
    ),
    "llama": lambda: transformers.LlamaConfig(**_GROUPED),
    "mistral": lambda: transformers.MistralConfig(**_GROUPED, sliding_window=WINDOW),
    # Norms after attention and MLP too, softcaps tight enough to bend, 4 heads × 16 ≠ 48.
    "gemma2": lambda: transformers.Gemma2Config(
        **_GROUPED | {"hidden_size": 48},
        head_dim=16,
        query_pre_attn_scalar=16,
        attn_logit_softcapping=5.0,
        final_logit_softcapping=10.0,
        sliding_window=WINDOW,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
    "gemma3": lambda: transformers.Gemma3TextConfig(
        **_GROUPED | {"hidden_size": 48},
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=WINDOW,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
    "qwen2": lambda: transformers.Qwen2Config(**_GROUPED),
    "qwen3": lambda: transformers.Qwen3Config(**_GROUPED, head_dim=16),
    # QKV in one matrix, gate and up in another.
    "phi3": lambda: transformers.Phi3Config(**_GROUPED),
    # Norms after attention and MLP only.
    "olmo2": lambda: transformers.Olmo2Config(**_GROUPED),
    # One key and value for all heads; grouped heads and two norms; ALiBi and sequential blocks.
    "falcon": lambda: transformers.FalconConfig(**_FALCON, multi_query=True, parallel_attn=True),
    "falcon_new": lambda: transformers.FalconConfig(
        **_FALCON, new_decoder_architecture=True, num_kv_heads=2
    ),
    "falcon_alibi": lambda: transformers.FalconConfig(
        **_FALCON, alibi=True, multi_query=False, parallel_attn=False, bias=True
    ),
    # Learned positions with an offset; ReLU; biases everywhere.
    "opt": lambda: transformers.OPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        word_embed_proj_dim=32,
        ffn_dim=48,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        max_position_embeddings=128,
        do_layer_norm_before=True,
        **_SPECIAL,
    ),
    # ALiBi, and a norm on the embeddings.
    "bloom": lambda: transformers.BloomConfig(
        vocab_size=VOCABULARY, hidden_size=32, n_layer=LAYERS, n_head=HEADS, **_SPECIAL
    ),
    "mixtral": lambda: transformers.MixtralConfig(
        **_GROUPED, num_local_experts=4, num_experts_per_tok=2
    ),
}

ARCHITECTURES: tuple[str, ...] = tuple(_CONFIGS)

VARIANTS: tuple[tuple[str, str], ...] = tuple(
    (name, attention)
    for name in ARCHITECTURES
    for attention in ("eager", "sdpa")
    if attention == "eager" or name not in {"gemma2", "bloom"}
)
"""Architecture and attention implementation, as far as Transformers has them."""

WITH_BOS = frozenset({"llama", "mistral", "gemma2", "gemma3", "opt", "mixtral"})
"""Those whose tokenizer begins a prompt with <bos> unasked, as that of the real family does."""

_PROJECTIONS = (
    "attn.c_proj", "attention.dense", "self_attn.o_proj", "self_attention.dense",
    "self_attn.out_proj",
)  # fmt: skip

ANSWERS = (" fox", " owl", " red", " blue", " two", " six", " yes", " no")
"""Words that are one token each for the tokenizer that `save` writes."""

_TEXTS = (
    "The color of grass is the color of the river. A fox came to the river every morning.",
    "Two plus two is four. Three plus three is six. Is a fox a bird? The animal that barks is the",
)


def make(
    name: str,
    *,
    seed: int = 0,
    attn_implementation: str = "eager",
    dtype: torch.dtype = torch.float32,
) -> PreTrainedModel:
    """A random model of this architecture on the CPU, in evaluation mode; the seed decides it all.

    Whatever the attention implementation and the dtype, the weights of one seed are the same.
    """
    return randomised(_CONFIGS[name](), seed, attn_implementation, dtype)


def randomised(
    config: Any, seed: int, attn_implementation: str = "eager", dtype: torch.dtype = torch.float32
) -> PreTrainedModel:
    """A model of this config with weights drawn as the head of this file says."""
    # Transformers draws weights of its own first; ours must not move anybody else's random state.
    with torch.random.fork_rng(devices=[]):
        model = AutoModelForCausalLM.from_config(config, attn_implementation=attn_implementation)
    generator = torch.Generator().manual_seed(seed)
    embeddings = model.get_input_embeddings().weight
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter is embeddings:
                parameter.copy_(0.6 * noise)
            elif parameter.dim() > 1:
                parameter.copy_(0.25 * noise)
            else:
                parameter.add_(0.3 * noise)
    # Parameters only: rotary frequencies stay in float32, as `from_pretrained` leaves them.
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model.eval()


def save(name: str, folder: Path, *, seed: int = 0) -> Path:
    """Write the model and a tokenizer of its 320 tokens, as `load_model` reads them."""
    make(name, seed=seed).save_pretrained(folder)
    texts = [*_TEXTS, *ANSWERS * 50]
    make_tokenizer(texts, VOCABULARY, bos=name in WITH_BOS).save_pretrained(folder)
    return folder


def output_projections(model: PreTrainedModel) -> list[torch.nn.Module]:
    """Each block's matrix after its heads, told by name: to check what finds it by other means.

    Its input is [batch, position, head × d_head], the heads one after another.
    """
    return [module for name, module in model.named_modules() if name.endswith(_PROJECTIONS)]


def make_tokenizer(
    texts: Iterable[str], vocab_size: int | None, bos: bool
) -> PreTrainedTokenizerFast:
    """A byte-level BPE trained on these texts; it can spell any other.

    vocab_size: most tokens it may have, at least 259 (bytes, <pad>, <bos>, <eos>). None: merge
    until every word of the texts, with the space before it, is one token. bos: begin with <bos>.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size or 1_000_000,
            special_tokens=["<pad>", "<bos>", "<eos>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", 1)]
        )
    # Bytes leave nothing unknown; but Qwen 2's class adds a token of its own where none is named.
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<eos>",
    )
