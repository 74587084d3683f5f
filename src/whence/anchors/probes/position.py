"""What a sentence's place alone says about its importance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from whence.anchors.probes.data import Floats, Labels, ProbeData
from whence.anchors.probes.linear import LinearProbe
from whence.anchors.probes.probe import Fitted, Fitting, Probe, Reads, State, finite


class EarlierFirst(Fitted):
    """Minus the relative position: the earlier, the higher."""

    notes: Mapping[str, Any] = {}

    def score(self, data: ProbeData) -> Floats:
        place = data.frame["relative_position"].to_numpy(dtype=np.float64, na_value=np.nan)
        return finite(0.0 - place, "position_untrained")

    def state(self) -> State:
        return {}, {}

    @classmethod
    def from_state(cls, state: State) -> Self:
        return cls()


class PositionUntrained(Probe):
    """Nothing is fitted. Any probe that does not beat this has learnt where sentences stand."""

    name = "position_untrained"
    reads: ClassVar[frozenset[Reads]] = frozenset({"position"})
    trained = False
    baseline = True
    fitted = EarlierFirst

    def fit(self, data: ProbeData, labels: Labels, fitting: Fitting) -> EarlierFirst:
        return EarlierFirst()


class PositionBaseline(LinearProbe):
    """The earlier study's four position features."""

    name = "position_baseline"
    reads: ClassVar[frozenset[Reads]] = frozenset({"position"})
    baseline = True
    blocks = ("position",)
