"""Where blocks, heads, norms and the unembedding lie in any Hugging Face decoder.

Found from the module tree and from what the modules *do* on one small batch, not from a list of
models; then proved on that batch:

    z through the output projection, and the norm after it if there is one, is what attention gives
    attention is of one kind in all blocks, and has as many patterns as the config counts heads
    resid_pre + attn_out + mlp_out = resid_post, in one of the orders in which a block adds
    final norm of the last resid_post = what the unembedding reads

What cannot be found or proved is named, and `register` says where it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from whence.errors import BadInput
from whence.models.parts import (
    Block,
    Parts,
    find_blocks,
    find_final_norm,
    find_parts,
    how_to_register,
    what,
)
from whence.models.trace import Calls, device_of_ids, trace
from whence.models.unembed import causal_lm

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

_REGISTERED: dict[str, Parts] = {}


def register(model_type: str, parts: Parts) -> None:
    """Say where models of `config.model_type` keep parts that are not found by themselves."""
    _REGISTERED[model_type] = parts


@dataclass(frozen=True)
class Anatomy:
    """A decoder taken apart. n_heads counts query heads; n_kv_heads, key and value heads.

    block_outputs: how many values a block returns as a tuple; None where it returns a tensor.
    """

    model: Any
    decoder: Module
    embed: Module
    blocks: tuple[Block, ...]
    final_norm: Module
    unembedding: Module
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_model: int
    d_vocab: int
    block_outputs: int | None

    @property
    def n_layers(self) -> int:
        return len(self.blocks)

    def w_out(self, layer: int) -> Tensor:
        """W_O of every head, [head, d_head, d_model], as `z @ W_O` uses it.

        The very weights of a plain projection. One that is wrapped (LoRA) or stored in another way
        is asked what it makes of every unit vector, which is W_O up to rounding.
        """
        import torch

        out_proj = self.blocks[layer].out_proj
        weight = out_proj.weight
        width = self.n_heads * self.d_head
        plain = weight.is_floating_point() and not weight.is_meta  # not packed, not elsewhere
        if isinstance(out_proj, torch.nn.Linear) and plain:
            matrix = weight.T
        elif type(out_proj).__name__ == "Conv1D" and plain:
            matrix = weight
        else:
            units = torch.eye(width + 1, width, dtype=self.embed.weight.dtype)
            at = device_of_ids(self.embed) if weight.is_meta else weight.device
            with torch.no_grad():
                written = out_proj(units.to(at))
            matrix = written[:-1] - written[-1]
        return matrix.reshape(self.n_heads, self.d_head, self.d_model)


def find_anatomy(model: Any) -> Anatomy:
    """Take a causal language model apart, and prove that the parts are what they are called.

    Runs one forward pass on 2 × 9 random tokens. A LoRA adapter around the model is looked through:
    its layers are part of the modules found.

    Raises BadInput naming the part that was not found or does not add up.
    """
    network = causal_lm(model)
    config = network.config.get_text_config()
    parts = _REGISTERED.get(config.model_type, Parts())
    unembedding, embed = network.get_output_embeddings(), network.get_input_embeddings()
    if unembedding is None or embed is None:
        raise BadInput(f"{what(network)}: no token embedding or unembedding: not a language model")
    calls = trace(network, config.vocab_size)
    _check_logits(network, calls)
    # Where a configuration describes an encoder too, its plain names may mean the encoder.
    count = getattr(config, "decoder_layers", None) or config.num_hidden_layers
    modules = find_blocks(network, count, parts, calls)
    blocks = tuple(
        find_parts(network, layer, module, parts, calls) for layer, module in enumerate(modules)
    )
    n_heads, d_head = _heads(network, config, blocks, calls)
    return Anatomy(
        model=network,
        decoder=_decoder(network, modules),
        embed=embed,
        blocks=blocks,
        final_norm=find_final_norm(network, modules, calls),
        unembedding=unembedding,
        n_heads=n_heads,
        n_kv_heads=_key_value_heads(config, n_heads),
        d_head=d_head,
        d_model=calls.read(modules[0]).shape[-1],
        d_vocab=calls.logits.shape[-1],
        block_outputs=calls.tuples.get(modules[0]),
    )


def _check_logits(network: Any, calls: Calls) -> None:
    """Raise BadInput where the model was not loaded or does not give numbers."""
    if calls.logits.is_meta:
        raise BadInput(f"{what(network)}: its weights are on the meta device: load them first")
    if bool(calls.logits.isnan().any()):
        raise BadInput(
            f"{what(network)}: its logits are not finite on a random prompt; check its weights "
            "with `whence doctor --model`, and the dtype: float16 overflows in some models"
        )


def _decoder(network: Any, blocks: Sequence[Module]) -> Module:
    """The model without its head; Llama 4 misnames it, so that its `base_model` is the whole."""
    decoder: Module = network.base_model
    if decoder is network:
        decoder = next(part for part in network.children() if blocks[0] in set(part.modules()))
    return decoder


def _heads(network: Any, config: Any, blocks: Sequence[Block], calls: Calls) -> tuple[int, int]:
    """Query heads, and how many numbers of z each has. Raises BadInput where blocks differ."""
    n_heads = getattr(config, "decoder_attention_heads", None) or getattr(
        config, "num_attention_heads", None
    )
    if not isinstance(n_heads, int):
        raise BadInput(
            f"{what(network)}: config.json says num_attention_heads = {n_heads}; only decoders "
            "with the same number of heads in every layer are supported"
        )
    kinds = sorted({type(block.attention).__name__ for block in blocks})
    if len(kinds) > 1:
        raise BadInput(
            f"{what(network)}: its layers have attention of several kinds ({', '.join(kinds)}), "
            "whose heads are not counted alike; only decoders with one kind are supported"
        )
    widths = sorted({calls.read(block.out_proj).shape[-1] for block in blocks})
    if len(widths) > 1:
        raise BadInput(
            f"{what(network)}: its layers have heads of several sizes (the output projections read "
            f"{', '.join(map(str, widths))} numbers); only decoders with one size are supported"
        )
    patterns = {calls.patterns.get(block.attention, (0, n_heads))[1] for block in blocks}
    if widths[0] % n_heads or patterns != {n_heads}:
        raise BadInput(
            f"{what(network)}: the output projection reads {widths[0]} numbers and attention has "
            f"{', '.join(map(str, sorted(patterns)))} patterns, which are not {n_heads} heads as "
            f"config.json says; {how_to_register(network)}"
        )
    return n_heads, widths[0] // n_heads


def _key_value_heads(config: Any, n_heads: int) -> int:
    if getattr(config, "decoder_attention_heads", None):
        return n_heads
    if getattr(config, "multi_query", False) and not getattr(
        config, "new_decoder_architecture", False
    ):
        return 1
    for name in ("num_key_value_heads", "num_kv_heads"):
        if (count := getattr(config, name, None)) is not None:
            return int(count)
    return n_heads
