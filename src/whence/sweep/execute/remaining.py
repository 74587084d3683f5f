"""How long what is left will take, by what tasks of each kind took."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass
class _Kind:
    """One kind. left: work not done. earlier, own: (seconds, work) of finished tasks, before this
    run of the driver and in it."""

    left: float = 0.0
    at_once: float = 1.0
    earlier: tuple[float, float] = (0.0, 0.0)
    own: tuple[float, float] = (0.0, 0.0)


@dataclass
class Remaining:
    """An estimate that learns. trial: kind → seconds per work, measured when the stage was planned,
    used until a task of the kind has finished."""

    trial: Mapping[str, float]
    _kinds: dict[str, _Kind] = field(default_factory=dict)

    def expect(self, kind: str, work: float, at_once: float) -> None:
        """A task to be done. at_once: how many like it run side by side."""
        own = self._kinds.setdefault(kind, _Kind())
        own.left += work
        own.at_once = at_once

    def learn(self, kind: str, work: float, seconds: float) -> None:
        """A task of an earlier run of the driver took so long."""
        own = self._kinds.setdefault(kind, _Kind())
        own.earlier = (own.earlier[0] + seconds, own.earlier[1] + work)

    def finish(self, kind: str, work: float, seconds: float | None) -> None:
        """A task ended for good; seconds: None where they say nothing of its kind."""
        own = self._kinds[kind]
        own.left = max(0.0, own.left - work)
        if seconds is not None:
            own.own = (own.own[0] + seconds, own.own[1] + work)

    def seconds(self, running: Iterable[tuple[str, float, float]] = ()) -> float | None:
        """Seconds until the end; None while a kind that is left was never timed.

        running: (kind, work, seconds so far) of tasks under way.
        """
        under_way: dict[str, float] = {}
        for kind, work, so_far in running:
            pace = self.pace(kind)
            spent = so_far if pace is None else min(so_far, pace * work)
            under_way[kind] = under_way.get(kind, 0.0) + spent
        total = 0.0
        for kind, own in self._kinds.items():
            if own.left <= 0:
                continue
            pace = self.pace(kind)
            if pace is None:
                return None
            total += max(0.0, pace * own.left - under_way.get(kind, 0.0)) / own.at_once
        return total

    def pace(self, kind: str) -> float | None:
        """Seconds per work: of this run, else of earlier ones, else of the trial."""
        own = self._kinds.get(kind, _Kind())
        for seconds, work in (own.own, own.earlier):
            if work > 0:
                return seconds / work
        return self.trial.get(kind)
