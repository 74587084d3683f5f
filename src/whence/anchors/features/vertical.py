"""Vertical attention: how much of what follows looks back at a sentence.

With A[q, k] the attention of a head from token q to token k, and sentence s the tokens [a, b):

    mass(q, s) = Σ_{k in [a, b)} A[q, k]
    light      Σ or mean of mass(q, s) over the last N tokens q of the text that have q ≥ b
    full       M[i, s] = mean of mass(q, s) over the tokens q of sentence i;
               Σ or mean of M[i, s] over the later sentences i > s

mean with depth control, Σ without; 0 where no query is eligible. Both are sums of mass(q, s) under
weights W[q, s] that no attention enters, so a head's score is Σ_q W[q, s] · mass(q, s), and
patterns are reduced piece by piece as they come (definitions of the earlier thought-anchor study;
the score there is the mean over heads).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from whence.anchors.features.wanted import Vertical
from whence.anchors.spans.locate import Span

if TYPE_CHECKING:
    from torch import Tensor

Weights = NDArray[np.float32]


def query_weights(spans: Sequence[Span], length: int, vertical: Vertical) -> Weights:
    """W[q, s] of a text of `length` tokens, [tokens, sentences]."""
    if vertical.used(length) == "light":
        return light_weights(spans, length, vertical.light_last_n_tokens, vertical.depth_control)
    return later_weights(spans, length, 1, vertical.depth_control)


def light_weights(
    spans: Sequence[Span], length: int, last_n_tokens: int, depth_control: bool
) -> Weights:
    """W[q, s] where queries are the last tokens, [tokens, sentences]."""
    query = np.arange(length)[:, None]
    behind = np.asarray([span.end for span in spans])[None, :]
    eligible = ((query >= length - last_n_tokens) & (query >= behind)).astype(np.float32)
    return eligible / np.maximum(eligible.sum(axis=0), 1) if depth_control else eligible


def later_weights(
    spans: Sequence[Span], length: int, proximity: int, depth_control: bool
) -> Weights:
    """W[q, s] where queries are the tokens of sentences i ≥ s + proximity, [tokens, sentences]."""
    count = len(spans)
    own = np.zeros((length, count), dtype=np.float64)  # mean over the tokens of each sentence
    for index, (start, end) in enumerate(spans):
        own[start:end, index] = 1 / (end - start)
    # Column s: the sum of the columns of all sentences from s + proximity on.
    from_here = np.cumsum(own[:, ::-1], axis=1)[:, ::-1]
    weights = np.zeros_like(own)
    weights[:, : max(count - proximity, 0)] = from_here[:, proximity:]
    if depth_control:
        weights /= np.maximum(count - proximity - np.arange(count), 1)
    return weights.astype(np.float32)


def keys_of(spans: Sequence[Span], length: int) -> Weights:
    """1 where a token belongs to a sentence, [tokens, sentences]."""
    inside = np.zeros((length, len(spans)), dtype=np.float32)
    for index, (start, end) in enumerate(spans):
        inside[start:end, index] = 1
    return inside


def mass(pattern: Tensor, inside: Weights) -> Tensor:
    """Σ of `pattern` [head, query, key] over the keys of each sentence, float32 [head, query, s].

    inside: `keys_of` the whole text; of sentences behind the last key, what is there counts.
    """
    import torch

    keys = torch.from_numpy(inside[: pattern.shape[-1]])
    return pattern.float() @ keys.to(pattern.device)
