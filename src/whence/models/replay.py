"""Run the blocks of a decoder one by one, from any layer on.

A sweep over heads changes one layer at a time, so everything before it can be kept: the state that
enters block L is computed once, and only blocks L … end are run again. What a block is given beside
the hidden states (masks, rotary tables, ALiBi slopes) is whatever the model's own decoder gives it:
the decoder is run once per batch shape with its blocks switched off, and each block's arguments are
written down. Nothing about any architecture is assumed, save that these arguments depend on the
shape of a batch and not on its tokens; `prove_replay` finds out.

Batches are unpadded: every row has the same number of tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from whence.errors import BadInput
from whence.models.intervene import Edit, intervening
from whence.models.sites import Site
from whence.models.trace import device_of_ids, first_tensor, given
from whence.models.unembed import NOISE

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from whence.models.anatomy import Anatomy

Call = tuple[tuple[Any, ...], dict[str, Any]]
KEPT_SHAPES = 16


class Replay:
    """Blocks of one model, run apart from it. Keeps the arguments of the last batch shapes.

    block_tokens counts what was run: blocks times tokens, so that a cost can be set beside a floor.
    """

    def __init__(self, anatomy: Anatomy) -> None:
        self.anatomy = anatomy
        self.block_tokens = 0
        self._calls: dict[tuple[int, int], list[Call]] = {}
        self._narrows: dict[int, bool] = {}

    def enter(self, input_ids: Tensor) -> Tensor:
        """What enters block 0 for unpadded ids [batch, pos] → [batch, pos, d_model]."""
        entering, calls = _block_calls(self.anatomy, input_ids)
        self._keep(tuple(input_ids.shape), calls)
        return entering

    def blocks(
        self,
        hidden: Tensor,
        start: int,
        stop: int | None = None,
        edits: Mapping[str | Site, Edit] | None = None,
        needed_from: int = 0,
    ) -> Tensor:
        """Run blocks start … stop − 1 on `hidden` [batch, pos, d_model], edits in force.

        stop: the number of layers if None. needed_from: position before which the output of the
        last of them is not needed, and may be anything: its MLP is run on the others alone.
        Returns what leaves the last of them.
        """
        calls = self._calls_for(hidden)
        layers = range(start, self.anatomy.n_layers if stop is None else stop)
        self.block_tokens += len(layers) * hidden.shape[0] * hidden.shape[1]
        with intervening(self.anatomy, edits or {}):
            for layer in layers[:-1]:
                hidden = self._block(layer, hidden, calls[layer])
        if layers:
            last, wanted = self.anatomy.blocks[layers[-1]], edits or {}
            inside = any(_within_mlp(site, layers[-1]) for site in wanted)
            narrow = needed_from > 0 and not inside and self._may_narrow(layers[-1])
            # The narrowing hooks come first, so that edits see all positions again.
            with (
                _narrowed(last.mlp if narrow else None, needed_from),
                intervening(self.anatomy, wanted),
            ):
                hidden = self._block(layers[-1], hidden, calls[layers[-1]])
        return hidden

    def _block(self, layer: int, hidden: Tensor, call: Call) -> Tensor:
        args, kwargs = call
        block = self.anatomy.blocks[layer].module
        if args:
            output = block(hidden, *args[1:], **kwargs)
        else:
            output = block(**{**kwargs, "hidden_states": hidden})
        written: Tensor = first_tensor(output)
        return written

    def _may_narrow(self, layer: int) -> bool:
        """Whether the MLP of a layer treats every token by itself, tried once on random numbers."""
        import torch

        mlp = self.anatomy.blocks[layer].mlp
        if mlp is None:
            return False
        if layer not in self._narrows:
            weight = self.anatomy.embed.weight
            random = torch.Generator().manual_seed(2)
            hidden = torch.randn((2, 5, self.anatomy.d_model), generator=random).to(weight)
            call = self._calls_for(hidden)[layer]
            whole = self._block(layer, hidden, call)
            with _narrowed(mlp, 3):
                part = self._block(layer, hidden, call)
            noise = NOISE.get(str(weight.dtype).removeprefix("torch."), 1e-4)
            off = (part - whole)[:, 3:].abs().max()
            self._narrows[layer] = bool(off <= noise * whole.abs().max())
        return self._narrows[layer]

    def _calls_for(self, hidden: Tensor) -> list[Call]:
        import torch

        rows, length = hidden.shape[:2]
        if (rows, length) not in self._calls:
            ids = torch.zeros((rows, length), dtype=torch.long, device=hidden.device)
            self._keep((rows, length), _block_calls(self.anatomy, ids)[1])
        return self._calls[rows, length]

    def _keep(self, shape: tuple[int, ...], calls: list[Call]) -> None:
        rows, length = shape
        if len(self._calls) >= KEPT_SHAPES:
            self._calls.pop(next(iter(self._calls)))
        self._calls[rows, length] = calls


def prove_replay(anatomy: Anatomy) -> None:
    """Raise BadInput unless blocks run one by one give the decoder's own output, bit for bit.

    Also with the arguments that the blocks were given for other tokens, as they are kept by shape.
    """
    import torch

    generator = torch.Generator().manual_seed(1)
    ids, others = torch.randint(0, anatomy.d_vocab, (2, 2, 7), generator=generator).to(
        device_of_ids(anatomy.embed)
    )
    with torch.no_grad():
        theirs = anatomy.decoder(
            input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False
        )[0]
        replay = Replay(anatomy)
        hidden = replay.enter(ids)
        replay.enter(others)
        ours = anatomy.final_norm(replay.blocks(hidden, 0))
    if not torch.equal(ours, theirs):
        raise BadInput(
            f"{type(anatomy.model).__name__}: its blocks, run one after the other, do not give "
            "what the model gives: more passes between them than the residual stream"
        )


def _block_calls(anatomy: Anatomy, input_ids: Tensor) -> tuple[Tensor, list[Call]]:
    """What enters block 0, and how the decoder calls each of its blocks for this batch."""
    import torch

    calls: list[Call] = []
    # Tensors made in inference mode could not take part in a later backward pass.
    with torch.inference_mode(False), torch.no_grad(), _switched_off(anatomy, calls):
        anatomy.decoder(
            input_ids=input_ids, attention_mask=torch.ones_like(input_ids), use_cache=False
        )
    entering = given(*calls[0])
    # Only what does not belong to these very rows is kept.
    return entering, [_without_hidden(call) for call in calls]


def _without_hidden(call: Call) -> Call:
    args, kwargs = call
    if args:
        return (None, *args[1:]), kwargs
    return args, {name: value for name, value in kwargs.items() if name != "hidden_states"}


def _within_mlp(site: str | Site, layer: int) -> bool:
    """Whether an edit looks into the MLP of a layer."""
    name = site if isinstance(site, str) else site.name
    return name in (f"blocks.{layer}.mlp.hook_post", f"blocks.{layer}.hook_mlp_out")


@contextmanager
def _narrowed(mlp: Module | None, first: int) -> Iterator[None]:
    """Let `mlp` see positions from `first` on only, and give zeros for those before."""
    import torch

    if mlp is None:
        yield
        return
    shape: list[int] = []

    def cut(value: Any) -> Any:
        whole = isinstance(value, torch.Tensor) and list(value.shape[:2]) == shape
        return value[:, first:].contiguous() if whole else value

    def narrow(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        shape[:] = given(args, kwargs).shape[:2]
        return tuple(map(cut, args)), {name: cut(value) for name, value in kwargs.items()}

    def widen(_module: Any, _args: Any, output: Any) -> Any:
        value = first_tensor(output)
        wide = value.new_zeros((*shape, value.shape[-1]))
        wide[:, first:] = value
        return (wide, *output[1:]) if isinstance(output, tuple) else wide

    handles = [
        mlp.register_forward_pre_hook(narrow, with_kwargs=True),
        mlp.register_forward_hook(widen),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _switched_off(anatomy: Anatomy, calls: list[Call]) -> Iterator[None]:
    """Let every block note its arguments and hand its hidden states on unchanged."""

    width = anatomy.block_outputs

    def stand_in(*args: Any, **kwargs: Any) -> Any:
        calls.append((args, kwargs))
        hidden = given(args, kwargs)
        return hidden if width is None else (hidden, *[None] * (width - 1))

    modules = [block.module for block in anatomy.blocks]
    # Libraries that spread a model over devices put a `forward` of their own on the instance.
    own = [module.__dict__.get("forward") for module in modules]
    try:
        for module in modules:
            module.forward = stand_in
        yield
    finally:
        for module, forward in zip(modules, own, strict=True):
            del module.forward
            if forward is not None:
                module.forward = forward
