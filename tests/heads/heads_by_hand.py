"""What the tests of interventions share: running a battery, and the same by hand with hooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import zoo

from whence.heads.battery import parse_battery
from whence.heads.condition import ConditionResult, run_condition
from whence.heads.corpora import read_corpus
from whence.heads.prompts import Examples, prepare
from whence.heads.reading import Reading
from whence.models.anatomy import find_anatomy
from whence.models.load import Loaded

EXACT = 1e-4


def measured(
    loaded: Loaded, corpus: Path, battery: dict[str, Any], shards: Path, **reading: Any
) -> tuple[ConditionResult, Examples]:
    settings = Reading(**reading)
    examples = prepare(
        read_corpus(corpus),
        loaded.tokenizer,
        prepend_bos=settings.prepend_bos,
        metric_span=settings.metric_span,
        multi_token="first",
    )
    result = run_condition(
        loaded,
        find_anatomy(loaded.model),
        examples,
        parse_battery(battery, "test"),
        settings,
        shards,
    )
    return result, examples


def forward(
    loaded: Loaded, ids: tuple[int, ...], layer: int | None = None, edit: Any = None
) -> torch.Tensor:
    """Logits [pos, vocab] of the plain model, `edit` on what one projection reads."""
    return forward_copies(loaded, ids, 1, layer, edit)[0]


def forward_copies(
    loaded: Loaded, ids: tuple[int, ...], copies: int, layer: int | None = None, edit: Any = None
) -> torch.Tensor:
    """Logits [copy, pos, vocab] of one prompt several times over, for edits that differ by copy."""
    handles = []
    if edit is not None:
        projection = zoo.output_projections(loaded.model)[layer or 0]

        def hook(_module: Any, args: Any) -> Any:
            return (edit(args[0].clone()), *args[1:])

        handles.append(projection.register_forward_pre_hook(hook))
    try:
        with torch.no_grad():
            logits = loaded.model(torch.tensor([ids] * copies)).logits.float()
    finally:
        for handle in handles:
            handle.remove()
    return logits


def without(head: int, factor: float, heads: int) -> Any:
    def edit(z: torch.Tensor) -> torch.Tensor:
        z.unflatten(-1, (heads, -1))[..., head, :] *= factor
        return z

    return edit
