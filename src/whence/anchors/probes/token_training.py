"""Training of token probes: AdamW on batches of sentences, the best epoch kept.

A maximum passes its gradient to one token a head, which at a random start is nearly always noise.
So MultiMax may begin as Σ_t softmax_t(s/T) · s_t with T falling to the hard maximum; whatever is
watched, kept or scored is the hard one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from whence.anchors.probes.data import Floats, Labels, ProbeData, Ragged
from whence.anchors.probes.settings import ProbeSettings
from whence.anchors.probes.token_network import Kind, Parameters, logits
from whence.errors import BadInput
from whence.runs.progress import Progress

if TYPE_CHECKING:
    import torch

SCORING_TOKENS = 16_384
"""Tokens scored at once; what a sentence scores does not depend on it."""
WARMEST, COOLEST = 4.0, 0.1
"""Temperatures that annealing begins and ends with: nearly a mean over tokens, nearly a maximum."""


@dataclass(frozen=True)
class Scale:
    """What is taken from tokens [d_model] and targets before training, and divided by."""

    centre: NDArray[np.float32]
    scale: NDArray[np.float32]
    target_centre: float = 0.0
    target_scale: float = 1.0


@dataclass(frozen=True)
class Trained:
    """parameters: on the CPU. epochs: after which they were taken, from 1. good: the measure on
    what was watched, None where nothing was."""

    parameters: Parameters
    epochs: int
    good: float | None


@dataclass(frozen=True)
class Watch:
    """Rows that training stops by. measure: of their scores, higher is better; None: undefined."""

    data: ProbeData
    measure: Callable[[Floats], float | None]


def tokens_of(data: ProbeData) -> Ragged:
    """Token activations. Raises BadInput where there are none, or a sentence has no token."""
    if data.tokens is None:
        raise BadInput(
            "no token activations here, which this probe reads: give --features a folder made by "
            "`whence anchors extract --pooling mean,tokens`"
        )
    empty = np.flatnonzero(data.tokens.length < 1)
    if empty.size:
        row = data.frame.iloc[int(empty[0])]
        raise BadInput(
            f"problem {row['problem_id']}, sentence {row['chunk_idx']}: has no token activations"
        )
    return data.tokens


def token_scale(tokens: Ragged) -> Scale:
    """Mean and standard deviation over the tokens of all rows; 1 where an activation is constant.

    Raises BadInput where an activation is not finite.
    """
    total = np.zeros(tokens.values.shape[1])
    squares = np.zeros_like(total)
    centre: Floats | None = None
    count = int(tokens.length.sum())
    for row in range(len(tokens.start)):
        own = tokens.tokens(row).astype(np.float64)
        if centre is None:
            centre = own.mean(axis=0)  # near the mean: keeps the squares from cancelling
        total += (own - centre).sum(axis=0)
        squares += ((own - centre) ** 2).sum(axis=0)
    shift = total / count
    variance = squares / count - shift**2
    mean = shift + (0.0 if centre is None else centre)
    if not np.isfinite(variance).all():
        raise BadInput(
            "token activations are not finite; extract again with --storage-dtype float32"
        )
    deviation = np.sqrt(np.maximum(variance, 0))
    deviation[deviation <= 1e-6 * np.abs(mean) + 1e-12] = 1
    return Scale(mean.astype(np.float32), deviation.astype(np.float32))


def as_they_are(tokens: Ragged) -> Scale:
    """No standardisation, as in the earlier study."""
    width = tokens.values.shape[1]
    return Scale(np.zeros(width, dtype=np.float32), np.ones(width, dtype=np.float32))


def token_logits(
    parameters: Parameters, kind: Kind, scale: Scale, tokens: Ragged, device: str
) -> Floats:
    """Logits of all rows, in target units where targets were scaled, [rows]."""
    import torch

    own = {name: each.to(device) for name, each in parameters.items()}
    found = np.empty(len(tokens.start))
    with torch.no_grad():
        for rows in _slices(tokens.length):
            batch = _batch(tokens, rows, scale, device)
            found[rows] = logits(own, kind, batch, tokens.length[rows]).double().cpu().numpy()
    return np.asarray(found * scale.target_scale + scale.target_centre)


def train(
    parameters: Parameters,
    kind: Kind,
    scale: Scale,
    data: ProbeData,
    labels: Labels,
    settings: ProbeSettings,
    *,
    weight_decay: float,
    epochs: int,
    annealed: int,
    watch: Watch | None,
    device: str,
    generator: torch.Generator,
    label: str,
) -> Trained:
    """Train for `epochs`, or until `watch` has not improved for settings.token_probe_patience.

    parameters: where to begin. annealed: epochs at the start in which multimax takes a soft
    maximum, and which patience does not count. generator: on the CPU, shuffles the rows.
    """
    import torch

    tokens = tokens_of(data)
    own = {name: each.to(device).requires_grad_(True) for name, each in parameters.items()}
    optimizer = torch.optim.AdamW(
        own.values(), lr=settings.token_probe_learning_rate, weight_decay=weight_decay
    )
    loss = _loss(labels, settings)
    target = torch.from_numpy((labels.y - scale.target_centre) / scale.target_scale).float()
    best: Trained | None = None
    with Progress(label, epochs, "epochs") as progress:
        for epoch in range(1, epochs + 1):
            order = torch.randperm(len(target), generator=generator).numpy()
            for begin in range(0, len(order), settings.token_probe_batch_size):
                rows = order[begin : begin + settings.token_probe_batch_size]
                batch = _batch(tokens, rows, scale, device)
                optimizer.zero_grad()
                heat = temperature(epoch - 1 + begin / len(order), annealed)
                found = logits(own, kind, batch, tokens.length[rows], heat)
                loss(found, target[rows].to(device)).backward()
                optimizer.step()
            progress.advance()
            if watch is None:
                continue
            now = {name: each.detach().cpu().clone() for name, each in own.items()}
            good = watch.measure(token_logits(now, kind, scale, tokens_of(watch.data), device))
            if best is None or (good is not None and (best.good is None or good > best.good)):
                best = Trained(now, epoch, good)
            if epoch - max(best.epochs, annealed) >= settings.token_probe_patience:
                break
    if best is not None:
        return best
    return Trained({name: each.detach().cpu() for name, each in own.items()}, epochs, None)


def temperature(epochs: float, annealed: int) -> float:
    """Of the soft maximum after `epochs`, which may be broken: geometric, then 0, the hard one."""
    if epochs >= annealed:
        return 0.0
    return float(WARMEST * (COOLEST / WARMEST) ** (epochs / annealed))


def _loss(
    labels: Labels, settings: ProbeSettings
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    import torch
    from torch.nn import functional

    if labels.continuous:
        if settings.token_probe_continuous_loss == "huber":
            return functional.huber_loss
        return functional.mse_loss
    ones = float((labels.y == 1).sum())
    weight = torch.tensor((len(labels.y) - ones) / ones)

    def weighted(found: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return functional.binary_cross_entropy_with_logits(
            found, target, pos_weight=weight.to(found.device)
        )

    return weighted


def _batch(tokens: Ragged, rows: NDArray[np.int64], scale: Scale, device: str) -> torch.Tensor:
    import torch

    values = np.concatenate([tokens.tokens(int(row)) for row in rows])
    return torch.from_numpy((values - scale.centre) / scale.scale).to(device)


def _slices(lengths: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Rows in order, as many at a time as stay below SCORING_TOKENS; one at least."""
    rows = np.arange(len(lengths))
    while rows.size:
        count = int(np.searchsorted(np.cumsum(lengths[rows]), SCORING_TOKENS, side="right"))
        yield rows[: max(count, 1)]
        rows = rows[max(count, 1) :]
