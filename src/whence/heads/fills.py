"""What takes the place of an activation, and from where: factors, means, other prompts, partners.

Positions of two prompts meet as they are counted: `last_token` and `final_K` from the end, `first`
and listed positions from 0 from the start, listed negative ones from the end. `all` meets position
by position, which needs prompts of equal length; only resampling, whose source is any other prompt,
aligns `all` at the end and repeats the source's first token before its start.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from whence.errors import BadInput
from whence.heads.battery import Positions
from whence.heads.interventions import Intervention, Touch
from whence.heads.lane import Lane
from whence.models.sites import Site

if TYPE_CHECKING:
    from torch import Tensor

    from whence.heads.groups import Group, Unit
    from whence.models.replay import Replay

Place = tuple[int, int]
"""(batch of the lane, row of the batch)."""


class Fills:
    """Values to put at the touched sites of `groups`, for the layers prepared last."""

    def __init__(
        self,
        replay: Replay,
        groups: Sequence[Group],
        positions: Positions,
        asked: Sequence[Intervention],
        batch_rows: int,
    ) -> None:
        self.groups, self.positions = groups, positions
        self.kinds = {one.fill for one in asked}
        self._values: dict[Site, list[Tensor]] = {}
        self._means: dict[Site, Tensor] = {}
        self._own = None
        self._partner = None
        if self.kinds & {"mean", "resample", "self"}:
            self._own = Lane(replay, [group.ids for group in groups])
        if "source" in self.kinds:
            prompts = list(dict.fromkeys(_source(u) for group in groups for u in group.units))
            self._partner = _PartnerLane(replay, prompts, batch_rows, groups[0].ids.device)
        self._drawn = {
            seed: _draw_others(groups, seed)
            for seed in sorted({one.seed for one in asked if one.fill == "resample"})
        }

    def prepare(self, todo: Sequence[Intervention]) -> None:
        """Compute the values that these interventions need; starts must come in rising order."""
        sites = sorted(
            {touch.site for one in todo if one.fill != "scale" for touch in one.touches},
            key=lambda site: site.layer or 0,
        )
        if not sites:
            return
        first = sites[0].layer or 0
        if self._own is not None:
            self._own.advance(first)
            self._values = self._own.collect(sites)
            if "mean" in self.kinds:
                self._means = {s: _mean(v, self.groups) for s, v in self._values.items()}
        if self._partner is not None:
            self._partner.advance(first)
            self._partner.collect(sites)

    def indices(self, group: Group) -> list[int]:
        """The touched positions of a group's prompts; under `all` the forced target's too, if any
        value may be computed for them."""
        if self.positions == "all" and self.kinds <= {"scale", "mean", "resample", "self"}:
            return list(range(group.ids.shape[1]))
        return self.positions.indices(group.prompt_length)

    def value(self, one: Intervention, touch: Touch, at: int, present: Tensor) -> Tensor:
        """What to write at a touch for group `at`: [batch, touched positions, …], or one to spread.

        present: what is there now, same axes.
        """
        import torch

        group = self.groups[at]
        if one.fill == "scale":
            return present * one.factor
        if one.fill == "mean":
            mean = self._means[touch.site]
            return mean if touch.head is None else mean[touch.head]
        wanted = self.indices(group)
        if one.fill == "self":
            return _of_head(self._values[touch.site][at][:, wanted], touch)
        if one.fill == "resample":
            others = self._drawn[one.seed][at]
            rows = [
                self._values[touch.site][g][
                    row, _from_the_end(wanted, group.prompt_length, self.groups[g])
                ]
                for g, row in others
            ]
            return _of_head(torch.stack(rows), touch)
        assert self._partner is not None
        rows = []
        for unit in group.units:
            source = _source(unit)
            where = meeting(self.positions, group.prompt_length, len(source))
            rows.append(self._partner.values_of(touch.site, source)[where])
        return _of_head(torch.stack(rows), touch)


class _PartnerLane(Lane):
    """The partner prompts' own run, grouped by their own lengths."""

    def __init__(
        self, replay: Replay, prompts: Sequence[tuple[int, ...]], rows: int, device: object
    ) -> None:
        import torch

        by_length: dict[int, list[tuple[int, ...]]] = {}
        for prompt in prompts:
            by_length.setdefault(len(prompt), []).append(prompt)
        self._place: dict[tuple[int, ...], Place] = {}
        batches: list[Tensor] = []
        for length in sorted(by_length, reverse=True):
            alike = by_length[length]
            for start in range(0, len(alike), rows):
                some = alike[start : start + rows]
                self._place |= {prompt: (len(batches), row) for row, prompt in enumerate(some)}
                batches.append(torch.tensor(some, device=device))
        super().__init__(replay, batches)
        self._found: dict[Site, list[Tensor]] = {}

    def collect(self, sites: Sequence[Site]) -> dict[Site, list[Tensor]]:
        self._found = super().collect(sites)
        return self._found

    def values_of(self, site: Site, prompt: tuple[int, ...]) -> Tensor:
        """The site's values on one prompt, [pos, …]."""
        batch, row = self._place[prompt]
        return self._found[site][batch][row]


def meeting(positions: Positions, length: int, source_length: int) -> list[int]:
    """Positions in the source that meet `positions.indices(length)`, in the same order.

    Raises BadInput where a source is too short for a listed position, or `all` meets another
    length.
    """
    wanted = positions.indices(length)
    if positions == "all" and length != source_length:
        raise BadInput(
            f"positions all: prompts of {length} and {source_length} tokens do not meet token by "
            "token; use --positions last_token, or pairs of equal length"
        )
    if positions in ("all", "first"):
        return wanted
    if positions == "last_token" or positions.startswith("final_"):
        return [max(0, source_length - length + position) for position in wanted]
    listed = {p % length: p for p in map(int, positions.split(","))}
    positions.indices(source_length)
    return [listed[position] % source_length for position in wanted]


def _from_the_end(wanted: Sequence[int], length: int, other: Group) -> list[int]:
    last = other.ids.shape[1] - 1
    return [min(last, max(0, other.prompt_length - length + position)) for position in wanted]


def _of_head(values: Tensor, touch: Touch) -> Tensor:
    return values if touch.head is None else values[:, :, touch.head]


def _mean(values: Sequence[Tensor], groups: Sequence[Group]) -> Tensor:
    """Mean over every token of every distinct prompt, in float32; the forced target apart."""
    import torch

    parts = [v[:, : g.prompt_length].float() for v, g in zip(values, groups, strict=True)]
    tokens = sum(len(group.units) * group.prompt_length for group in groups)
    total = torch.stack([part.sum((0, 1)) for part in parts]).sum(0)
    return (total / tokens).to(values[0].dtype)


def _draw_others(groups: Sequence[Group], seed: int) -> list[list[Place]]:
    """For each unit, the place of a unit with another prompt, drawn with `seed`."""
    places = [(g, row) for g, group in enumerate(groups) for row in range(len(group.units))]
    prompts = {place: groups[place[0]].units[place[1]].prompt for place in places}
    if len(set(prompts.values())) < 2:
        raise BadInput("resample-ablation needs at least two different prompts")

    def another(prompt: tuple[int, ...]) -> Place:
        rng = random.Random(f"resample:{seed}:{prompt}")
        while prompts[place := rng.choice(places)] == prompt:
            pass
        return place

    return [[another(unit.prompt) for unit in group.units] for group in groups]


def _source(unit: Unit) -> tuple[int, ...]:
    assert unit.source is not None
    return unit.source
