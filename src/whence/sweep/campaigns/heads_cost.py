"""What a condition costs, by its battery, its rows and the model's config.json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from whence.errors import BadInput
from whence.heads.battery import ActivationPatch
from whence.heads.conditions import Source
from whence.heads.interventions import interventions

if TYPE_CHECKING:
    from whence.anchors.features.plan import Shape
    from whence.heads.plan import Condition

UNDISTURBED = 2
"""Passes without a change: one is read, one is what replays begin from (`whence.heads.sweep`)."""


def forwards_of(condition: Condition, source: Source, shape: Shape) -> int:
    """Forward passes of prompts. A replay that begins in block L of n counts (n − L)/n:
    over all H heads of all layers Σ_L H · (n − L)/n passes a prompt.

    Raises BadInput for layers and heads that the model has not, and rows that cannot be read.
    """
    seeds: Sequence[int] = condition.settings.get("seeds", (0,))
    # Layers and heads are all that the list of interventions asks of a model.
    asked = interventions(condition.battery, cast("Any", shape), tuple(dict.fromkeys(seeds)))
    replayed = sum(shape.n_layers - one.start for one in asked) / shape.n_layers
    whole = UNDISTURBED + isinstance(condition.battery, ActivationPatch)
    rows = _rows(condition, source)
    subsample = condition.settings.get("subsample")
    if subsample is not None:
        if subsample > rows:
            raise BadInput(f"subsample {subsample}: {source.corpus} has {rows} rows to draw from")
        rows = min(rows, subsample * len(set(seeds)))
    return round(rows * (whole + replayed))


def _rows(condition: Condition, source: Source) -> int:
    from whence.heads.corpora import Fields, read_corpus, read_split

    keys = condition.dataset
    fields = Fields(**{name: getattr(keys, name) for name in Fields.model_fields})
    rows = len(read_corpus(source.corpus, fields))
    if source.split is not None:
        rows = len(read_split(source.split, rows, source.corpus).part(keys.split))
    if not rows:
        raise BadInput(f"{source.split}: its {keys.split} part is empty")
    return rows
