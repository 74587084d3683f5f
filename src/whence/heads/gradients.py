"""Slopes of gates: how the answer moves as heads are turned down a little, in one backward pass.

Every head gets a gate g on the way from its own output z to what would take its place (its fill):
fill + g · (z − fill), at the chosen positions. All gates at 1 are the undisturbed run; a gate at 0
is the ablation, or the patch, that the engine makes exactly. The slope of the logit difference in a
gate at 1 is gradient · (z − fill), so that

    −slope = gradient · (fill − z)

is attribution patching's estimate of the ablation (Nanda 2023; AtP, Kramár et al. 2024), and its
size the head importance of Michel, Levy & Neubig 2019. It is exact where the answer is linear in
the gate. Gates need not be at 1: slopes may be taken with all heads half down, or with one removed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from whence.errors import BadInput
from whence.heads.fills import meeting
from whence.heads.groups import Group, make_groups, units_of
from whence.heads.names import Head
from whence.heads.positions import Positions
from whence.heads.prompts import Example, Ids
from whence.heads.sweep import OOM_ADVICE, bytes_per_row
from whence.models.batching import run_batches
from whence.models.capture import reading
from whence.models.sites import Kind, Site
from whence.models.unembed import unembed

if TYPE_CHECKING:
    from torch import Tensor

    from whence.models.anatomy import Anatomy
    from whence.models.intervene import Edit
    from whence.models.replay import Replay

Against = Literal["zero", "mean", "corrupt"]
Floats = NDArray[np.float64]
NODES: tuple[Kind, ...] = ("attn_out", "mlp_out")


@dataclass(frozen=True)
class Point:
    """Where slopes are taken: gates of the heads of part `part` of `parts` at `level`, of `held` at
    `gate`, of all others at 1. Heads, counted through all layers, are dealt to the parts in turn,
    so that a part has its share of every layer.
    """

    level: float = 1.0
    part: int = 0
    parts: int = 1
    held: Head | None = None
    gate: float = 1.0

    def moving(self, count: int) -> range:
        """Which of `count` heads, or nodes, are in the part."""
        return range(self.part, count, self.parts)


CLEAN = Point()
"""The undisturbed run."""


class Gates:
    """Slopes of the logit difference at the last real token, in float32, of one set of examples.

    against: what the fill is: nothing, the head's mean over all tokens of all distinct prompts, or
    its output on the corrupt prompt at the positions that meet (`fills.meeting`). batch_size bounds
    the prompts in a batch, memory_gb what a batch may hold: a backward pass keeps every block.
    """

    def __init__(
        self,
        replay: Replay,
        examples: Sequence[Example],
        against: Against,
        positions: Positions,
        *,
        batch_size: int,
        memory_gb: float,
        device: object = "cpu",
    ) -> None:
        self.replay, self.anatomy = replay, replay.anatomy
        self.count, self.positions, self.against = len(examples), positions, against
        self.memory_gb = memory_gb
        units = units_of(
            examples, "first_token", patch_from="corrupt" if against == "corrupt" else None
        )
        self.groups = make_groups(
            examples, units, "first_token", max_rows=batch_size, device=device
        )
        self.batch_size = batch_size
        self.passes = 0
        self._means: dict[Site, Tensor] = {}

    @property
    def nodes(self) -> list[Site]:
        """What each attention and each MLP adds, where the model lets these be told apart."""
        blocks = enumerate(self.anatomy.blocks)
        return [Site(kind, at) for at, b in blocks if b.attn_out is not None for kind in NODES]

    def heads(self, point: Point = CLEAN) -> Floats:
        """Slopes [layer, head, example] in the gates of all heads; one forward and backward."""
        sites = [Site("z", layer) for layer in range(self.anatomy.n_layers)]
        found = self._slopes(sites, point)
        return np.stack([found[site] for site in sites])

    def of_nodes(self, point: Point = CLEAN) -> dict[Site, Floats]:
        """Slopes [example] in a gate on each node; those of `nodes` are dealt to parts in order."""
        return self._slopes(self.nodes, point) if self.nodes else {}

    def norms(self) -> Floats:
        """Length of what each head writes at the last real token, ‖z W_O‖ [layer, head, example].

        Before a norm that some architectures put after attention.
        """
        import torch

        sites = [Site("z", layer) for layer in range(self.anatomy.n_layers)]
        result = np.empty((len(sites), self.anatomy.n_heads, self.count))
        weights = [self.anatomy.w_out(layer).float() for layer in range(len(sites))]
        with torch.no_grad():
            for group in self.groups:
                values = self._values(group.ids, sites)
                for site, weight in zip(sites, weights, strict=True):
                    z = values[site][group.row, group.first_read].float()
                    written = torch.einsum("bhd,hdm->bhm", z, weight.to(z.device))
                    result[site.layer, :, list(group.examples)] = written.norm(dim=-1).cpu()
        return result

    def _slopes(self, sites: Sequence[Site], point: Point) -> dict[Site, Floats]:
        self.passes += 1
        if self.against == "mean" and not all(site in self._means for site in sites):
            self._means |= self._mean(sites)
        width = self.anatomy.n_heads
        result = {
            site: np.empty((width, self.count) if site.kind == "z" else (self.count,))
            for site in sites
        }
        for group in self.groups:
            size = self.anatomy.n_layers * bytes_per_row(self.anatomy, group)
            fits = int(max(1, min(self.batch_size, self.memory_gb * 1e9 // size)))
            rows = range(len(group.examples))
            chunks = [rows[start : start + fits] for start in range(0, len(rows), fits)]

            def one(some: Sequence[int], group: Group = group) -> list[Tensor]:
                return self._batch(group, list(some), sites, point)

            for some, slopes in run_batches(chunks, one, OOM_ADVICE):
                at = [group.examples[n] for n in some]
                for site, slope in zip(sites, slopes, strict=True):
                    result[site][..., at] = slope.movedim(0, -1).double().cpu()
        return result

    def _batch(
        self, group: Group, some: list[int], sites: Sequence[Site], point: Point
    ) -> list[Tensor]:
        """Slopes [examples of the batch, (head)] at each site."""
        import torch

        rows = group.row[some]
        where = self.positions.indices(group.prompt_length)
        with torch.inference_mode(False), torch.no_grad():
            fills = self._fills(group, rows, sites, where)
        with torch.inference_mode(False), torch.enable_grad(), _fixed(self.anatomy):
            gates = [self._gate(site, point, len(some), group) for site in sites]
            edits: dict[str | Site, Edit] = {
                site: _gated(gate, fills.get(site), where)
                for site, gate in zip(sites, gates, strict=True)
            }
            hidden = self.replay.enter(group.ids[rows])
            final = self.replay.blocks(hidden, 0, edits=edits)[:, group.first_read]
            logits = unembed(self.anatomy.model, self.anatomy.final_norm(final)).float()
            each = torch.arange(len(some), device=logits.device)
            difference = logits[each, group.target[some, 0]] - logits[each, group.foil[some]]
            if not bool(torch.isfinite(difference).all()):
                raise BadInput(
                    "the logits are not finite; half precision overflows in some models: use "
                    "--dtype float32 or bfloat16, and check with `whence doctor --model`"
                )
            return list(torch.autograd.grad(difference.sum(), gates))

    def _gate(self, site: Site, point: Point, rows: int, group: Group) -> Tensor:
        import torch

        width = self.anatomy.n_heads if site.kind == "z" else 1
        first = (site.layer or 0) * width if site.kind == "z" else self.nodes.index(site)
        moving = point.moving(first + width)
        levels = [point.level if first + n in moving else 1.0 for n in range(width)]
        if point.held is not None and point.held[0] == site.layer and site.kind == "z":
            levels[point.held[1]] = point.gate
        gate = torch.tensor([levels] * rows, device=group.ids.device)
        return (gate if site.kind == "z" else gate[:, 0]).requires_grad_()

    def _fills(
        self, group: Group, rows: Tensor, sites: Sequence[Site], where: Sequence[int]
    ) -> Mapping[Site, Tensor]:
        """What takes the place of each site's values, [rows, positions, …] or one to spread; none
        for zero."""
        import torch

        if self.against != "corrupt":
            return self._means
        sources = [group.units[row].source or () for row in rows.tolist()]
        by_length: dict[int, dict[Ids, None]] = {}
        for source in sources:
            by_length.setdefault(len(source), {})[source] = None
        found: dict[Ids, dict[Site, Tensor]] = {}
        for length, alike in by_length.items():
            there = meeting(self.positions, group.prompt_length, length)
            values = self._values(torch.tensor(list(alike), device=group.ids.device), sites)
            for row, prompt in enumerate(alike):
                found[prompt] = {site: value[row, there] for site, value in values.items()}
        return {site: torch.stack([found[s][site] for s in sources]).float() for site in sites}

    def _mean(self, sites: Sequence[Site]) -> dict[Site, Tensor]:
        """Mean over every token of every distinct prompt, as the engine's mean-ablation has it."""
        import torch

        totals: dict[Site, Any] = dict.fromkeys(sites, 0)
        tokens = 0
        with torch.inference_mode(False), torch.no_grad():
            for group in self.groups:
                tokens += group.ids.numel()
                for site, value in self._values(group.ids, sites).items():
                    totals[site] = totals[site] + value.float().sum((0, 1))
        dtype = self.anatomy.embed.weight.dtype
        return {site: (total / tokens).to(dtype).float() for site, total in totals.items()}

    def _values(self, ids: Tensor, sites: Sequence[Site]) -> dict[Site, Tensor]:
        """The undisturbed run's values at sites, [rows, pos, …]."""
        found: dict[str, Tensor] = {}
        last = max(site.layer or 0 for site in sites)
        with reading(self.anatomy, sites, found):
            self.replay.blocks(self.replay.enter(ids), 0, last + 1)
        return {site: found[site.name] for site in sites}


def _gated(gate: Tensor, fill: Tensor | None, where: Sequence[int]) -> Edit:
    """Edit that moves a site's values from its fill (g = 0) to themselves (g = 1) at `where`."""

    def edit(value: Tensor) -> Tensor:
        present = value[:, where]
        # [rows, (head)] beside [rows, positions, (head), d]
        beside = (gate[:, None] - 1).unsqueeze(-1)
        gap = present.float() if fill is None else present.float() - fill
        changed = value.clone()
        changed[:, where] = present + (beside * gap).to(present.dtype)
        return changed

    return edit


@contextmanager
def _fixed(anatomy: Anatomy) -> Iterator[None]:
    """No gradient for weights inside the block: they would cost memory and nobody asks for them."""
    weights = [weight for weight in anatomy.model.parameters() if weight.requires_grad]
    try:
        for weight in weights:
            weight.requires_grad_(False)
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)
