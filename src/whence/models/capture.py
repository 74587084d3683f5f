"""Read activations at sites, and stop the forward pass after the last one needed.

Logits are never computed here: the decoder runs alone. What is captured are the model's own
tensors, copied at the moment they are there, so the numbers are those of an undisturbed pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from whence.errors import BadInput
from whence.models.intervene import Axes, Edit, intervening, module_at
from whence.models.sites import Site, parse_site
from whence.models.trace import first_tensor, given

if TYPE_CHECKING:
    from torch import Tensor

    from whence.models.anatomy import Anatomy


Keep = Callable[[Site, "Tensor"], Any]
"""What is kept of the value at a site, while the model runs. It must not keep the value itself."""


class _EnoughError(Exception):
    """Everything that was asked for has been read."""


def _copy(_site: Site, value: Tensor) -> Any:
    return value.clone()


def capture(
    anatomy: Anatomy,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    *,
    sites: Sequence[str | Site],
    edits: Mapping[str | Site, Edit] | None = None,
) -> dict[str, Tensor]:
    """Values at `sites` for a batch [batch, pos], by site name, axes as in `whence.models.sites`.

    attention_mask: 1 on real tokens; None where nothing is padded. Left or right padding: position
    ids are counted from the mask where the model takes them. edits: interventions that are in force
    meanwhile; a site that is edited is captured as edited.

    Raises BadInput for a site that this model does not have, and for `attn.hook_pattern` where the
    attention implementation gives no pattern (load the model with attn_implementation="eager").
    """
    import torch

    wanted = [parse_site(site, anatomy.n_layers) for site in sites]
    last = max((site.ready_after(anatomy.n_layers) for site in wanted), default=-1)
    found: dict[str, Tensor] = {}
    with (
        torch.no_grad(),
        intervening(anatomy, edits or {}),
        reading(anatomy, wanted, found),
        stopping(anatomy, last),
    ):
        run_decoder(anatomy, input_ids, attention_mask)
    return found


def run_decoder(
    anatomy: Anatomy, input_ids: Tensor, attention_mask: Tensor | None, cache: Any = None
) -> Any:
    """The decoder on a batch, without head; None where a capture stopped it.

    cache: keys and values of the tokens before these, which these are added to. The mask then
    covers all of them.
    """
    import inspect

    import torch

    if attention_mask is None:
        attention_mask = torch.ones_like(input_ids)
    more: dict[str, Any] = {}
    takes = inspect.signature(anatomy.decoder.forward).parameters
    if not bool(attention_mask.all()) and "position_ids" in takes:
        more["position_ids"] = (attention_mask.cumsum(dim=1) - 1).clamp(min=0)
    if cache is not None:  # Transformers is renaming it
        more["cache" if "cache" in takes else "past_key_values"] = cache
    try:
        output = anatomy.decoder(
            input_ids=input_ids,
            attention_mask=attention_mask,
            use_cache=cache is not None,
            **more,
        )
    except _EnoughError:
        return None
    return output[0]


@contextmanager
def reading(
    anatomy: Anatomy, sites: Sequence[Site], found: dict[str, Any], keep: Keep = _copy
) -> Iterator[None]:
    """Put what `keep` makes of the values at `sites` into `found`, by site name, as the model runs
    inside the block. By default that is a copy.
    """
    handles = []
    try:
        for site in sites:
            handles += _listen(anatomy, site, found, keep)
        yield
    finally:
        for handle in handles:
            handle.remove()


def _listen(anatomy: Anatomy, site: Site, found: dict[str, Any], keep: Keep) -> list[Any]:
    module, reads = module_at(anatomy, site)
    axes = Axes(anatomy, site)

    def before(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found[site.name] = keep(site, axes(given(args, kwargs)))

    def after(_module: Any, _args: Any, output: Any) -> None:
        if site.kind == "pattern":
            output = output[1] if isinstance(output, tuple) and len(output) > 1 else None
        value = first_tensor(output)
        if value is None:
            raise BadInput(
                f"{site.name}: this attention gives no pattern; load the model with "
                'attn_implementation="eager"'
            )
        found[site.name] = keep(site, value if site.kind == "pattern" else axes(value))

    if reads:
        hook = module.register_forward_pre_hook(before, with_kwargs=True)
    else:
        hook = module.register_forward_hook(after)
    return [*axes.handles, hook]


@contextmanager
def stopping(anatomy: Anatomy, last: int) -> Iterator[None]:
    """Leave the forward pass when block `last` is done; −1: when the embedding is.

    The block after it is still entered, so that what it is given can be read.
    """

    def enough(*_: Any) -> None:
        raise _EnoughError

    if last >= anatomy.n_layers:
        yield
        return
    if last == anatomy.n_layers - 1:
        handle = anatomy.blocks[last].module.register_forward_hook(enough)
    else:
        handle = anatomy.blocks[last + 1].module.register_forward_pre_hook(enough)
    try:
        yield
    finally:
        handle.remove()
