"""Whether a model can be taken apart, a line for each thing that was proved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from whence.doctor.check import Check
from whence.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

    from whence.models.anatomy import Anatomy
    from whence.models.load import Loaded
    from whence.models.parts import Block


def anatomy_checks(loaded: Loaded, row: Sequence[int]) -> Iterator[Check]:
    """Find blocks, heads and what they add, and prove it on the ids of one prompt.

    A model without proof still trains and scores; what needs its parts says so when it is run.
    """
    import torch

    from whence.models.anatomy import find_anatomy
    from whence.models.replay import prove_replay

    try:
        anatomy = find_anatomy(loaded.model)
    except BadInput as error:
        yield Check("anatomy", "warn", str(error), "`whence heads` needs it; see docs/models.md")
        return
    yield _found(anatomy)
    ids = torch.tensor([list(row)], device=loaded.device)
    yield _heads(anatomy, ids)
    yield _residual(anatomy, ids)
    yield _hidden_layer(anatomy)
    try:
        prove_replay(anatomy)
    except BadInput as error:
        yield Check("replay", "warn", str(error), "`whence heads` cannot sweep this model")
    else:
        found = "blocks run one after the other give the decoder's output, bit for bit"
        yield Check("replay", "ok", found)
    yield _patterns(anatomy, ids)


def _found(anatomy: Anatomy) -> Check:
    block = anatomy.blocks[0]
    heads = f"{anatomy.n_heads} query heads of {anatomy.d_head}"
    if anatomy.n_kv_heads != anatomy.n_heads:
        heads += f" on {anatomy.n_kv_heads} key-value {_plural('head', anatomy.n_kv_heads)}"
    return Check(
        "anatomy",
        "ok",
        f"{anatomy.n_layers} blocks, {heads}, width {anatomy.d_model}; hook_z enters "
        f"{_name(block, block.out_proj)}",
    )


def _heads(anatomy: Anatomy, ids: Tensor) -> Check:
    """z through the output projection, and the norm after it, is what attention adds."""
    import torch

    from whence.models.capture import capture

    proved = [layer for layer, block in enumerate(anatomy.blocks) if block.attn_out is not None]
    off = size = 0.0
    for layer in proved:
        block = anatomy.blocks[layer]
        z, attn_out = f"blocks.{layer}.attn.hook_z", f"blocks.{layer}.hook_attn_out"
        found = capture(anatomy, ids, sites=[z, attn_out])
        with torch.no_grad():
            written = block.out_proj(found[z].flatten(2))
            if block.attn_out is not None and _reads_projection(block):
                written = block.attn_out(written)
        off = max(off, float((written - found[attn_out]).abs().max()))
        size = max(size, float(written.abs().max()))
    if not proved:
        return Check("heads", "ok", "hook_z is there; what attention adds is not told apart")
    block = anatomy.blocks[proved[0]]
    norm = (
        "" if block.attn_out is block.attention else f" as {_name(block, block.attn_out)} adds it"
    )
    found_line = (
        f"hook_z through the output projection is hook_attn_out{norm} in {len(proved)} "
        f"{_plural('block', len(proved))}, max |Δ| {off:.1e}"
    )
    if off <= torch.finfo(anatomy.model.dtype).eps * size:
        return Check("heads", "ok", found_line)
    return Check("heads", "warn", found_line, "expected no more than rounding: report the model")


def _residual(anatomy: Anatomy, ids: Tensor) -> Check:
    """What enters a block and what its parts add make what leaves it, to the last rounding."""
    from whence.models.capture import capture

    apart = [layer for layer, block in enumerate(anatomy.blocks) if block.attn_out is None]
    if apart:
        return Check(
            "residual stream",
            "warn",
            f"attention and MLP do not simply add up in {_listed(apart)}: no hook_attn_out and "
            "hook_mlp_out there",
            "heads and residual states work; register where the sums are if there are any",
        )
    names = ("hook_resid_pre", "hook_attn_out", "hook_mlp_out", "hook_resid_post")
    off = 0.0
    for layer in range(anatomy.n_layers):
        sites = [f"blocks.{layer}.{name}" for name in names]
        found = capture(anatomy, ids, sites=sites)
        before, a, m, result = (found[site] for site in sites)
        sums = ((before + a) + m, (a + m) + before, (before + m) + a)
        off = max(off, min(float((total - result).abs().max()) for total in sums))
    how = "exactly" if off == 0 else f"up to one rounding (max |Δ| {off:.1e})"
    return Check(
        "residual stream",
        "ok",
        f"resid_pre + attn_out + mlp_out = resid_post, {how}, in {anatomy.n_layers} "
        f"{_plural('block', anatomy.n_layers)}",
    )


def _hidden_layer(anatomy: Anatomy) -> Check:
    without = [layer for layer, block in enumerate(anatomy.blocks) if block.down is None]
    if not without:
        return Check("mlp.hook_post", "ok", "enters the one down projection of every MLP")
    found = f"not in {_listed(without)}: a mixture of experts has no single down projection"
    return Check("mlp.hook_post", "ok", found)


def _patterns(anatomy: Anatomy, ids: Tensor) -> Check:
    from whence.models.capture import capture

    try:
        capture(anatomy, ids, sites=["blocks.0.attn.hook_pattern"])
    except BadInput:
        kind = getattr(anatomy.model.config, "_attn_implementation", "this")
        found = f'{kind} attention gives none: load with attn_implementation="eager" to read them'
        return Check("attention patterns", "ok", found)
    return Check("attention patterns", "ok", "can be read")


def _reads_projection(block: Block) -> bool:
    """Whether what is added is a norm or dropout after the projection, not a part around it."""
    inside = set() if block.attn_out is None else set(block.attn_out.modules())
    return block.out_proj not in inside


def _name(block: Block, part: object) -> str:
    names: dict[object, str] = {m: name for name, m in block.module.named_modules()}
    return names[part]


def _listed(layers: Sequence[int]) -> str:
    shown = ", ".join(map(str, layers[:8]))
    return f"{_plural('block', len(layers))} {shown}{', …' if len(layers) > 8 else ''}"


def _plural(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}s"
