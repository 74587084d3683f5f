"""What a stage of `anchors run` costs: texts read, probes fitted, bytes kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from whence.anchors.features.plan import stored_bytes
from whence.anchors.features.wanted import Wanted
from whence.sweep.campaigns.anchors_layers import shape_of
from whence.sweep.campaigns.anchors_parts import Parts
from whence.sweep.campaigns.anchors_tasks import Extraction, fits_of
from whence.sweep.campaigns.campaign import Cost

if TYPE_CHECKING:
    from whence.anchors.study import StudyConfig

CHARACTERS_A_TOKEN = 3.5
"""Of English reasoning, on the low side, so that bytes are on the high one."""


def cost_of(
    configs: Sequence[StudyConfig], parts: Parts, found: Sequence[Extraction], done: Sequence[bool]
) -> Cost:
    """configs: every entry's. found: the passes, and whether each was done by an earlier stage."""
    notes = []
    to_do = [each for each, there in zip(found, done, strict=True) if not there]
    if len(to_do) < len(found):
        notes.append(f"{len(found) - len(to_do)} of {len(found)} passes were made before")
    if any("tokens" in each.poolings for each in to_do):
        notes.append(
            f"bytes of tokens are estimated, at {CHARACTERS_A_TOKEN} characters a token; "
            "`whence anchors storage` counts them"
        )
    notes.append("fits include those of the tripwires, 21 a run")
    notes.append("bytes of anything but features")
    notes.append("fits that evaluations share, which make them quicker than they are told to be")
    runs = [run for each in found for run in each.runs]
    own = [(config, parts.of(config)) for config in configs]
    return Cost(
        forwards=sum(len(each.traces) for each in to_do),
        trainings=sum(run.fits for run in runs),
        bytes=sum(map(_bytes, to_do)),
        naive_forwards=sum(len(part.texts.source.traces) for _, part in own),
        naive_trainings=sum(fits_of(config, part) for config, part in own),
        notes=notes,
    )


def _bytes(each: Extraction) -> int:
    shape = shape_of(str(each.model["model"]))
    tokens = int(each.characters / CHARACTERS_A_TOKEN)
    total = 0
    for kind in each.kinds.values():
        wanted = Wanted(
            layers=tuple(each.layers),
            poolings=each.poolings,
            vertical=kind.vertical(),
            storage_dtype=each.model["storage_dtype"],
        )
        total += sum(stored_bytes(each.sentences, tokens, wanted, shape).values())
    return total
