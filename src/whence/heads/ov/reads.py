"""What heads give at the last token of each prompt, and what lies around them there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whence.heads.groups import make_groups, units_of
from whence.heads.prompts import Examples, Ids
from whence.models.capture import capture
from whence.models.sites import Site
from whence.runs.progress import track

if TYPE_CHECKING:
    from torch import Tensor

    from whence.models.anatomy import Anatomy


@dataclass(frozen=True)
class LastTokens:
    """At the last real token of every distinct clean prompt, float32 on the CPU.

    prompts: their ids, in the order of the examples. z: layer → [prompt, head, d_head].
    final [prompt, d_model]: what the final norm reads.
    """

    prompts: tuple[Ids, ...]
    z: dict[int, Tensor]
    final: Tensor


def read_last_tokens(
    anatomy: Anatomy,
    examples: Examples,
    layers: Sequence[int],
    *,
    batch_size: int,
    device: object = "cpu",
) -> LastTokens:
    """Run the clean prompts, unpadded, and keep what `LastTokens` has. One pass a prompt."""
    import torch

    units = units_of(examples.rows, "first_token")
    groups = make_groups(examples.rows, units, "first_token", max_rows=batch_size, device=device)
    end = Site("resid_post", anatomy.n_layers - 1).name
    sites = {layer: Site("z", layer).name for layer in layers}
    seen: dict[Ids, dict[str, Tensor]] = {}
    for group in track(groups, label="prompts", unit="batches"):
        found = capture(anatomy, group.ids, sites=[*sites.values(), end])
        kept = {name: value[:, group.first_read].float().cpu() for name, value in found.items()}
        for row, unit in enumerate(group.units):
            seen[unit.prompt] = {name: value[row] for name, value in kept.items()}
    prompts = tuple(dict.fromkeys(unit.prompt for unit in units))

    def stacked(name: str) -> Tensor:
        return torch.stack([seen[prompt][name] for prompt in prompts])

    return LastTokens(prompts, {at: stacked(name) for at, name in sites.items()}, stacked(end))
