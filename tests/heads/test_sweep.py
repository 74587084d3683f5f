"""The sweep against brute force: one intervention, one prompt, the model's own forward pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zoo

from whence.heads.battery import parse_battery
from whence.heads.condition import ConditionResult, run_condition
from whence.heads.corpora import read_corpus
from whence.heads.prompts import Examples, prepare
from whence.heads.reading import Reading
from whence.models.anatomy import find_anatomy
from whence.models.load import Loaded, load_model

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
    """Log-probabilities [pos, vocab] of the plain model, `edit` on what one projection reads."""
    handles = []
    if edit is not None:
        projection = zoo.output_projections(loaded.model)[layer or 0]

        def hook(_module: Any, args: Any) -> Any:
            return (edit(args[0].clone()), *args[1:])

        handles.append(projection.register_forward_pre_hook(hook))
    try:
        with torch.no_grad():
            logits = loaded.model(torch.tensor([ids])).logits[0].float()
    finally:
        for handle in handles:
            handle.remove()
    return logits


def without(head: int, factor: float, heads: int) -> Any:
    def edit(z: torch.Tensor) -> torch.Tensor:
        z.unflatten(-1, (heads, -1))[..., head, :] *= factor
        return z

    return edit


@pytest.mark.parametrize("name", zoo.ARCHITECTURES)
def test_every_head_of_every_architecture(
    name: str, zoo_folder: Callable[[str], Path], small_corpus: Path, tmp_path: Path
) -> None:
    loaded = load_model(str(zoo_folder(name)))
    battery = {"type": "heads_zero", "scales": [0.0, 0.5]}
    result, examples = measured(loaded, small_corpus, battery, tmp_path)
    table = result.per_example.to_pandas()
    assert len(table) == 2 * zoo.LAYERS * zoo.HEADS * len(examples.rows)
    by_row = {row.example: row for row in examples.rows}
    clean = {row.example: forward(loaded, row.clean)[-1] for row in examples.rows}
    effects = []
    for found in table.itertuples():
        row, c = by_row[found.example], clean[found.example]
        a = forward(loaded, row.clean, found.layer, without(found.head, found.scale, zoo.HEADS))[-1]
        t, f = row.target[0], row.foil[0]
        log_c, log_a = c.log_softmax(-1), a.log_softmax(-1)
        assert found.logit_diff == pytest.approx(float(a[t] - a[f]), abs=EXACT)
        assert found.clean_logit_diff == pytest.approx(float(c[t] - c[f]), abs=EXACT)
        assert found.p_target == pytest.approx(float(log_a[t].exp()), abs=EXACT)
        kl = float((log_c.exp() * (log_c - log_a)).sum())
        assert found.kl_div == pytest.approx(kl, abs=EXACT, rel=1e-3)
        assert found.predicted == int(a.argmax())
        assert found.clean_predicted == int(c.argmax())
        effects.append(found.logit_diff - found.clean_logit_diff)
    assert np.abs(effects).max() > 0.1
