"""The parts of a decoder, found in one traced forward pass: blocks, attention, MLP, final norm.

Each is recognised by what it read and wrote, not by its name; only attention is told apart by name.
A module that ran more than once is no part: a hook on it would not know which call it sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

from whence.errors import BadInput
from whence.models.trace import Calls, same

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


@dataclass(frozen=True)
class Block:
    """One transformer block. attn_out, mlp_out: the modules whose outputs the block adds.

    attn_out and mlp_out are None together where the residual parts could not be shown to add up;
    down, the matrix that reads `mlp.hook_post`, is None in a mixture of experts; mlp, the module
    that holds the whole MLP, is None where its matrices lie in the block itself.
    """

    module: Module
    attention: Module
    out_proj: Module
    attn_out: Module | None
    mlp_out: Module | None
    down: Module | None
    mlp: Module | None


def find_blocks(network: Any, count: int, parts: Parts, calls: Calls) -> list[Module]:
    """The list of `count` modules that ran one after the other, each on what the last one gave.

    Raises BadInput where there is none, or where the registered list is not one.
    """
    import torch

    if parts.blocks is not None:
        registered = list(named(network, parts.blocks, network).children())
        if not registered or not _in_chain(registered, calls):
            raise BadInput(
                f"{what(network)}: {parts.blocks}, registered as its blocks, is no list of modules "
                "that run one after the other, each on what the one before gave"
            )
        return registered
    for module in network.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == count:
            modules = list(module)
            if _in_chain(modules, calls):
                return modules
    raise BadInput(
        f"{what(network)}: no list of {count} blocks that run one after the other, each on what "
        f"the one before gave; {how_to_register(network)}"
    )


def _in_chain(modules: Sequence[Module], calls: Calls) -> bool:
    places = [calls.order.get(m, -1) for m in modules]
    return (
        min(places) >= 0
        and places == sorted(places)
        and calls.again.isdisjoint(modules)
        and all(same(calls.wrote(a), calls.read(b)) for a, b in pairwise(modules))
    )


def find_parts(network: Any, layer: int, block: Module, parts: Parts, calls: Calls) -> Block:
    """The parts of one block. Raises BadInput naming the one that is not there."""

    def registered(name: str | None) -> Module | None:
        if name is None:
            return None
        module = named(network, name, block)
        if module not in calls.order or module in calls.again:
            raise BadInput(
                f"{what(network)}: {name}, registered as a part of block {layer}, must run once in "
                "a forward pass, on a tensor, and give one"
            )
        return module

    attention = registered(parts.attention) or _attention(block, calls)
    if attention is None:
        raise BadInput(
            f"{what(network)}: no attention in block {layer} (its parts: "
            f"{', '.join(name for name, _ in block.named_children())}); {how_to_register(network)}"
        )
    projections = _matrices(attention, calls)
    out_proj = registered(parts.out_proj) or (projections[-1] if projections else None)
    if out_proj is None:
        raise BadInput(
            f"{what(network)}: no output projection in the attention of block {layer}; "
            f"{how_to_register(network)}"
        )
    rest = _beside(block, attention, calls)
    down = (_matrices(rest[-1], calls) or [None])[-1] if rest else None
    # The attention as a whole counts only if it gives what the heads give: BLOOM's adds more.
    by_heads = [attention] if _gives(attention, out_proj, calls) else []
    by_mlp = [*rest[-1:], *([] if down is None else [down])]
    written = _written(
        block,
        calls,
        _chosen(registered(parts.attn_out))
        or _may_add(block, [*by_heads, out_proj], [*rest, attention], calls),
        _chosen(registered(parts.mlp_out)) or _may_add(block, by_mlp, [*rest, attention], calls),
    )
    attn_out, mlp_out = written or (None, None)
    if parts.out_proj is None and written is None and not _gives(attention, out_proj, calls):
        name = next(name for name, m in attention.named_modules() if m is out_proj)
        raise BadInput(
            f"{what(network)}: no output projection in the attention of block {layer}: {name}, its "
            f"last matrix, does not give what the attention gives; {how_to_register(network)}"
        )
    # In a mixture of experts the last matrix is the router's, which writes something else.
    if down is not None and down is not mlp_out and not _gives(rest[-1], down, calls):
        down = None
    shape = calls.read(block).shape
    whole = len(rest) == 1 and calls.read(rest[0]).shape == calls.wrote(rest[0]).shape == shape
    mlp = rest[0] if whole else None
    return Block(block, attention, out_proj, attn_out, mlp_out, down, mlp)


def _chosen(module: Module | None) -> list[Module]:
    return [] if module is None else [module]


def _gives(part: Module, inner: Module, calls: Calls) -> bool:
    """Whether what `inner` writes is what the part around it writes."""
    return same(calls.wrote(inner), calls.wrote(part))


def _attention(block: Module, calls: Calls) -> Module | None:
    """The outermost part named after attention that ran and holds matrices (a norm does not)."""
    for name, module in block.named_modules():
        last = name.rpartition(".")[2].lower()
        if any(word in last for word in ATTENTION_NAMES) and (
            module in calls.order and module not in calls.again and _matrices(module, calls)
        ):
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


def _may_add(
    block: Module, sources: Sequence[Module], others: Sequence[Module], calls: Calls
) -> list[Module]:
    """Modules whose output the block may add: norms and dropouts after `sources`, and these."""
    after = [
        child
        for child in block.children()
        if child in calls.order
        and child not in calls.again
        and child not in others
        and any(same(calls.wrote(source), calls.read(child)) for source in sources)
    ]
    return [*after, *sources]


def _written(
    block: Module, calls: Calls, attention: Sequence[Module], mlp: Sequence[Module]
) -> tuple[Module, Module] | None:
    """The pair of modules whose outputs the block adds to its residual stream, or None."""
    before, result = calls.read(block), calls.wrote(block)
    best: tuple[float, tuple[Module, Module]] | None = None
    for pair in product(attention, mlp):
        if any(calls.wrote(module).numel() != before.numel() for module in pair):
            continue
        a, m = (calls.wrote(module).reshape(before.shape) for module in pair)
        for total in ((before + a) + m, (a + m) + before, (before + m) + a):
            off = _roundings(total - result, (before, a, m))
            if best is None or off < best[0]:
                best = off, pair
    # None in the order in which the block adds; a fused addition may round once less.
    return best[1] if best is not None and best[0] <= 2 else None


def _roundings(off: Tensor, terms: Sequence[Tensor]) -> float:
    """Largest |off|, number by number, in units in the last place of the terms of the sum.

    Number by number, because single features of a residual stream may be a thousand times larger
    than all others, and what is noise for these is everything for those.
    """
    import torch

    size = sum(term.abs().double() for term in terms)
    unit = torch.finfo(off.dtype).eps * size
    return float((off.abs().double() / unit.clamp(min=1e-30)).max())


def find_final_norm(network: Any, blocks: Sequence[Module], calls: Calls) -> Module:
    """The module that reads what the last block gave and writes what the unembedding reads.

    Raises BadInput where there is more than that, or less.
    """
    last, unembedded = calls.wrote(blocks[-1]), calls.read(network.get_output_embeddings())
    inside = {module for block in blocks for module in block.modules()}
    for module in calls.order:
        if module in inside or module in calls.again or list(module.children()):
            continue
        if getattr(getattr(module, "weight", None), "ndim", 1) != 1:  # the smallest OPTs project
            continue
        if same(calls.read(module), last) and same(calls.wrote(module), unembedded):
            return module
    raise BadInput(
        f"{what(network)}: between its last block and its unembedding there is not one norm, used "
        "there alone; such models are not supported"
    )


def named(network: Any, name: str, within: Any) -> Module:
    """A registered module. Raises BadInput where there is none of this name."""
    try:
        module: Module = within.get_submodule(name)
    except AttributeError:
        raise BadInput(
            f"{what(network)}: no {name} in {type(within).__name__}, though it was registered; its "
            f"parts: {', '.join(child for child, _ in within.named_children())}"
        ) from None
    return module


def what(network: Any) -> str:
    """The model, for the beginning of an error."""
    name = getattr(network.config, "_name_or_path", "") or "this model"
    return f"{name} ({type(network).__name__})"


def how_to_register(network: Any) -> str:
    """What to do where a part was not found."""
    kind = network.config.get_text_config().model_type
    return (
        f'say where it is with whence.models.anatomy.register("{kind}", Parts(…)), '
        "as docs/models.md shows"
    )
