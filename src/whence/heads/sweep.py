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

READS = 1024
"""Final states that one unembedding reads at most; few make a wide matrix slow."""

UNDISTURBED = "the undisturbed run"
OOM_ADVICE = "lower --memory-gb or --batch-size, or use a smaller model or another --device"


@dataclass
class Sweep:
    """One battery on one set of groups. `replay` is shared by all that use the model.

    memory_gb: what a replayed batch may hold beside the model.
    """

    replay: Replay
    groups: Sequence[Group]
    positions: Positions
    full_target: bool
    memory_gb: float
    _clean: list[tuple[Tensor, Tensor | None]] = field(default_factory=list)

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
            for group, hidden in zip(self.groups, lane.hidden, strict=True):
                final = hidden[:, group.first_read :]
                logits, log_p = log_probabilities(self.anatomy, final, UNDISTURBED)
                self._keep_clean(final, log_p)
                clean, logits, log_p = log_p.clone(), logits.unsqueeze(0), log_p.unsqueeze(0)
                found.append(read(logits, log_p, group, clean, full_target=self.full_target))
        return {name: value[0] for name, value in self._in_order(found).items()}

    def noise(self) -> float:
        """Largest |change| of a logit difference that only the arithmetic of a replay makes.

        The undisturbed run of one group once more, in a batch of two copies, as interventions run:
        rounding differs, nothing else. Effects no larger than this are not effects. After
        `baseline`.
        """
        import torch

        at = min(range(len(self.groups)), key=lambda g: self.groups[g].ids.numel())
        group = self.groups[at]
        with torch.inference_mode():
            hidden = self.replay.enter(group.ids).repeat(2, 1, 1)
            left = self.replay.blocks(hidden, 0, needed_from=group.first_read)
            final, _ = self._clean[at]
            pending, alone = Pending(self, 2), Pending(self, 1)
            pending.add(at, [0, 1], left[:, group.first_read :].unflatten(0, (2, -1)))
            alone.add(at, [0], final.unsqueeze(0))
            pending.flush()
            alone.flush()
        moved = pending.kept[at]["logit_diff"] - alone.kept[at]["logit_diff"]
        return float(moved.abs().max())

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
                found = self._readings(lane, todo, fills)
            yield start, members, self._in_order(found)

    def _readings(
        self, lane: Lane, todo: Sequence[Intervention], fills: Fills
    ) -> list[dict[str, Tensor]]:
        """Readings of interventions with one start, [interventions, examples] of each group."""
        pending = Pending(self, len(todo))
        # A sham must be the very computation of the undisturbed run: it gets a batch of its own.
        shams = [n for n, one in enumerate(todo) if one.fill == "self"]
        others = [n for n, one in enumerate(todo) if one.fill != "self"]
        for at, group in enumerate(self.groups):
            most = self.interventions_at_once(group)
            chunks = [others[i : i + most] for i in range(0, len(others), most)]

            def final(members: Sequence[int], at: int = at) -> Tensor:
                return self._replay(at, lane.hidden[at], [todo[n] for n in members], fills)

            for members, states in run_batches(chunks, final, OOM_ADVICE):
                pending.add(at, members, states)
            for members, states in run_batches([[sham] for sham in shams], final, OOM_ADVICE):
                pending.flush()
                pending.add(at, members, states)
                pending.flush()
        pending.flush()
        return pending.kept

    def clean_log_p(self, at: int) -> Tensor:
        """Log-probabilities of the undisturbed run on group `at`, [units, reads, vocab]."""
        final, kept = self._clean[at]
        return log_probabilities(self.anatomy, final, UNDISTURBED)[1] if kept is None else kept

    def _keep_clean(self, final: Tensor, log_p: Tensor) -> None:
        """Keep what the undisturbed run ended with; its distributions too, if they fit."""
        held = sum(kept.numel() for _, kept in self._clean if kept is not None)
        fits = (held + log_p.numel()) * 4 <= self.memory_gb * 1e9 / 4
        self._clean.append((final.clone(), log_p.clone() if fits else None))

    def _replay(
        self, at: int, hidden: Tensor, some: Sequence[Intervention], fills: Fills
    ) -> Tensor:
        """What leaves the last block where it is read, [interventions, units, reads, d_model]."""
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
        sham = any(one.fill == "self" for one in some)
        left = self.replay.blocks(
            entering, start, edits=edits, needed_from=0 if sham else group.first_read
        )
        return left[:, group.first_read :].unflatten(0, (len(some), -1))

    def interventions_at_once(self, group: Group) -> int:
        """How many interventions share a batch with this group's units."""
        units, length = group.ids.shape
        cpu = group.ids.device.type == "cpu"
        busy = (CPU_TOKENS if cpu else GPU_TOKENS) // length
        fits = int(self.memory_gb * 1e9 / 2 / bytes_per_row(self.anatomy, group))
        return int(max(1, min(busy, fits) // units))

    def reads_at_once(self) -> int:
        """How many final states are unembedded together: four float32 copies of their logits."""
        fits = int(self.memory_gb * 1e9 / 2 / (16 * self.anatomy.d_vocab))
        return max(1, min(READS, fits))

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


class Pending:
    """Final states that wait to be unembedded together, and the readings of those that were.

    kept: for each group, name → [interventions, examples].
    """

    def __init__(self, sweep: Sweep, interventions: int) -> None:
        self.sweep, self.interventions = sweep, interventions
        self.most = sweep.reads_at_once()
        self.kept: list[dict[str, Tensor]] = [{} for _ in sweep.groups]
        self._waiting: list[tuple[int, Sequence[int], Tensor]] = []

    def add(self, at: int, members: Sequence[int], states: Tensor) -> None:
        """Take final states [members, units, reads, d_model] of group `at`."""
        each = max(1, self.most // states[0, ..., 0].numel())
        for first in range(0, len(members), each):
            some = states[first : first + each]
            held = sum(waiting[..., 0].numel() for _, _, waiting in self._waiting)
            if self._waiting and held + some[..., 0].numel() > self.most:
                self.flush()
            self._waiting.append((at, members[first : first + each], some))

    def flush(self) -> None:
        """Unembed what waits, in one matrix product, and read it."""
        import torch

        if not self._waiting:
            return
        sweep = self.sweep
        # One group alone keeps its shape, so that a sham meets the very product of the baseline.
        parts = [states.flatten(0, -2) for _, _, states in self._waiting]
        alone = len(parts) == 1 and parts[0].shape[0] == self._waiting[0][2][0, ..., 0].numel()
        joined = self._waiting[0][2][0] if alone else torch.cat(parts)
        logits, log_p = log_probabilities(sweep.anatomy, joined, "an intervened run")
        first = 0
        for at, members, states in self._waiting:
            shape = states.shape[:-1]
            rows = slice(first, first + shape.numel())
            first += shape.numel()
            values = read(
                logits.flatten(0, -2)[rows].unflatten(0, shape),
                log_p.flatten(0, -2)[rows].unflatten(0, shape),
                sweep.groups[at],
                sweep.clean_log_p(at),
                full_target=sweep.full_target,
            )
            for name, value in values.items():
                if name not in self.kept[at]:
                    whole = torch.empty(self.interventions, value.shape[1], dtype=value.dtype)
                    self.kept[at][name] = whole
                self.kept[at][name][list(members)] = value
        self._waiting = []


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
