"""Many interventions on many prompts, each block run again only where it must be.

The state that enters block L is kept from one undisturbed run; an intervention whose first touch is
in block L replays blocks L … end on a batch of (interventions × prompts), and the unembedding reads
the last real token alone. A sweep over every head of n layers with H heads costs

    Σ_L H · (n − L) / n  =  H · (n + 1) / 2     block forwards divided by n: forwards of the corpus

and two undisturbed runs, against H · n whole forwards with logits at every token for a loop over
hooks. The arithmetic is the model's own: the same modules on the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from whence.errors import BadInput
from whence.heads.battery import Positions
from whence.heads.fills import Fills
from whence.heads.groups import Group
from whence.heads.interventions import Intervention
from whence.heads.lane import Lane
from whence.heads.readout import log_probabilities, read
from whence.models.batching import run_batches
from whence.models.sites import Site

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from whence.models.anatomy import Anatomy
    from whence.models.intervene import Edit
    from whence.models.replay import Replay

CPU_TOKENS, GPU_TOKENS = 2048, 32768
"""Tokens in one replayed batch that keep a device busy; more only takes memory."""

OOM_ADVICE = "lower --memory-gb or --batch-size, or use a smaller model or another --device"


@dataclass
class Sweep:
    """One battery on one set of groups. `replay` is shared by all that use the model.

    memory_gb: what a replayed batch may hold beside the model. block_forwards counts blocks run
    times tokens, so that the cost can be compared with the floor.
    """

    replay: Replay
    groups: Sequence[Group]
    positions: Positions
    full_target: bool
    memory_gb: float
    block_tokens: int = 0
    _clean: list[Tensor] = field(default_factory=list)

    @property
    def anatomy(self) -> Anatomy:
        return self.replay.anatomy

    def baseline(self) -> dict[str, np.ndarray]:
        """Readings of the undisturbed run, name → [examples]; keeps its distributions if they fit.

        Raises BadInput for logits that are not finite.
        """
        import torch

        lane = Lane(self.replay, [group.ids for group in self.groups])
        self._clean = []
        found = []
        with torch.inference_mode():
            lane.advance(self.anatomy.n_layers)
            self._count(0, sum(group.ids.numel() for group in self.groups))
            for group, hidden in zip(self.groups, lane.hidden, strict=True):
                final = hidden[:, group.first_read :]
                self._clean.append(final)
                logits, log_p = self._distribution(final, "the undisturbed run")
                clean = log_p[0].clone()
                found.append(read(logits, log_p, group, clean, full_target=self.full_target))
        return {name: value[0] for name, value in self._in_order(found).items()}

    def run(
        self, asked: Sequence[Intervention]
    ) -> Iterator[tuple[int, list[int], dict[str, np.ndarray]]]:
        """Yield (start, positions in `asked`, readings [interventions, examples]) per start layer.

        `baseline` must have run before.
        """
        yield from self.run_missing(asked, lambda start: False)

    def run_missing(
        self, asked: Sequence[Intervention], done: Callable[[int], bool]
    ) -> Iterator[tuple[int, list[int], dict[str, np.ndarray]]]:
        """`run` without the start layers for which `done` says that they are there already."""
        import torch

        starts = sorted({one.start for one in asked})
        if all(done(start) for start in starts):
            return
        lane = Lane(self.replay, [group.ids for group in self.groups])
        rows = max(len(group.units) for group in self.groups)
        fills = Fills(self.replay, self.groups, self.positions, asked, rows)
        for start in starts:
            if done(start):
                continue
            members = [at for at, one in enumerate(asked) if one.start == start]
            todo = [asked[at] for at in members]
            with torch.inference_mode():
                lane.advance(start)
                fills.prepare(todo)
                found = [
                    self._group(g, lane.hidden[g], todo, fills) for g in range(len(self.groups))
                ]
            yield start, members, self._in_order(found)

    def _group(
        self, at: int, hidden: Tensor, todo: Sequence[Intervention], fills: Fills
    ) -> dict[str, Tensor]:
        """Readings of some interventions with one start on one group, [interventions, examples]."""
        import torch

        group = self.groups[at]
        clean = self._distribution(self._clean[at], "the undisturbed run")[1][0]
        # A sham must be the very computation of the undisturbed run: it gets a batch of its own.
        shams = [n for n, one in enumerate(todo) if one.fill == "self"]
        others = [n for n, one in enumerate(todo) if one.fill != "self"]
        at_once = self._interventions_at_once(group)
        chunks = [others[i : i + at_once] for i in range(0, len(others), at_once)]
        chunks += [[sham] for sham in shams]

        def one_chunk(members: Sequence[int]) -> dict[str, Tensor]:
            some = [todo[n] for n in members]
            final = self._replay(at, hidden, some, fills)[..., group.first_read :, :]
            logits, log_p = self._distribution(final.unflatten(0, (len(some), -1)), some[0].label)
            return read(logits, log_p, group, clean, full_target=self.full_target)

        kept: dict[str, Tensor] = {}
        for members, values in run_batches(chunks, one_chunk, OOM_ADVICE):
            for name, value in values.items():
                if name not in kept:
                    kept[name] = torch.empty(len(todo), value.shape[1], dtype=value.dtype)
                kept[name][list(members)] = value
        return kept

    def _replay(
        self, at: int, hidden: Tensor, some: Sequence[Intervention], fills: Fills
    ) -> Tensor:
        """What leaves the last block, [interventions × units, pos, d_model], in that order."""
        group, start = self.groups[at], some[0].start
        wanted = fills.indices(group)
        touched: dict[Site, list[tuple[int, int]]] = {}
        for n, one in enumerate(some):
            for t, touch in enumerate(one.touches):
                touched.setdefault(touch.site, []).append((n, t))

        def edit_of(site: Site) -> Edit:
            def edit(value: Tensor) -> Tensor:
                changed = value.clone().unflatten(0, (len(some), -1))
                for n, t in touched[site]:
                    touch = some[n].touches[t]
                    spot = changed[n] if touch.head is None else changed[n, :, :, touch.head]
                    spot[:, wanted] = fills.value(some[n], touch, at, spot[:, wanted]).to(spot)
                return changed.flatten(0, 1)

            return edit

        entering = hidden.repeat(len(some), 1, 1)
        edits: dict[str | Site, Edit] = {site: edit_of(site) for site in touched}
        before = Site("resid_post", start - 1)
        if before in edits:
            entering = edits.pop(before)(entering)
        self._count(start, entering.shape[0] * entering.shape[1])
        return self.replay.blocks(entering, start, edits=edits)

    def _distribution(self, final: Tensor, where: str) -> tuple[Tensor, Tensor]:
        """Logits and log-probabilities [sets, units, reads, vocab] of [(sets,) units, reads, d]."""
        logits, log_p = log_probabilities(self.anatomy, final, where)
        if final.ndim == 3:
            return logits.unsqueeze(0), log_p.unsqueeze(0)
        return logits, log_p

    def _interventions_at_once(self, group: Group) -> int:
        """How many interventions share a batch with this group's units."""
        units, length = group.ids.shape
        cpu = group.ids.device.type == "cpu"
        busy = (CPU_TOKENS if cpu else GPU_TOKENS) // length
        fits = int(self.memory_gb * 1e9 / bytes_per_row(self.anatomy, group))
        return int(max(1, min(busy, fits) // units))

    def _count(self, start: int, tokens: int) -> None:
        self.block_tokens += (self.anatomy.n_layers - start) * tokens

    def _in_order(self, found: Sequence[Mapping[str, Tensor]]) -> dict[str, np.ndarray]:
        """Readings of all groups side by side, examples in the order in which they were given."""
        import numpy as np

        order = np.argsort([example for group in self.groups for example in group.examples])
        joined = {
            name: np.concatenate([part[name].numpy() for part in found], axis=1)[:, order]
            for name in found[0]
        }
        for name, value in joined.items():
            if not np.isfinite(value).all():
                raise BadInput(
                    f"{name} is not finite: half precision overflows in some models; use "
                    "--dtype float32 or bfloat16"
                )
        return joined


def bytes_per_row(anatomy: Anatomy, group: Group) -> int:
    """Memory that one prompt takes while blocks run and its logits are read, roughly, in bytes.

    A dozen hidden states, the MLP's three, attention scores of two kinds, and four float32 copies
    of its logits.
    """
    length, d_model = group.ids.shape[1], anatomy.d_model
    reads = length - group.first_read
    down = anatomy.blocks[0].down
    widths: list[int] = [4 * d_model] if down is None else list(down.weight.shape)
    size = int(anatomy.embed.weight.element_size())
    blocks = length * (12 * d_model + 3 * max(widths)) * size
    scores = 2 * anatomy.n_heads * length * length * max(size, 4)
    return int(blocks + scores + reads * anatomy.d_vocab * 16)
