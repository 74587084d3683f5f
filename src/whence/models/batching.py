"""Batches of unequal rows: grouped by length under a token budget, padded, halved when memory ends.

Padding is never free and never neutral by itself: every batch carries its attention mask, and every
reader of a sequence's end asks `last_real_token` for it, so that a number does not depend on what
else shared its batch or on which side the padding lies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, TypeVar

from whence.errors import BadInput, WhenceError

if TYPE_CHECKING:
    from torch import Tensor

Side = Literal["left", "right"]
T = TypeVar("T")


def token_batches(
    lengths: Sequence[int], max_tokens: int, max_rows: int | None = None
) -> list[list[int]]:
    """Group row indices so that rows × longest row stays within `max_tokens`.

    Rows of similar length meet, so little is padded. The longest come first: a run that will not
    fit in memory says so at its start. Ties keep their order, so the grouping is deterministic.
    A row longer than the budget gets a batch of its own.

    lengths: tokens per row. Returns lists of indices that together hold each row exactly once.
    """
    if max_tokens < 1 or (max_rows is not None and max_rows < 1):
        raise BadInput(
            f"a batch needs room for one token and one row, not {max_tokens}, {max_rows}"
        )
    batches: list[list[int]] = []
    widest = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        current = batches[-1] if batches else []
        full = max_rows is not None and len(current) >= max_rows
        if not current or full or (len(current) + 1) * widest > max_tokens:
            batches.append([index])
            widest = lengths[index]
        else:
            current.append(index)
    return batches


def pad(rows: Sequence[Sequence[int]], value: int, side: Side = "right") -> Tensor:
    """Stack rows of ids into one int64 tensor [rows, longest], filled with `value` on `side`."""
    import torch

    longest = max(map(len, rows), default=0)
    padded = torch.full((len(rows), longest), value, dtype=torch.long)
    for at, row in enumerate(rows):
        start = longest - len(row) if side == "left" else 0
        padded[at, start : start + len(row)] = torch.as_tensor(row, dtype=torch.long)
    return padded


def attention_mask(rows: Sequence[Sequence[int]], side: Side = "right") -> Tensor:
    """1 where `pad(rows, …, side)` holds a real token, 0 where padding. int64 [rows, longest]."""
    return pad([[1] * len(row) for row in rows], 0, side)


def last_real_token(attention_mask: Tensor) -> Tensor:
    """Index of each row's last real token, whichever side is padded.

    attention_mask: [batch, pos] of 0 and 1. Returns int64 [batch].
    Raises BadInput where a row has no real token.
    """
    real = attention_mask.bool()
    if not bool(real.any(dim=1).all()):
        raise BadInput("a batch row has no real token: its attention mask is all zero")
    from_the_end = real.flip(dims=[1]).long().argmax(dim=1)
    return real.shape[1] - 1 - from_the_end


def run_batches(
    batches: Iterable[Sequence[int]],
    fn: Callable[[Sequence[int]], T],
    advice: str = "lower --max-length, or use a smaller model or another --device",
) -> Iterator[tuple[Sequence[int], T]]:
    """Call `fn` on each batch of indices and yield (indices, result).

    A batch that runs out of memory is cut in two and both halves are run in its place, down to one
    row. What did not fit once is not tried again: later batches start at the size that worked.
    Raises WhenceError where a single row does not fit.
    """
    most_rows: int | None = None
    for batch in batches:
        pending = [batch]
        while pending:
            indices = pending.pop(0)
            if most_rows is not None and len(indices) > most_rows:
                pending[:0] = [indices[:most_rows], indices[most_rows:]]
                continue
            result: list[T] = []
            # The retry stays outside `except`: the traceback would keep the failed batch's tensors.
            try:
                result.append(fn(indices))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                cause = str(error).splitlines()[0]
            if result:
                yield indices, result[0]
                continue
            _release_memory()
            if len(indices) == 1:
                raise WhenceError(f"out of memory on a single row ({cause}): {advice}")
            most_rows = (len(indices) + 1) // 2
            pending[:0] = [indices[:most_rows], indices[most_rows:]]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that a device, or the host, had no memory left."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # The CPU allocator and MPS raise plain RuntimeErrors.
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "DefaultCPUAllocator" in text or "out of memory" in text.lower()
    )


def _release_memory() -> None:
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
