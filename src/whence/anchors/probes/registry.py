"""Every probe by name."""

from __future__ import annotations

import difflib

from whence.anchors.probes.length_tag import LengthTag
from whence.anchors.probes.linear import (
    ActivationsPlusPosition,
    LinearActivations,
    VerticalAttention,
    VerticalAttentionPlusPosition,
)
from whence.anchors.probes.mlp import Mlp
from whence.anchors.probes.position import PositionBaseline, PositionUntrained
from whence.anchors.probes.probe import Probe
from whence.anchors.probes.text import TextOnly
from whence.anchors.probes.token_probes import AttentionProbe, MultiMaxProbe
from whence.errors import BadInput

_IN_ORDER: tuple[Probe, ...] = (
    PositionUntrained(),
    PositionBaseline(),
    TextOnly(),
    LengthTag(),
    LinearActivations(),
    Mlp(),
    ActivationsPlusPosition(),
    VerticalAttention(),
    VerticalAttentionPlusPosition(),
    AttentionProbe(),
    MultiMaxProbe(),
)

PROBES: dict[str, Probe] = {probe.name: probe for probe in _IN_ORDER}
BASELINES: tuple[str, ...] = tuple(probe.name for probe in _IN_ORDER if probe.baseline)


def probe_named(name: str) -> Probe:
    """The probe of that name. Raises BadInput with the nearest there is."""
    if name in PROBES:
        return PROBES[name]
    near = difflib.get_close_matches(name, PROBES, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}? " if near else ""
    raise BadInput(f"no probe {name!r}; {hint}The probes are {', '.join(PROBES)}")
