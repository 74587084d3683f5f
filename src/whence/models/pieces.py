"""One text through the decoder in pieces, so that attention patterns are never whole.

The pattern of all heads of a layer is heads × tokens² numbers. Here the tokens go in piece by piece
with a cache of keys and values, so that every token is still computed once, and at any moment there
are the patterns of one piece of queries alone, [batch, head, piece, all tokens so far]. Hidden
states are those of one pass up to rounding (tests/models/test_pieces.py, every architecture).

Patterns come from eager attention only. A model that was loaded with another implementation is
switched over for the pieces that need it, where Transformers can do that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whence.errors import BadInput
from whence.models.capture import reading, run_decoder, stopping
from whence.models.parts import what
from whence.models.sites import Site

if TYPE_CHECKING:
    from torch import Tensor

    from whence.models.anatomy import Anatomy


@dataclass(frozen=True)
class Piece:
    """Tokens start … stop − 1. patterns: whether their attention patterns are wanted."""

    start: int
    stop: int
    patterns: bool = False


def pieces(length: int, patterns_from: int, size: int) -> list[Piece]:
    """Pieces that together hold `length` tokens: one up to `patterns_from`, then `size` at a time.

    patterns_from: the first token whose pattern is wanted; `length` where none is.
    """
    head = [Piece(0, patterns_from)] if patterns_from else []
    starts = range(patterns_from, length, size)
    return [*head, *(Piece(start, min(start + size, length), True) for start in starts)]


def read_in_pieces(
    anatomy: Anatomy,
    input_ids: Tensor,
    parts: Sequence[Piece],
    *,
    sites: Sequence[Site],
    keep: Callable[[Site, Tensor, Piece], None],
) -> None:
    """Run `input_ids` [1, pos] and give `keep` the value at each site for each piece.

    sites: those of kind "pattern" are read in pieces that want them alone. Stops after the last
    block that any site needs; a single piece runs without a cache. Values are the model's own
    tensors, gone when `keep` returns.

    Raises BadInput where the model gives no patterns (load it with attn_implementation="eager").
    """
    import torch
    from transformers import DynamicCache

    last = max((site.ready_after(anatomy.n_layers) for site in sites), default=-1)
    # Without a config every layer keeps all keys, also where attention sees only a window of them:
    # the mask hides the rest, and a pattern's keys are always those of the whole text.
    cache = DynamicCache() if len(parts) > 1 else None
    for piece in parts:
        wanted = [site for site in sites if piece.patterns or site.kind != "pattern"]

        def kept(site: Site, value: Tensor, piece: Piece = piece) -> None:
            if site.kind == "pattern":
                _check_keys(anatomy, value, piece)
            keep(site, value, piece)

        ids = input_ids[:, piece.start : piece.stop]
        mask = torch.ones_like(input_ids[:, : piece.stop])
        with (
            torch.no_grad(),
            eager(anatomy) if piece.patterns else _as_it_is(),
            reading(anatomy, wanted, {}, kept),
            stopping(anatomy, last),
        ):
            run_decoder(anatomy, ids, mask, cache)


@contextmanager
def eager(anatomy: Anatomy) -> Iterator[None]:
    """Eager attention inside the block, whatever the model was loaded with.

    Raises BadInput where Transformers cannot change it in a loaded model (Falcon).
    """
    network = anatomy.model
    before = network.config._attn_implementation
    if before != "eager":
        network.set_attn_implementation("eager")
    try:
        if network.config._attn_implementation != "eager":
            raise BadInput(
                f"{what(network)}: its attention gives no patterns as it was loaded; load it with "
                'attn_implementation="eager"'
            )
        yield
    finally:
        if before != "eager":
            network.set_attn_implementation(before)


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield


def _check_keys(anatomy: Anatomy, pattern: Tensor, piece: Piece) -> None:
    expected = (1, anatomy.n_heads, piece.stop - piece.start, piece.stop)
    if tuple(pattern.shape) != expected:
        raise BadInput(
            f"{what(anatomy.model)}: its attention patterns are {list(pattern.shape)}, not "
            f"[batch, head, query, key] = {list(expected)}; vertical attention cannot be read"
        )
