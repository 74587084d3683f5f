"""How well an SAE rebuilds what it reads: does it fit this model at all?

    explained variance   1 − Σ |x − x̂|² / Σ |x − mean of x|²     over the tokens looked at
    mse                  mean of (x − x̂)² over tokens and dimensions
    L0                   mean number of active features a token

It is looked at on a sample of rows. Their first token (BOS) is left out: its activations are a
hundred times larger than any other's, few SAEs are trained on them, and one such token would be
most of both sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLE_TOKENS = 4096
SAMPLE_SEED = 0


@dataclass(frozen=True)
class Fit:
    """Sums over some tokens. mean: of x, float64 [d_in]. spread: Σ |x − mean|². error: Σ |x − x̂|².
    active: active entries.
    """

    tokens: int
    mean: NDArray[np.float64]
    spread: float
    error: float
    active: int

    @property
    def explained_variance(self) -> float | None:
        """None where all tokens are alike."""
        return 1.0 - self.error / self.spread if self.spread > 0 else None

    @property
    def mse(self) -> float:
        return self.error / (self.tokens * len(self.mean))

    @property
    def l0(self) -> float:
        return self.active / self.tokens


def fit_of(read: NDArray[np.float64], rebuilt: NDArray[np.float64], active: int) -> Fit:
    """Sums over tokens: what the SAE read and what it made of it, [tokens, d_in] both."""
    mean = read.mean(axis=0)
    return Fit(
        tokens=len(read),
        mean=mean,
        spread=float(np.square(read - mean).sum()),
        error=float(np.square(read - rebuilt).sum()),
        active=active,
    )


def together(fits: Iterable[Fit]) -> Fit | None:
    """The sums over all their tokens (Chan, Golub and LeVeque 1979); None of nothing."""
    whole: Fit | None = None
    for each in fits:
        if whole is None:
            whole = each
            continue
        tokens = whole.tokens + each.tokens
        apart = each.mean - whole.mean
        whole = Fit(
            tokens=tokens,
            mean=whole.mean + apart * (each.tokens / tokens),
            spread=whole.spread
            + each.spread
            + float(np.square(apart).sum()) * whole.tokens * each.tokens / tokens,
            error=whole.error + each.error,
            active=whole.active + each.active,
        )
    return whole


def sampled_rows(lengths: Sequence[int]) -> frozenset[int]:
    """Rows, drawn by a fixed seed, that have about `SAMPLE_TOKENS` tokens in all."""
    chosen: set[int] = set()
    total = 0
    for row in np.random.default_rng(SAMPLE_SEED).permutation(len(lengths)):
        if total >= SAMPLE_TOKENS:
            break
        chosen.add(int(row))
        total += lengths[row]
    return frozenset(chosen)
