"""A norm as the linear map that it is once its scale is held fixed (the field's "frozen" norm).

An RMSNorm gives x / s(x) · g, a LayerNorm (x − mean x) / s(x) · g + b. With s held at the value
that it has for some x₀, the norm of a sum is the sum of what it makes of the parts, which is what
direct logit attribution needs. It is not the derivative: that would move s as well.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whence.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

_AGREE = 1e-3


@dataclass(frozen=True)
class FrozenNorm:
    """v → gain · v, or gain · (v − mean v) where the norm is centred.

    gain: g / s(x₀), float32 [rows, d_model], a row for each x₀.
    """

    gain: Tensor
    centred: bool

    def __call__(self, part: Tensor) -> Tensor:
        """What the norm makes of a part [..., rows, d_model] of the residual stream."""
        if self.centred:
            part = part - part.mean(dim=-1, keepdim=True)
        return self.gain * part


def freeze_norm(norm: Module, at: Tensor) -> FrozenNorm:
    """Hold the scale of `norm` at what it is for each row of `at` [rows, d_model].

    Found from what the norm gives, not from its weights, so that conventions (Gemma's 1 + w) and
    epsilons need not be known. Computed in float32, whatever the model's dtype.

    Raises BadInput for a module that is neither kind of norm.
    """
    import torch

    own = copy.deepcopy(norm).float()
    at = at.float()
    width = at.shape[-1]
    # No entry 0, mean 0: both kinds of norm give this one g times one number.
    probe = torch.ones(width, device=at.device)
    probe[1::2] = -1
    if width % 2:
        probe[-2:] = torch.tensor([1.0, -2.0])
    with torch.inference_mode():
        shift = own(torch.zeros_like(at[:1]))
        shape = (own(probe[None]) - shift) / probe
        given = own(at) - shift
    best: tuple[float, FrozenNorm] | None = None
    for centred in (False, True):
        base = shape * (at - at.mean(dim=-1, keepdim=True) if centred else at)
        scale = (given * base).sum(-1, keepdim=True) / base.square().sum(-1, keepdim=True)
        off = float((given - scale * base).norm() / given.norm().clamp(min=1e-30))
        if best is None or off < best[0]:
            best = off, FrozenNorm((scale * shape).clone(), centred)
    assert best is not None
    if not best[0] <= _AGREE:
        raise BadInput(
            f"{type(norm).__name__} is neither a LayerNorm nor an RMSNorm: what a head adds to the "
            "logits through it cannot be told apart from the rest"
        )
    return best[1]
