"""The zoo's models taken apart, once each, and what tests of sites ask of them.

Models are shared by all tests of a process: a hook or a changed weight that stays behind in one
would be seen by the next.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import zoo

from whence.models.anatomy import Anatomy, find_anatomy

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

EVERY = [
    pytest.param(name, attention, dtype, id=f"{name}-{attention}-{short}")
    for name, attention in zoo.VARIANTS
    for short, dtype in DTYPES.items()
]
"""Architecture × attention implementation × dtype."""

every = pytest.mark.parametrize(("name", "attention", "dtype"), EVERY)
architectures = pytest.mark.parametrize("name", zoo.ARCHITECTURES)

WITHIN_BLOCK = (
    "hook_resid_pre", "attn.hook_z", "hook_attn_out", "mlp.hook_post", "hook_mlp_out",
    "hook_resid_post",
)  # fmt: skip


@functools.cache
def taken_apart(name: str, attention: str = "eager", dtype: torch.dtype = torch.float32) -> Anatomy:
    """The model of this variant, seed 0, with its parts."""
    return find_anatomy(zoo.make(name, attn_implementation=attention, dtype=dtype))


def tokens(rows: int = 2, length: int = 9, seed: int = 0) -> torch.Tensor:
    """Random ids [rows, length], none of them special."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, zoo.VOCABULARY, (rows, length), generator=generator)


def logits(model: Any, ids: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """The model's own logits [batch, pos, vocab]."""
    mask = torch.ones_like(ids) if mask is None else mask
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=mask, use_cache=False).logits


def sites(anatomy: Anatomy, *, of: Sequence[str] = WITHIN_BLOCK) -> list[str]:
    """Names of all sites that this model has, patterns apart, in the order of a forward pass."""
    return [
        "embed",
        *(
            f"blocks.{layer}.{name}"
            for layer in range(anatomy.n_layers)
            for name in of
            if not (name == "mlp.hook_post" and anatomy.blocks[layer].down is None)
        ),
        "ln_final.hook_normalized",
    ]


def with_adapter(name: str) -> Any:
    """A zoo model with a LoRA adapter that changes attention and MLP."""
    from peft import LoraConfig, get_peft_model

    targets = ["c_attn", "c_proj"] if name == "gpt2" else ["v_proj", "o_proj", "down_proj"]
    config = LoraConfig(r=2, target_modules=targets, fan_in_fan_out=name == "gpt2")
    with torch.random.fork_rng(devices=[]):
        adapted = get_peft_model(zoo.make(name), config)
    generator = torch.Generator().manual_seed(1)
    for parameter_name, parameter in adapted.named_parameters():
        if "lora_" in parameter_name:
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    return adapted.eval()


@contextmanager
def unharmed(model: Any) -> Iterator[None]:
    """What runs inside must leave no hook and no `forward` of its own behind."""
    before = _hung_on(model)
    yield
    assert _hung_on(model) == before


def _hung_on(model: Any) -> list[tuple[int, int, bool]]:
    return [
        (len(m._forward_hooks), len(m._forward_pre_hooks), "forward" in m.__dict__)
        for m in model.modules()
    ]
