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
            handles += _attach(anatomy, site, edit)
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


class Axes:
    """Gives a module's tensor the axes of its site: heads apart for z, batch and pos apart.

    OPT lays all tokens of a batch in one row before its MLP; how many a row of the batch has is
    then seen where its block is entered.
    """

    def __init__(self, anatomy: Anatomy, site: Site) -> None:
        self.anatomy, self.site, self.length = anatomy, site, 0
        self.handles: list[Any] = []
        if site.kind in ("attn_out", "mlp_out", "mlp_post"):
            block = anatomy.blocks[site.layer or 0].module
            self.handles.append(block.register_forward_pre_hook(self._note, with_kwargs=True))

    def _note(self, _module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.length = given(args, kwargs).shape[1]

    def __call__(self, value: Tensor) -> Tensor:
        if self.site.kind == "z":
            return value.unflatten(-1, (self.anatomy.n_heads, self.anatomy.d_head))
        if value.ndim == 2 and self.length:
            return value.unflatten(0, (-1, self.length))
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


def _attach(anatomy: Anatomy, site: Site, edit: Edit) -> list[Any]:
    if site.kind == "pattern":
        raise BadInput(f"{site.name} can be read but not written")
    module, reads = module_at(anatomy, site)
    axes = Axes(anatomy, site)

    def edited(value: Tensor) -> Tensor:
        current = axes(value)
        changed = edit(current)
        if changed.shape != current.shape:
            raise ValueError(
                f"the edit of {site.name} gave {list(changed.shape)}, not {list(current.shape)}"
            )
        return changed.reshape(value.shape)

    if reads:
        hook = module.register_forward_pre_hook(_on_input(edited), with_kwargs=True)
    else:
        hook = module.register_forward_hook(_on_output(edited))
    return [*axes.handles, hook]


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
