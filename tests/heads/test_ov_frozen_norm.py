"""Norms with their scale held fixed, against their formulas."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from whence.errors import BadInput
from whence.heads.ov.frozen_norm import freeze_norm


def drawn(norm: Any) -> Any:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return norm


def rows(width: int, seed: int = 1) -> Tensor:
    return torch.randn(5, width, generator=torch.Generator().manual_seed(seed)) + 0.5


@pytest.mark.parametrize("width", [8, 9])
@pytest.mark.parametrize("epsilon", [1e-5, 0.5, 1e8])
def test_a_layer_norm(width: int, epsilon: float) -> None:
    norm = drawn(torch.nn.LayerNorm(width, eps=epsilon))
    at, part = rows(width), rows(width, 2)
    found = freeze_norm(norm, at)
    centred = part - part.mean(-1, keepdim=True)
    deviation = (at.var(-1, unbiased=False, keepdim=True) + epsilon).sqrt()
    assert found.centred
    torch.testing.assert_close(found(part), norm.weight * centred / deviation)
    torch.testing.assert_close(found(at) + norm.bias, norm(at))


@pytest.mark.parametrize("width", [8, 9])
@pytest.mark.parametrize("kind", ["llama", "gemma3"])
def test_an_rms_norm(width: int, kind: str) -> None:
    from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    norm: Any = drawn({"llama": LlamaRMSNorm, "gemma3": Gemma3RMSNorm}[kind](width, eps=1e-3))
    gain = norm.weight + (kind == "gemma3")
    at, part = rows(width), rows(width, 2)
    found = freeze_norm(norm, at)
    root = (at.square().mean(-1, keepdim=True) + 1e-3).sqrt()
    assert not found.centred
    torch.testing.assert_close(found(part), gain * part / root)


def test_one_place_serves_many_parts_and_half_precision_is_widened() -> None:
    norm = drawn(torch.nn.LayerNorm(8)).bfloat16()
    found = freeze_norm(norm, rows(8)[:1])
    assert found.gain.dtype == torch.float32
    torch.testing.assert_close(found(rows(8, 2))[3], found(rows(8, 2)[3:4])[0])
    assert norm.weight.dtype == torch.bfloat16


def test_anything_else_is_refused() -> None:
    with pytest.raises(BadInput, match="Softmax is neither a LayerNorm nor an RMSNorm"):
        freeze_norm(torch.nn.Softmax(dim=-1), rows(8))
