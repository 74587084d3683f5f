"""Activations of a row's tokens → what is kept of the row, as its tokens come in, in any pieces.

Only active entries leave the device: at usual sparsity that is one in a hundred. All sums are taken
from them on the host, in float64 and in the order of the tokens, so that a row's numbers do not
depend on how it was cut. Mean and variance of two pieces are put together as Chan, Golub and
LeVeque do (1979): M = M₁ + M₂ + δ² · n₁ n₂ / (n₁ + n₂).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from whence.sae.sample_stats import SAMPLE_STATS

if TYPE_CHECKING:
    from torch import Tensor

ENTRIES_AT_ONCE = 4_000_000
"""Active entries that are taken off the device at a time: 100 MB with what is made of them."""

Entries = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]
"""Token, feature and activation of every active entry, sorted by token."""


@dataclass(frozen=True)
class RowFeatures:
    """What is kept of one row under one SAE.

    ids: int32, ascending, features active at any counted token. means: float32, one each: the sum
    of its active activations over the number of counted tokens. stats: float32, `SAMPLE_STATS`.
    """

    tokens: int
    ids: NDArray[np.int32]
    means: NDArray[np.float32]
    stats: NDArray[np.float32]
    active_entries: int


def active_entries(activations: Tensor, threshold: float) -> Iterator[tuple[int, int, Entries]]:
    """Active entries of activations [tokens, d_sae] by runs of tokens: (first, behind the last,
    entries with tokens counted from `first`). One run, unless very much is active.
    """
    stack = [(0, len(activations))]
    while stack:
        start, stop = stack.pop()
        piece = activations[start:stop]
        active = piece > threshold
        if stop - start > 1 and int(active.count_nonzero()) > ENTRIES_AT_ONCE:
            middle = (start + stop) // 2
            stack += [(middle, stop), (start, middle)]
            continue
        flat = active.flatten().nonzero().squeeze(1)
        values = piece.flatten()[flat].cpu().double()
        tokens, features = np.divmod(flat.cpu().numpy(), piece.shape[1])
        yield start, stop, (tokens, features, values.numpy())


class RowReduction:
    """One row of one SAE while its tokens come in."""

    def __init__(self, d_sae: int) -> None:
        self.d_sae = d_sae
        self.tokens = 0
        self.active_tokens = np.zeros(d_sae, dtype=np.int64)  # k[j]
        self.sums = np.zeros(d_sae)
        self.active_at = self.active_at_squared = 0  # Σ c[t], Σ c[t]²
        self.count, self.mean, self.moment, self.largest = 0, 0.0, 0.0, 0.0

    def add(self, tokens: int, entries: Entries) -> None:
        """Count `tokens` more tokens of the row, with their active entries, tokens from 0."""
        token, feature, value = entries
        self.tokens += tokens
        self.active_tokens += np.bincount(feature, minlength=self.d_sae)
        self.sums += np.bincount(feature, weights=value, minlength=self.d_sae)
        per_token = np.bincount(token, minlength=tokens)
        self.active_at += int(per_token.sum())
        self.active_at_squared += int((per_token * per_token).sum())
        if not len(value):
            return
        mean = float(value.mean())
        moment = float(np.square(value - mean).sum())
        apart, both = mean - self.mean, self.count + len(value)
        self.moment += moment + apart * apart * self.count * len(value) / both
        self.mean += apart * len(value) / both
        self.largest = max(self.largest, float(value.max()))
        self.count = both

    def finish(self) -> RowFeatures:
        """The row, all of its tokens added. There is at least one."""
        present = np.flatnonzero(self.active_tokens)
        per_token = self.active_at / self.tokens
        # Exact: Σ(c − mean)² = Σc² − (Σc)²/T, and T times that is a whole number.
        spread = self.active_at_squared * self.tokens - self.active_at * self.active_at
        per_token_std = math.sqrt(spread) / self.tokens
        active = self.active_tokens[present]
        share = active / self.count if self.count else np.zeros(0)
        stats = {
            "seq_len": self.tokens,
            "active_entry_fraction": self.count / (self.tokens * self.d_sae),
            "active_feature_fraction": len(present) / self.d_sae,
            "mean_active_activation": self.mean,
            "std_active_activation": math.sqrt(self.moment / self.count) if self.count else 0.0,
            "max_active_activation": self.largest,
            "token_active_mean": per_token,
            "token_active_std": per_token_std,
            "token_active_cv": per_token_std / (per_token + 1e-8),
            "feature_concentration_hhi": float(np.square(share).sum()),
        }
        return RowFeatures(
            tokens=self.tokens,
            ids=present.astype(np.int32),
            means=(self.sums[present] / self.tokens).astype(np.float32),
            stats=np.asarray([stats[name] for name in SAMPLE_STATS], dtype=np.float32),
            active_entries=self.count,
        )
