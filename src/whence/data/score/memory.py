"""What must fit in memory at once: said beforehand where it is known, tried smaller where not."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from whence.errors import BadInput, WhenceError
from whence.models.adapters import first_line
from whence.models.batching import is_out_of_memory

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

SMALLEST_BUDGET = 16
"""Tokens below which a smaller batch saves nothing worth trying for."""


def free_memory(device: torch.device) -> int:
    """Bytes that are free on the device."""
    import psutil
    import torch

    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def refuse_beyond_memory(needed: int, device: torch.device, what: str, advice: str) -> None:
    """Raise BadInput where `needed` bytes are more than is free on the device. 1 GB = 10⁹ bytes."""
    free = free_memory(device)
    if needed > free:
        raise BadInput(
            f"{what} needs {needed / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free on "
            f"{device.type}: {advice}"
        )


def within_memory(run: Callable[[int], T], budget: int) -> tuple[T, int]:
    """Call `run(budget)`, with half the token budget after each time that memory runs out.

    The whole of `run` is begun anew, because a collector that stopped amid a backward pass holds
    part of a batch. Returns its result and the budget that fitted; raises WhenceError when none
    did.
    """
    while True:
        failure: str | None = None
        try:
            return run(budget), budget
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            failure = first_line(error)
        # Outside `except`, whose traceback would keep the failed batch's tensors alive.
        _release()
        budget //= 2
        if budget < SMALLEST_BUDGET:
            raise WhenceError(
                f"out of memory on a single row ({failure}): lower --max-length, "
                "or use a smaller model or another --device"
            )


def _release() -> None:
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
