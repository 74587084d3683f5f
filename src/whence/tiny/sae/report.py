"""`recovery.json`: what is measured of an SAE on text that it was not trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import TYPE_CHECKING, Any

from whence.tiny.sae.concepts import Concept, label
from whence.tiny.sae.recovery import (
    Choice,
    Half,
    axes,
    fit_of,
    probes,
    random_directions,
    recover,
)
from whence.tiny.world import World

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from whence.tiny.sae.passages import Passage

FEWEST = 10
"""A concept that has fewer tokens than that in either half is left out."""
DIGITS = 4


def two_halves(
    passages: Sequence[Passage], values: NDArray[Any], world: World
) -> tuple[Half, Half]:
    """Every other passage, and the rest; concepts with `FEWEST` tokens or more in both.

    values: [tokens, d_in], as `residual_stream` gives them.
    """
    import numpy as np
    import torch

    ends = np.cumsum([len(passage.spans) for passage in passages])
    of_passage = np.repeat(np.arange(len(passages)), np.diff(ends, prepend=0))
    labels = [label(passages[half::2], world) for half in (0, 1)]
    enough = [
        concept
        for concept in labels[0]
        if all(len(each.get(concept, ())) >= FEWEST for each in labels)
    ]
    first, second = (
        Half(
            torch.from_numpy(values[of_passage % 2 == half]).float(),
            {concept: labels[half][concept] for concept in enough},
        )
        for half in (0, 1)
    )
    return first, second


def measure(sae: Any, choosing: Half, judging: Half, seed: int) -> dict[str, Any]:
    """Fit on both halves together, and every concept's F1 beside what it is compared with."""
    import torch

    fit = fit_of(sae, torch.cat([choosing.x, judging.x]))
    found = recover(sae.encode, choosing, judging)
    others = {
        "random": recover(random_directions(choosing, sae.cfg.d_sae, seed), choosing, judging),
        "axes": recover(axes(choosing), choosing, judging),
        "probe": recover(probes(choosing), choosing, judging),
    }
    concepts = [
        _row(concept, choice, f1, others, choosing, judging)
        for concept, (choice, f1) in found.items()
    ]
    return {
        "explained_variance": round(fit.explained_variance, DIGITS),
        "l0": round(fit.l0, DIGITS),
        "dead_features": fit.dead,
        "groups": _groups(concepts),
        "concepts": concepts,
    }


def _row(
    concept: Concept,
    choice: Choice,
    f1: float,
    others: Mapping[str, Mapping[Concept, tuple[Choice, float]]],
    choosing: Half,
    judging: Half,
) -> dict[str, Any]:
    return {
        **asdict(concept),
        "tokens_chosen_on": len(choosing.concepts[concept]),
        "tokens": len(judging.concepts[concept]),
        "feature": choice.feature,
        "threshold": choice.threshold,
        "f1": round(f1, DIGITS),
        **{f"f1_{name}": round(each[concept][1], DIGITS) for name, each in others.items()},
    }


def _groups(concepts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """By group: median and lowest F1, and the medians beside it. In the order of `concepts`."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for each in concepts:
        groups.setdefault(each["group"], []).append(each)
    return [
        {
            "group": group,
            "concepts": len(rows),
            "f1_median": round(median(row["f1"] for row in rows), DIGITS),
            "f1_lowest": min(row["f1"] for row in rows),
            "lowest": min(rows, key=lambda row: row["f1"])["name"],
            **{
                f"{name}_median": round(median(row[name] for row in rows), DIGITS)
                for name in ("f1_random", "f1_axes", "f1_probe")
            },
        }
        for group, rows in groups.items()
    ]
