"""One forward pass on a small batch, with what every module read and wrote."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

ROWS, LENGTH = 2, 9


@dataclass
class Calls:
    """order: module → when it was first called. reads, writes: the tensors, copied at that moment.

    Copied because some blocks add in place to what a part of theirs has returned. logits: the
    model's. tuples: length of what a module returned, where that was a tuple. patterns: shape of
    the second thing returned, where that is [batch, ?, query, key]. again: modules that ran more
    than once; a hook on one of them would not know which call it sees.
    """

    order: dict[Module, int] = field(default_factory=dict)
    reads: dict[Module, Tensor] = field(default_factory=dict)
    writes: dict[Module, Tensor] = field(default_factory=dict)
    tuples: dict[Module, int] = field(default_factory=dict)
    patterns: dict[Module, tuple[int, ...]] = field(default_factory=dict)
    again: set[Module] = field(default_factory=set)
    logits: Any = None

    def read(self, module: Module) -> Tensor:
        """The first tensor that the module was given."""
        return self.reads[module]

    def wrote(self, module: Module) -> Tensor:
        """The module's output, or the first tensor of it."""
        return self.writes[module]


def first_tensor(value: Any) -> Any:
    """A tensor itself, or the first entry of a tuple; None for anything else."""
    import torch

    if isinstance(value, tuple | list) and value:
        value = value[0]
    return value if isinstance(value, torch.Tensor) else None


def given(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The hidden states among the arguments of a module's call."""
    return first_tensor(args) if args else first_tensor(kwargs.get("hidden_states"))


def trace(network: Any, d_vocab: int) -> Calls:
    """Run `network` on [2, 9] random tokens and record every module that reads and writes tensors.

    Modules that are called again (a shared norm or dropout) keep their first call.
    """
    import torch

    calls = Calls()

    def record(module: Module, args: Any, kwargs: Any, output: Any) -> None:
        read, wrote = given(args, kwargs), first_tensor(output)
        if module in calls.writes:
            calls.again.add(module)
            return
        if read is None or wrote is None:
            return
        # `order` is by when a call ended, so a part comes before the module that holds it.
        calls.order[module] = len(calls.order)
        if isinstance(output, tuple):
            calls.tuples[module] = len(output)
            second = getattr(output[1] if len(output) > 1 else None, "shape", ())
            if len(second) == 4 and second[2:] == (LENGTH, LENGTH):
                calls.patterns[module] = tuple(second)
        calls.reads[module], calls.writes[module] = before.pop(module, read), wrote.clone()

    before: dict[Module, Tensor] = {}

    def enter(module: Module, args: Any, kwargs: Any) -> None:
        read = given(args, kwargs)
        if read is not None and module not in calls.writes:
            before[module] = read.clone()

    handles = [
        handle
        for module in network.modules()
        for handle in (
            module.register_forward_pre_hook(enter, with_kwargs=True),
            module.register_forward_hook(record, with_kwargs=True),
        )
    ]
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, d_vocab, (ROWS, LENGTH), generator=generator)
    ids = ids.to(device_of_ids(network.get_input_embeddings()))
    try:
        with torch.no_grad():
            output = network(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    calls.logits = output.logits
    return calls


def device_of_ids(embed: Module) -> Any:
    """Where token ids go; to the CPU where Accelerate brings in weights only as they are used."""
    device = embed.weight.device
    return "cpu" if device.type == "meta" else device


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors hold the same numbers, whichever way their rows are laid out."""
    import torch

    return a.numel() == b.numel() and bool(torch.equal(a.reshape(-1), b.reshape(-1)))
