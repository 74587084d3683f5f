"""Pooling and vertical attention written out in loops, from plain passes of Transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from whence.anchors.features.wanted import Vertical
from whence.anchors.spans.locate import Span


def hidden_by_hand(model: Any, ids: list[int], layer: int) -> np.ndarray:
    """What leaves block `layer`, [tokens, d_model], read by a hook of our own."""
    from whence.models.anatomy import find_anatomy

    seen = []
    block = find_anatomy(model).blocks[layer].module
    handle = block.register_forward_hook(
        lambda _m, _a, out: seen.append(out[0] if isinstance(out, tuple) else out)
    )
    with torch.no_grad():
        model(input_ids=torch.tensor([ids]), use_cache=False)
    handle.remove()
    return seen[0][0].float().numpy()


def pooled_by_hand(hidden: np.ndarray, spans: list[Span], pooling: str) -> np.ndarray:
    if pooling == "tokens":
        return np.concatenate([hidden[a:b] for a, b in spans])
    rows = [hidden[a:b].astype(np.float64).mean(0) if pooling == "mean" else hidden[b - 1]
            for a, b in spans]  # fmt: skip
    return np.stack(rows)


def vertical_by_hand(attention: np.ndarray, spans: list[Span], vertical: Vertical) -> np.ndarray:
    """Scores per head [sentences, head]; attention: [head, query, key] of the whole text."""
    heads, length, _ = attention.shape
    scores = np.zeros((len(spans), heads))
    for head in range(heads):
        a = attention[head].astype(np.float64)
        for j, (start, end) in enumerate(spans):
            if vertical.mode == "light" or length > vertical.full_max_seq_len:
                queries = range(max(0, length - vertical.light_last_n_tokens), length)
                masses = [sum(a[q, k] for k in range(start, end)) for q in queries if q >= end]
            else:
                masses = [
                    float(np.mean([sum(a[q, k] for k in range(start, end)) for q in range(*later)]))
                    for later in spans[j + 1 :]
                ]
            if masses:
                scores[j, head] = np.mean(masses) if vertical.depth_control else np.sum(masses)
    return scores
