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

if TYPE_CHECKING:
    from torch import Tensor

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
    ) -> Tensor:
        """Run blocks start … stop − 1 on `hidden` [batch, pos, d_model], edits in force.

        stop: the number of layers if None. Returns what leaves the last of them.
        """
        calls = self._calls_for(hidden)
        layers = range(start, self.anatomy.n_layers if stop is None else stop)
        self.block_tokens += len(layers) * hidden.shape[0] * hidden.shape[1]
        with intervening(self.anatomy, edits or {}):
            for layer in layers:
                args, kwargs = calls[layer]
                block = self.anatomy.blocks[layer].module
                if args:
                    output = block(hidden, *args[1:], **kwargs)
                else:
                    output = block(**{**kwargs, "hidden_states": hidden})
                hidden = first_tensor(output)
        return hidden

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
