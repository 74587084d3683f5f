"""Where blocks, heads, norms and the unembedding lie in any Hugging Face decoder.

Found from the module tree and from what the modules *do* on one small batch, not from a list of
models; then proved on that batch:

    z through the output projection, and the norm after it if there is one, is what attention adds
    resid_pre + attn_out + mlp_out = resid_post, in one of the orders in which a block adds
    final norm of the last resid_post = what the unembedding reads

What cannot be found or proved is named, and `register` says where it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

from whence.errors import BadInput
from whence.models.trace import Calls, same, trace
from whence.models.unembed import NOISE, causal_lm

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

ATTENTION_NAMES = ("attn", "attention")


@dataclass(frozen=True)
class Parts:
    """Where a model keeps its parts, for `register`: dotted names, inside a block unless said.

    blocks: the list of blocks, from the causal language model. attn_out, mlp_out: the modules whose
    outputs are added to the residual stream. None leaves a part to be found.
    """

    blocks: str | None = None
    attention: str | None = None
    out_proj: str | None = None
    attn_out: str | None = None
    mlp_out: str | None = None


_REGISTERED: dict[str, Parts] = {}


def register(model_type: str, parts: Parts) -> None:
    """Say where models of `config.model_type` keep parts that are not found by themselves."""
    _REGISTERED[model_type] = parts


@dataclass(frozen=True)
class Block:
    """One transformer block. attn_out, mlp_out: the modules whose outputs the block adds.

    attn_out and mlp_out are None together where the residual parts could not be shown to add up;
    down, the matrix that reads `mlp.hook_post`, is None in a mixture of experts.
    """

    module: Module
    attention: Module
    out_proj: Module
    attn_out: Module | None
    mlp_out: Module | None
    down: Module | None


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
        """W_O of every head, [head, d_head, d_model], as `z @ W_O` uses it."""
        out_proj = self.blocks[layer].out_proj
        weight = out_proj.weight
        matrix = weight if type(out_proj).__name__ == "Conv1D" else weight.T
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
    decoder, embed = network.base_model, network.get_input_embeddings()
    unembedding = network.get_output_embeddings()
    if unembedding is None or embed is None:
        raise BadInput(f"{_what(network)}: no token embedding or unembedding: not a language model")
    calls = trace(network, config.vocab_size)
    if bool(calls.logits.isnan().any()):
        raise BadInput(
            f"{_what(network)}: its logits are not finite on a random prompt; check its weights "
            "with `whence doctor --model`, and the dtype: float16 overflows in some models"
        )
    modules = _find_blocks(network, config.num_hidden_layers, parts, calls)
    n_heads = config.num_attention_heads
    blocks = tuple(
        _find_parts(network, layer, module, parts, calls) for layer, module in enumerate(modules)
    )
    width = calls.read(blocks[0].out_proj).shape[-1]
    if any(calls.read(block.out_proj).shape[-1] != width for block in blocks) or width % n_heads:
        raise BadInput(
            f"{_what(network)}: the output projections read {width} numbers, which are not "
            f"{n_heads} heads in every layer; {_how_to_register(network)}"
        )
    return Anatomy(
        model=network,
        decoder=decoder,
        embed=embed,
        blocks=blocks,
        final_norm=_find_final_norm(network, modules, calls),
        unembedding=unembedding,
        n_heads=n_heads,
        n_kv_heads=_key_value_heads(config, n_heads),
        d_head=width // n_heads,
        d_model=calls.read(modules[0]).shape[-1],
        d_vocab=calls.logits.shape[-1],
        block_outputs=calls.tuples.get(modules[0]),
    )


def _find_blocks(network: Any, count: int, parts: Parts, calls: Calls) -> list[Module]:
    """The list of `count` modules of one make that ran one after the other, in order."""
    import torch

    if parts.blocks is not None:
        return list(network.get_submodule(parts.blocks))
    lists = [
        list(module)
        for module in network.modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == count
    ]
    for modules in lists:
        ran = [calls.order.get(module) for module in modules]
        places = [place for place in ran if place is not None]
        in_order = len(places) == count and places == sorted(places)
        if in_order and all(same(calls.wrote(a), calls.read(b)) for a, b in pairwise(modules)):
            return modules
    raise BadInput(
        f"{_what(network)}: no list of {count} blocks that run one after the other, each on what "
        f"the one before gave; {_how_to_register(network)}"
    )


def _find_parts(network: Any, layer: int, block: Module, parts: Parts, calls: Calls) -> Block:
    attention = _named(block, parts.attention) or _attention(block, calls)
    if attention is None:
        raise BadInput(
            f"{_what(network)}: no attention in block {layer} (its parts: "
            f"{', '.join(name for name, _ in block.named_children())}); {_how_to_register(network)}"
        )
    projections = _matrices(attention, calls)
    out_proj = _named(block, parts.out_proj) or (projections[-1] if projections else None)
    if out_proj is None:
        raise BadInput(
            f"{_what(network)}: no output projection in the attention of block {layer}; "
            f"{_how_to_register(network)}"
        )
    rest = _beside(block, attention, calls)
    down = (_matrices(rest[-1], calls) or [None])[-1] if rest else None
    written = _written(block, parts, attention, out_proj, rest, down, calls)
    attn_out, mlp_out = written or (None, None)
    # In a mixture of experts the last matrix is the router's, which writes something else.
    if (
        down is not None
        and down is not mlp_out
        and not same(calls.wrote(down), calls.wrote(rest[-1]))
    ):
        down = None
    return Block(block, attention, out_proj, attn_out, mlp_out, down)


def _attention(block: Module, calls: Calls) -> Module | None:
    """The outermost part named after attention that ran and holds matrices (a norm does not)."""
    for name, module in block.named_modules():
        last = name.rpartition(".")[2].lower()
        named = any(word in last for word in ATTENTION_NAMES)
        if named and module in calls.order and _matrices(module, calls):
            return module
    return None


def _matrices(part: Module, calls: Calls) -> list[Module]:
    """Outermost modules with a weight matrix inside `part`, or itself, in the order they ran.

    Outermost: a LoRA layer counts, the plain matrix within it does not.
    """
    if getattr(getattr(part, "weight", None), "ndim", 0) == 2:
        return [part]
    found = [m for child in part.children() for m in _matrices(child, calls)]
    return sorted((m for m in found if m in calls.order), key=lambda m: calls.order[m])


def _beside(block: Module, attention: Module, calls: Calls) -> list[Module]:
    """Children of the block with matrices that are not attention, as they ran: the MLP, usually.

    A mixture of experts may keep its matrices as one three-dimensional parameter.
    """
    inside = set(attention.modules())
    parts = [
        child
        for child in block.children()
        if child in calls.order
        and attention not in set(child.modules())
        and child not in inside
        and any(parameter.ndim >= 2 for parameter in child.parameters())
    ]
    return sorted(parts, key=lambda m: calls.order[m])


def _written(
    block: Module,
    parts: Parts,
    attention: Module,
    out_proj: Module,
    rest: list[Module],
    down: Module | None,
    calls: Calls,
) -> tuple[Module, Module] | None:
    """The two modules whose outputs the block adds to its residual stream, or None."""
    if not rest:
        return None
    norms = [m for m in block.children() if m in calls.order and m not in rest and m != attention]
    choices = []
    for named, candidates in (
        (parts.attn_out, [attention, out_proj]),
        (parts.mlp_out, [rest[-1], *([down] if down is not None else [])]),
    ):
        if named is not None:
            choices.append([block.get_submodule(named)])
            continue
        after = [n for n in norms for c in candidates if same(calls.wrote(c), calls.read(n))]
        choices.append([*after, *candidates])
    before, result = calls.read(block), calls.wrote(block)
    best: tuple[float, tuple[Module, Module]] | None = None
    for attn_out, mlp_out in product(*choices):
        a, m = calls.wrote(attn_out), calls.wrote(mlp_out)
        if a.numel() != before.numel() or m.numel() != before.numel():
            continue
        a, m = a.reshape(before.shape), m.reshape(before.shape)
        for total in ((before + a) + m, (a + m) + before, (before + m) + a):
            off = float((total - result).abs().max())
            if best is None or off < best[0]:
                best = off, (attn_out, mlp_out)
    if best is None:
        return None
    # Exact in the order in which the block adds; a fused addition may round once less.
    noise = NOISE.get(str(result.dtype).removeprefix("torch."), 1e-4) / 10
    return best[1] if best[0] <= noise * float(result.abs().max()) else None


def _find_final_norm(network: Any, blocks: list[Module], calls: Calls) -> Module:
    """The module that reads what the last block gave and writes what the unembedding reads."""
    last, unembedded = calls.wrote(blocks[-1]), calls.read(network.get_output_embeddings())
    inside = {module for block in blocks for module in block.modules()}
    for module in calls.order:
        if module in inside or list(module.children()):
            continue
        if same(calls.read(module), last) and same(calls.wrote(module), unembedded):
            return module
    raise BadInput(
        f"{_what(network)}: no norm between the last block and the unembedding alone; models that "
        "do more there are not supported"
    )


def _key_value_heads(config: Any, n_heads: int) -> int:
    if getattr(config, "multi_query", False) and not getattr(
        config, "new_decoder_architecture", False
    ):
        return 1
    for name in ("num_key_value_heads", "num_kv_heads"):
        if (count := getattr(config, name, None)) is not None:
            return int(count)
    return n_heads


def _named(block: Module, name: str | None) -> Module | None:
    return None if name is None else block.get_submodule(name)


def _what(network: Any) -> str:
    name = getattr(network.config, "_name_or_path", "") or "this model"
    return f"{name} ({type(network).__name__})"


def _how_to_register(network: Any) -> str:
    kind = network.config.get_text_config().model_type
    return (
        f'say where it is with whence.models.anatomy.register("{kind}", Parts(…)), '
        "as docs/models.md shows"
    )
