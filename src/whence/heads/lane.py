"""The undisturbed run of some prompts, held at one layer and moved on layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from whence.models.capture import reading
from whence.models.sites import Site

if TYPE_CHECKING:
    from torch import Tensor

    from whence.models.replay import Replay


class Lane:
    """What enters block `at` for every batch of ids [batch, pos].

    One layer is held at a time, so the memory is that of one hidden state a token.
    """

    def __init__(self, replay: Replay, batches: Sequence[Tensor]) -> None:
        self.replay, self.anatomy = replay, replay.anatomy
        self.at = 0
        self.hidden = [replay.enter(ids) for ids in batches]

    def advance(self, layer: int) -> None:
        """Run blocks up to, not including, `layer`. It only goes forwards."""
        assert layer >= self.at
        if layer > self.at:
            self.hidden = [self.replay.blocks(h, self.at, layer) for h in self.hidden]
            self.at = layer

    def collect(self, sites: Sequence[Site]) -> dict[Site, list[Tensor]]:
        """Values at sites of layer `at` or later, one tensor a batch, leaving the lane where it is.

        Axes as in `whence.models.sites`.
        """
        last = max(site.layer or 0 for site in sites)
        values: dict[Site, list[Tensor]] = {site: [] for site in sites}
        for hidden in self.hidden:
            found: dict[str, Tensor] = {}
            with reading(self.anatomy, sites, found):
                self.replay.blocks(hidden, self.at, last + 1)
            for site in sites:
                values[site].append(found[site.name])
        return values
