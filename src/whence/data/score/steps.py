"""Finished steps on disk: tensors by name, whole or not there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from whence.runs.atomic import whole_file

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def save_step(
    file: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a step's tensors, from whatever device, as safetensors."""
    from safetensors.torch import save_file

    held = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    with whole_file(file) as unfinished:
        save_file(held, str(unfinished), dict(metadata or {}))


def load_step(file: Path, device: torch.device) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A step's tensors and metadata.

    A step is read back even where it was just made: how a matrix product rounds depends on where
    its operands lie in memory, and a run that was cut off has to end with the very same bytes.
    Hence the copies too, which lie where torch puts every tensor, not at an offset of the file.
    """
    from safetensors import safe_open

    with safe_open(str(file), framework="pt", device=str(device)) as kept:
        tensors = {name: kept.get_tensor(name).clone() for name in kept.keys()}  # noqa: SIM118
        return tensors, dict(kept.metadata() or {})
