"""How well an SAE rebuilds what it reads, and how well single features recover planted concepts.

For a concept the feature and the threshold that maximise F1 are chosen on one half of the held-out
text, out of all features and all thresholds, and F1 is measured on the other half: so choosing
among a thousand features does not flatter. The same is done with two things that nobody trained,
as many random directions, and the residual stream's own axes, each both ways; and with linear
probes, which are told what to look for: where they fail too, no direction holds the concept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from whence.tiny.sae.concepts import Concept

Encode = Callable[["Tensor"], "Tensor"]
"""Activations [tokens, d_in] → features [tokens, features], 0 where a feature is not active."""

ROWS = 4096
"""Tokens encoded at once."""
FEATURES = 64
"""Features ranked at once."""
NEVER = 1 << 30
"""More than there is of tokens and of activation: the threshold of a concept that no feature is
active at."""


@dataclass(frozen=True)
class Fit:
    """explained_variance: 1 − Σ|x − x̂|² / Σ|x − mean x|². l0: features active a token. dead: how
    many features no token made active."""

    explained_variance: float
    l0: float
    dead: int


@dataclass(frozen=True)
class Half:
    """Half of the held-out text. x: [tokens, d_in]. concepts: the tokens each is true of."""

    x: Tensor
    concepts: Mapping[Concept, NDArray[np.int64]]


@dataclass(frozen=True)
class Choice:
    """The feature that stands for a concept where it is `threshold` or more. f1: where chosen."""

    feature: int
    threshold: float
    f1: float


def fit_of(sae: Any, x: Tensor) -> Fit:
    """How an SAE rebuilds activations [tokens, d_in]."""
    import torch

    missed, active = 0.0, torch.zeros(sae.cfg.d_sae, dtype=torch.long)
    with torch.no_grad():
        for rows in x.split(ROWS):
            found = sae.encode(rows)
            missed += float((rows - sae.decode(found)).double().square().sum())
            active += (found > 0).sum(dim=0)
    spread = float((x.double() - x.double().mean(dim=0)).square().sum())
    return Fit(1 - missed / spread, float(active.sum()) / len(x), int((active == 0).sum()))


def recover(encode: Encode, choosing: Half, judging: Half) -> dict[Concept, tuple[Choice, float]]:
    """Every concept of both halves: the feature chosen on one, and its F1 on the other."""
    import torch

    concepts = [concept for concept in choosing.concepts if concept in judging.concepts]
    wanted = {concept: choosing.concepts[concept] for concept in concepts}
    with torch.no_grad():
        choices = best_features(
            torch.cat([encode(rows) for rows in choosing.x.split(ROWS)]), wanted
        )
        used = sorted({choice.feature for choice in choices.values()})
        columns = torch.cat([encode(rows)[:, used] for rows in judging.x.split(ROWS)])
    return {
        concept: (choice, f1(choice, columns[:, used.index(choice.feature)], judging, concept))
        for concept, choice in choices.items()
    }


def best_features(
    activations: Tensor, concepts: Mapping[Concept, NDArray[np.int64]]
) -> dict[Concept, Choice]:
    """For every concept the best of all features [tokens, features].

    Exact: F1 can only be highest where the threshold is the activation of one of the concept's own
    P tokens. If r of them reach that value, and k of all tokens do, F1 = 2 r / (k + P).
    """
    import torch

    best = dict.fromkeys(concepts, Choice(0, float(NEVER), 0.0))
    for first in range(0, activations.shape[1], FEATURES):
        columns = activations[:, first : first + FEATURES].T.contiguous()
        ascending = columns.sort(dim=1).values
        reach = len(activations) - torch.searchsorted(ascending, columns, out_int32=True)
        reach[columns <= 0] = NEVER
        for concept, positions in concepts.items():
            k = reach[:, torch.from_numpy(positions)].sort(dim=1).values
            # of tokens that tie, the last has the r that counts, and the others have a lower one
            f1s = 2 * torch.arange(1, len(positions) + 1) / (k + float(len(positions)))
            top, r = f1s.where(k < NEVER, 0).max(dim=1)
            row = int(top.argmax())
            if float(top[row]) > best[concept].f1:
                at = len(activations) - int(k[row, r[row]])
                best[concept] = Choice(first + row, float(ascending[row, at]), float(top[row]))
    return best


def f1(choice: Choice, column: Tensor, half: Half, concept: Concept) -> float:
    """F1 of a choice. column: its feature's activations [tokens] in this half."""
    import torch

    positions = half.concepts[concept]
    said = column >= choice.threshold
    right = int(said[torch.from_numpy(positions)].sum())
    return 2 * right / (int(said.sum()) + len(positions))


def random_directions(choosing: Half, count: int, seed: int) -> Encode:
    """`count` directions that nobody trained, from the mean of the text where choices are made."""
    import torch

    mean = choosing.x.mean(dim=0)
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(len(mean), count, generator=generator)
    directions /= directions.norm(dim=0)
    return lambda rows: ((rows - mean) @ directions).relu()


def axes(choosing: Half) -> Encode:
    """The residual stream's own axes, up and down from their means: 2 · d_in features."""
    import torch

    mean = choosing.x.mean(dim=0)
    return lambda rows: torch.cat([rows - mean, mean - rows], dim=1).relu()


def probes(choosing: Half) -> Encode:
    """A linear probe a concept, by least squares on the half where choices are made: what single
    directions can know that are told what to look for."""
    import torch

    x = choosing.x.double()
    mean = x.mean(dim=0)
    truth = torch.zeros(len(x), len(choosing.concepts), dtype=torch.float64)
    for column, positions in enumerate(choosing.concepts.values()):
        truth[torch.from_numpy(positions), column] = 1
    covariance = (x - mean).T @ (x - mean)
    # the least ridge that keeps an axis without variance from dividing by 0
    covariance += 1e-6 * covariance.trace() * torch.eye(len(mean)) / len(mean)
    weights = torch.linalg.solve(covariance, (x - mean).T @ (truth - truth.mean(dim=0)))
    directions, base = weights.float(), truth.mean(dim=0).float()
    return lambda rows: ((rows - mean.float()) @ directions + base).relu()
