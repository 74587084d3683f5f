"""Attention and MultiMax probes: how the tokens of a sentence become one logit.

A token x [d_model] first goes through an MLP (depth × [Linear, ReLU]; depth 0 leaves it as it is),
which gives h [width]. Then, for every head,

    attention   Σ_t softmax_t(h_t · q) · (h_t · v)
    multimax    max_t h_t · d

and a linear mixer turns the heads into one number. A mean over tokens drowns one that matters among
two hundred that do not; a softmax can single it out, and a maximum must (Kramár et al. 2026).
Parameters are a plain mapping of names to tensors, so that what is saved is what is computed with.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Kind = Literal["attention", "multimax"]
Parameters = dict[str, "torch.Tensor"]

READOUTS: dict[Kind, tuple[str, ...]] = {
    "attention": ("query", "value"),
    "multimax": ("direction",),
}


def new_parameters(
    kind: Kind, d_model: int, *, width: int, depth: int, heads: int, generator: torch.Generator
) -> Parameters:
    """Random parameters, float32 on the CPU: torch's own initialisation of Linear layers, Xavier
    for readouts and mixer, no bias."""
    import torch
    from torch.nn import init

    parameters: Parameters = {}
    inputs = d_model
    for layer in range(depth):
        weight, bias = torch.empty(width, inputs), torch.empty(width)
        init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)
        bound = 1 / math.sqrt(inputs)
        init.uniform_(bias, -bound, bound, generator=generator)
        parameters |= {f"layers.{layer}.weight": weight, f"layers.{layer}.bias": bias}
        inputs = width
    for name in READOUTS[kind]:
        parameters[name] = init.xavier_uniform_(torch.empty(heads, inputs), generator=generator)
    parameters["mixer.weight"] = init.xavier_uniform_(torch.empty(1, heads), generator=generator)
    parameters["mixer.bias"] = torch.zeros(1)
    return parameters


def logits(
    parameters: Parameters,
    kind: Kind,
    tokens: torch.Tensor,
    lengths: NDArray[np.int64],
    temperature: float = 0.0,
) -> torch.Tensor:
    """One logit a sentence, [sentences].

    tokens: those of all sentences one behind the other, [tokens, d_model]. lengths: of each
    sentence, at least 1. Only per-head numbers are padded, never activations. temperature: of
    multimax while it trains; above 0 its maximum is Σ_t softmax_t(s/T) · s_t with s_t = h_t · d.
    """
    import torch

    hidden = tokens
    depth = sum(name.startswith("layers.") for name in parameters) // 2
    for layer in range(depth):
        weight, bias = parameters[f"layers.{layer}.weight"], parameters[f"layers.{layer}.bias"]
        hidden = torch.relu(torch.nn.functional.linear(hidden, weight, bias))
    row = np.repeat(np.arange(len(lengths)), lengths)
    place = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    where = (
        torch.from_numpy(row).to(tokens.device),
        torch.from_numpy(place).to(tokens.device),
    )

    def padded(name: str, fill: float) -> torch.Tensor:
        """Of every token its product with each head, [sentences, longest, heads]."""
        each = hidden @ parameters[name].T
        empty = each.new_full((len(lengths), int(lengths.max()), each.shape[1]), fill)
        return empty.index_put(where, each)

    if kind == "attention":
        weights = torch.softmax(padded("query", -math.inf), dim=1)
        pooled = (weights * padded("value", 0.0)).sum(dim=1)
    elif temperature > 0:
        each = padded("direction", -math.inf)
        weights = torch.softmax(each / temperature, dim=1)
        pooled = (weights * each.masked_fill(each == -math.inf, 0.0)).sum(dim=1)
    else:
        pooled = padded("direction", -math.inf).amax(dim=1)
    return (pooled @ parameters["mixer.weight"].T + parameters["mixer.bias"])[:, 0]
