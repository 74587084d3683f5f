"""Where training stands, in one safetensors file, so that a killed run goes on from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from whence.runs.atomic import whole_file


def save_checkpoint(path: Path, model: Any, optimizers: Sequence[Any], step: int) -> None:
    """Write weights and optimizer state after `step` steps; whole or not at all."""
    from safetensors.torch import save_file

    tensors = {f"model.{name}": weight.detach() for name, weight in model.named_parameters()}
    for index, optimizer in enumerate(optimizers):
        for parameter, state in optimizer.state_dict()["state"].items():
            for key, value in state.items():
                tensors[f"optimizer.{index}.{parameter}.{key}"] = value
    with whole_file(path) as temporary:
        save_file(tensors, str(temporary), metadata={"step": str(step)})


def load_checkpoint(path: Path, model: Any, optimizers: Sequence[Any]) -> int:
    """Put back what `save_checkpoint` wrote; returns the steps done, 0 where there is no file."""
    import torch
    from safetensors import safe_open

    if not path.is_file():
        return 0
    with safe_open(str(path), framework="pt") as file:
        step = int(file.metadata()["step"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(tensors[f"model.{name}"])
    for index, optimizer in enumerate(optimizers):
        states: dict[int, dict[str, Any]] = {}
        for name, value in tensors.items():
            if name.startswith(f"optimizer.{index}."):
                _, _, parameter, key = name.split(".", 3)
                states.setdefault(int(parameter), {})[key] = value
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": states, "param_groups": groups})
    return step
