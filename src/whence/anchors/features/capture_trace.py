"""One trace, one forward pass: every layer, pooling and attention score that is wanted of it.

Activations are pooled the moment a block gives them, so that what is held is one layer of them, and
of the others only what is kept. `tokens` keeps those of sentences; `mean` is their mean in float32;
`last` is the last one. The pass ends behind the last layer needed and computes no logits.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from whence.anchors.features.vertical import keys_of, mass, query_weights
from whence.anchors.features.wanted import (
    Pooling,
    Vertical,
    Wanted,
    array_name,
    vertical_name,
)
from whence.anchors.spans.locate import Span
from whence.errors import WhenceError

if TYPE_CHECKING:
    from torch import Tensor

    from whence.models.anatomy import Anatomy
    from whence.models.pieces import Piece
    from whence.models.sites import Site

Arrays = dict[str, NDArray[Any]]

QUERIES_AT_ONCE = 128
"""Queries whose patterns are held at a time, [head, queries, tokens so far] of one layer."""
LARGEST_FLOAT16 = 65504.0
SHORT = 1024
"""Tokens up to which a text is read in the same pieces whatever vertical attention is wanted of it,
so that activations beside light and beside full are equal to the last bit. A longer one is read in
one piece up to the first query."""


def capture_trace(
    anatomy: Anatomy, ids: Sequence[int], spans: Sequence[Span], wanted: Wanted, what: str
) -> Arrays:
    """Arrays by the names of `whence.anchors.features.store`, from one pass over `ids`.

    spans: tokens of each sentence, in order. what: names the trace in an error.

    Raises WhenceError where activations are not finite, do not fit the storage type, or memory
    ends; BadInput where vertical attention is wanted and the model gives no patterns.
    """
    return capture_several(anatomy, ids, spans, [wanted], what)[0]


def capture_several(
    anatomy: Anatomy,
    ids: Sequence[int],
    spans: Sequence[Span],
    wanted: Sequence[Wanted],
    what: str,
) -> list[Arrays]:
    """`capture_trace` of each of `wanted`, all from one pass.

    The text is read in the pieces that the most demanding of them needs. Arrays are those of a pass
    for one alone, to the last bit, where that one would be read in the same pieces: where all have
    vertical attention and the text is short (`SHORT`), or none has. Else they are equal up to
    rounding.
    """
    import torch

    from whence.models.batching import is_out_of_memory
    from whence.models.pieces import pieces, read_in_pieces
    from whence.models.sites import Site
    from whence.models.trace import device_of_ids

    length = len(ids)
    poolings: dict[int, set[Pooling]] = {}
    for one in wanted:
        for layer in one.layers:
            poolings.setdefault(layer, set()).update(one.poolings)
    pooled = {layer: _Pooled(spans, own) for layer, own in poolings.items() if own}
    sites = [Site("resid_post", layer) for layer in sorted(pooled)]
    attention = [
        (at, _Scores(spans, length, one.vertical)) for at, one in enumerate(wanted) if one.vertical
    ]
    looking = sorted({layer for at, _ in attention for layer in wanted[at].layers})
    sites += [Site("pattern", layer) for layer in looking]
    inside = keys_of(spans, length) if attention else None
    first = min((scores.first for _, scores in attention), default=length)
    if attention and (length <= SHORT or anatomy.model.config._attn_implementation == "eager"):
        first = 0  # under eager patterns are computed anyway: keep them small from the start

    def keep(site: Site, value: Tensor, piece: Piece) -> None:
        assert site.layer is not None
        if site.kind == "resid_post":
            pooled[site.layer].add(value[0], piece.start)
            return
        assert inside is not None
        asked = [s for at, s in attention if site.layer in wanted[at].layers and s.asks(piece)]
        if asked:
            looks = mass(value[0], inside)
            for scores in asked:
                scores.add(site.layer, looks, piece)

    try:
        read_in_pieces(
            anatomy,
            torch.tensor([list(ids)], device=device_of_ids(anatomy.embed)),
            pieces(length, first, QUERIES_AT_ONCE),
            sites=sites,
            keep=keep,
        )
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise WhenceError(
            f"{what}: out of memory on its {length:,} tokens; give --max-tokens with "
            "--skip-failed, another --dtype, or another --device"
        ) from None
    found: list[Arrays] = [{} for _ in wanted]
    for layer in sorted(poolings):
        own = pooled.pop(layer, None)  # so that what is stored is not held twice
        for one, arrays in zip(wanted, found, strict=True):
            for pooling in one.poolings if layer in one.layers else ():
                assert own is not None
                name = array_name(layer, pooling)
                values = own.result(pooling)
                arrays[name] = _stored(values, one.storage_dtype, f"{what}: {name}", anatomy)
    for at, scores in attention:
        for layer in wanted[at].layers:
            by_head = scores.of(layer, anatomy.n_heads)
            found[at][vertical_name(layer)] = _numpy(by_head.double().mean(dim=0).float())
            if scores.vertical.per_head:
                found[at][vertical_name(layer, heads=True)] = _numpy(by_head.T)
    return found


class _Scores:
    """Vertical attention of one kind, summed up piece by piece: layer → [head, sentence]."""

    def __init__(self, spans: Sequence[Span], length: int, vertical: Vertical) -> None:
        self.vertical, self.sentences = vertical, len(spans)
        self.weights = query_weights(spans, length, vertical)
        asked = np.flatnonzero(self.weights.any(axis=1))
        self.first = int(asked[0]) if asked.size else length - 1
        self.by_layer: dict[int, Tensor] = {}

    def asks(self, piece: Piece) -> bool:
        """Whether a token of the piece is a query."""
        return bool(self.weights[piece.start : piece.stop].any())

    def add(self, layer: int, found: Tensor, piece: Piece) -> None:
        """found: mass of the piece's queries, [head, query, sentence]."""
        import torch

        part = torch.from_numpy(self.weights[piece.start : piece.stop]).to(found.device)
        score = (found * part).sum(dim=1).cpu()
        self.by_layer[layer] = self.by_layer.get(layer, 0) + score

    def of(self, layer: int, heads: int) -> Tensor:
        import torch

        return self.by_layer.get(layer, torch.zeros(heads, self.sentences))


class _Pooled:
    """Activations of one layer, pooled as pieces of the text come in."""

    def __init__(self, spans: Sequence[Span], poolings: Collection[Pooling]) -> None:
        self.poolings = poolings
        self.start = np.asarray([span.start for span in spans], dtype=np.int64)
        self.end = np.asarray([span.end for span in spans], dtype=np.int64)
        # The tokens of all sentences one after the other, as `tokens` stores them.
        self.place = np.concatenate([np.arange(a, b, dtype=np.int64) for a, b in spans])
        self.kept: dict[str, Tensor] = {}

    def add(self, value: Tensor, at: int) -> None:
        """value: [tokens of the piece, d_model], the first of which is token `at`."""
        import torch

        stop, width = at + len(value), value.shape[1]
        inside = (self.place >= at) & (self.place < stop)
        gathered = value[torch.from_numpy(self.place[inside] - at).to(value.device)]
        if "tokens" in self.poolings:
            tokens = self._buffer("tokens", (len(self.place), width), value.dtype)
            tokens[torch.from_numpy(inside)] = gathered.cpu()
        if "mean" in self.poolings:
            counts = np.clip(np.minimum(self.end, stop) - np.maximum(self.start, at), 0, None)
            # Not index_add, whose order of addition, and so whose sum, changes on a GPU; nor
            # segment_reduce, which not every device has.
            parts = torch.split(gathered.float(), counts.tolist())
            sums = torch.stack([part.sum(dim=0) for part in parts])
            self._buffer("mean", (len(self.start), width), torch.float32).add_(sums.cpu())
        if "last" in self.poolings:
            ends = np.flatnonzero((self.end > at) & (self.end <= stop))
            last = self._buffer("last", (len(self.start), width), value.dtype)
            rows = torch.from_numpy(self.end[ends] - 1 - at).to(value.device)
            last[torch.from_numpy(ends)] = value[rows].cpu()

    def result(self, pooling: Pooling) -> Tensor:
        """[sentences, d_model], or [tokens of all sentences, d_model]."""
        import torch

        if pooling != "mean":
            return self.kept[pooling]
        return self.kept["mean"] / torch.from_numpy(self.end - self.start)[:, None]

    def _buffer(self, name: str, shape: tuple[int, int], dtype: Any) -> Tensor:
        import torch

        if name not in self.kept:
            self.kept[name] = torch.zeros(shape, dtype=dtype)
        return self.kept[name]


def _stored(values: Tensor, dtype: str, what: str, anatomy: Anatomy) -> NDArray[Any]:
    import torch

    if not bool(torch.isfinite(values).all()):
        computed = str(next(anatomy.model.parameters()).dtype).removeprefix("torch.")
        raise WhenceError(
            f"{what} is not finite when computed in {computed}; use --dtype "
            f"{'bfloat16 or float32' if computed == 'float16' else 'float32'}"
        )
    largest = float(values.abs().max()) if values.numel() else 0.0
    if dtype == "float16" and largest > LARGEST_FLOAT16:
        raise WhenceError(
            f"{what} reaches {largest:.4g}, and float16 ends at {LARGEST_FLOAT16:.0f}; use "
            "--storage-dtype float32"
        )
    return _numpy(values.to(getattr(torch, dtype)))


def _numpy(values: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = values.contiguous().numpy()
    return array
