"""The attention between sentences, head by head, from one pass over a trace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from whence.anchors.features.vertical import keys_of, mass
from whence.anchors.spans.locate import Span

if TYPE_CHECKING:
    from torch import Tensor

    from whence.models.anatomy import Anatomy
    from whence.models.pieces import Piece
    from whence.models.sites import Site

QUERIES_AT_ONCE = 128


def sentence_matrices(
    anatomy: Anatomy, ids: Sequence[int], spans: Sequence[Span], layers: Sequence[int]
) -> NDArray[np.float32]:
    """M[i, j], the mean over the tokens of sentence i of the attention on sentence j.

    Returns [layer, head, sentence i, sentence j]. Raises BadInput where the model gives no
    patterns.
    """
    import torch

    from whence.models.pieces import pieces, read_in_pieces
    from whence.models.sites import Site
    from whence.models.trace import device_of_ids

    length, count = len(ids), len(spans)
    inside = keys_of(spans, length)
    mean_of = inside / inside.sum(axis=0)
    rows = {layer: at for at, layer in enumerate(layers)}
    found = torch.zeros(len(layers), anatomy.n_heads, count, count)

    def keep(site: Site, pattern: Tensor, piece: Piece) -> None:
        assert site.layer is not None
        queries = torch.from_numpy(mean_of[piece.start : piece.stop]).to(pattern.device)
        part = torch.einsum("qi,hqj->hij", queries, mass(pattern[0], inside))
        found[rows[site.layer]] += part.cpu()

    read_in_pieces(
        anatomy,
        torch.tensor([list(ids)], device=device_of_ids(anatomy.embed)),
        pieces(length, 0, QUERIES_AT_ONCE),
        sites=[Site("pattern", layer) for layer in layers],
        keep=keep,
    )
    array: NDArray[np.float32] = found.numpy()
    return array
