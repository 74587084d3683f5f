"""The tiny model's residual stream over passages, and batches of it for SAELens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.models.sites import Site
from whence.runs.atomic import whole_file
from whence.runs.progress import Progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from whence.models.anatomy import Anatomy
    from whence.tiny.sae.passages import Passage

TOKENS = 8192
"""Tokens of a forward pass, padding included."""


def hook_name(layer: int) -> str:
    """The site that an SAE of this layer reads: what leaves the block."""
    return Site("resid_post", layer).name


def residual_stream(
    anatomy: Anatomy, passages: Sequence[Passage], layers: Sequence[int], dtype: str = "float32"
) -> dict[int, NDArray[Any]]:
    """What leaves each of the blocks `layers`, [tokens, d_model], by layer.

    Tokens are those of the passages in their order, BOS left out.
    """
    import numpy as np

    from whence.models.batching import attention_mask, pad, token_batches
    from whence.models.capture import capture

    rows = [passage.ids for passage in passages]
    first = np.concatenate([[0], np.cumsum([len(row) - 1 for row in rows])])
    found = {layer: np.empty((first[-1], anatomy.d_model), dtype) for layer in layers}
    with Progress("reading", len(rows), "passages") as progress:
        for batch in token_batches([len(row) for row in rows], TOKENS):
            ids = [rows[at] for at in batch]
            values = capture(
                anatomy, pad(ids, 0), attention_mask(ids), sites=[hook_name(x) for x in layers]
            )
            for layer in layers:
                for of, at in zip(values[hook_name(layer)], batch, strict=True):
                    found[layer][first[at] : first[at + 1]] = of[1 : len(rows[at])].numpy()
            progress.advance(len(batch))
    return found


def kept_stream(
    folder: Path, anatomy: Anatomy, passages: Sequence[Passage], layers: Sequence[int]
) -> dict[int, Path]:
    """The same as a file a layer, float16, made unless they are there."""
    import numpy as np

    files = {layer: folder / f"{hook_name(layer)}.npy" for layer in layers}
    if missing := [layer for layer in layers if not files[layer].is_file()]:
        for layer, values in residual_stream(anatomy, passages, missing, "float16").items():
            with whole_file(files[layer]) as temporary:
                np.save(temporary, values)
    return files


def shuffled(values: NDArray[np.float16], batch_size: int, seed: int) -> Iterator[Tensor]:
    """float32 [batch_size, d_in] without end: every token once, in random order, then again."""
    import torch

    if len(values) < batch_size:
        raise ValueError(f"{len(values)} tokens make no batch of {batch_size}")
    everything = torch.from_numpy(values)
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(everything), generator=generator)
        for rows in order.split(batch_size):
            if len(rows) == batch_size:
                yield everything[rows].float()
