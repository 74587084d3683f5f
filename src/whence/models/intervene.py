"""Change activations at sites while a model runs.

An edit is a function from a site's tensor (axes as in `whence.models.sites`) to one of the same
shape; it must not write into its argument. Hooks are put on when the block is entered and taken
off when it is left, whatever happens inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from whence.errors import BadInput
from whence.models.sites import Site, parse_site
from whence.models.trace import first_tensor, given

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from whence.models.anatomy import Anatomy

Edit = Callable[["Tensor"], "Tensor"]


@contextmanager
def intervening(anatomy: Anatomy, edits: Mapping[str | Site, Edit]) -> Iterator[None]:
    """Apply `edits` to every forward pass inside the block. Adapters and batches of any shape work.

    Raises BadInput for a site that is not there or cannot be written (attention patterns).
    """
    handles = []
    try:
        for name, edit in edits.items():
            site = parse_site(name, anatomy.n_layers)
            handles.append(_attach(anatomy, site, edit))
        yield
    finally:
        for handle in handles:
            handle.remove()


def module_at(anatomy: Anatomy, site: Site) -> tuple[Module, bool]:
    """The module that holds a site, and whether the site is what it reads (else what it writes).

    Raises BadInput where this model has no such place.
    """
    if site.kind == "embed":
        return anatomy.embed, False
    if site.layer is None:
        return anatomy.final_norm, False
    block = anatomy.blocks[site.layer]
    place = {
        "resid_pre": (block.module, True),
        "resid_post": (block.module, False),
        "z": (block.out_proj, True),
        "pattern": (block.attention, False),
        "attn_out": (block.attn_out, False),
        "mlp_out": (block.mlp_out, False),
        "mlp_post": (block.down, True),
    }[site.kind]
    module, reads = place
    if module is None:
        raise BadInput(
            f"{site.name}: not found in {type(anatomy.model).__name__}: its MLP has no single down "
            "projection, or its block does not simply add attention and MLP to the residual stream"
        )
    return module, reads


def to_axes(anatomy: Anatomy, site: Site, value: Tensor) -> Tensor:
    """A module's tensor with the axes of the site: heads apart for z."""
    if site.kind == "z":
        return value.unflatten(-1, (anatomy.n_heads, anatomy.d_head))
    return value


def scale_heads(factors: Mapping[int, float], positions: Sequence[int] | None = None) -> Edit:
    """Edit for `hook_z` that multiplies heads by factors (0 ablates), at `positions` or all.

    positions: indices along pos, the same for every row of the batch; negative ones from its end.
    """

    def edit(z: Tensor) -> Tensor:
        changed = z.clone()
        at = slice(None) if positions is None else list(positions)
        for head, factor in factors.items():
            changed[:, at, head] = z[:, at, head] * factor
        return changed

    return edit


def put(values: Tensor, rows: Tensor, positions: Tensor) -> Edit:
    """Edit that writes values[i] at (rows[i], positions[i]) of a site [batch, pos, …]."""

    def edit(value: Tensor) -> Tensor:
        changed = value.clone()
        changed[rows, positions] = values.to(value)
        return changed

    return edit


def _attach(anatomy: Anatomy, site: Site, edit: Edit) -> Any:
    if site.kind == "pattern":
        raise BadInput(f"{site.name} can be read but not written")
    module, reads = module_at(anatomy, site)

    def edited(value: Tensor) -> Tensor:
        changed = edit(to_axes(anatomy, site, value))
        return changed.reshape(value.shape)

    if reads:
        return module.register_forward_pre_hook(_on_input(edited), with_kwargs=True)
    return module.register_forward_hook(_on_output(edited))


def _on_input(edited: Edit) -> Callable[..., Any]:
    def hook(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        value = edited(given(args, kwargs))
        if args:
            return (value, *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": value}

    return hook


def _on_output(edited: Edit) -> Callable[..., Any]:
    def hook(_module: Any, _args: Any, output: Any) -> Any:
        value = edited(first_tensor(output))
        return (value, *output[1:]) if isinstance(output, tuple) else value

    return hook
