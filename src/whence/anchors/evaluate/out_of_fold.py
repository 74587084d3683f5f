"""Scores of every problem by probes that were fitted without it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from whence.anchors.evaluate.fits import Scores, Training, fit, kept, training
from whence.anchors.evaluate.folds import PROBLEMS, outer_folds
from whence.anchors.evaluate.material import Material, Rows
from whence.anchors.probes.data import Floats, ProbeData
from whence.anchors.probes.probe import Probe
from whence.anchors.sentences import problems_of
from whence.runs.progress import Progress

PLAIN, RESIDUAL = "score_", "residual_score_"
LEFT = "left"
"""Name of what a fold's training problems leave of the importance."""


@dataclass
class HeldOut:
    """scores: (column prefix, probe) → seed → [rows of the table], NaN for rows in no fold.

    fold: seed → fold of each row, −1 for none. left: seed → residual importances, of the fold that
    holds the row out. notes: probe → "seed s, fold k" → what the fit chose. varying: probes that a
    seed changes, by training or by dealing the folds.
    """

    problems: list[str]
    varying: frozenset[str]
    scores: dict[tuple[str, str], dict[int, Floats]] = field(default_factory=dict)
    fold: dict[int, Rows] = field(default_factory=dict)
    left: dict[int, Floats] = field(default_factory=dict)
    notes: dict[str, dict[str, Mapping[str, Any]]] = field(default_factory=dict)


def out_of_fold(material: Material, folds: str, folder: Path) -> HeldOut:
    """Fit and score everything; finished fits are kept in `folder`, one file each.

    What no seed changes is fitted once a fold. All probes and seeds of a fold are fitted on the
    same object, so that what they derive from it is derived once.
    """
    config = material.config
    problems = problems_of(material.frame[material.has_label])
    varying = frozenset(
        probe.name
        for probe in material.probes
        if probe.seeded or (probe.trained and folds != PROBLEMS)
    )
    found = HeldOut(problems, varying)
    plans = _plans(problems, folds, config.seeds)
    jobs = [
        (plan_seed, fold, number, seeds)
        for plan_seed, plan, seeds in plans
        for number, fold in enumerate(plan)
    ]
    first = config.seeds[0]
    per_fold = 1 if config.residualize == "none" else 2
    total = per_fold * sum(
        len(_seeds(probe, varying, seeds, first)) for *_, seeds in jobs for probe in material.probes
    )
    with Progress("cross-validation", total, "fits") as progress:
        for plan_seed, fold, number, seeds in jobs:
            part = _Fold(material, fold, number, plan_seed, folder)
            for seed in seeds:
                found.fold.setdefault(seed, np.full(len(material.data), -1))[part.held] = number
            for prefix in (PLAIN, RESIDUAL)[:per_fold]:
                for probe in material.probes:
                    for seed in _seeds(probe, varying, seeds, first):
                        own = part.scores(prefix, probe, seed)
                        place = found.scores.setdefault((prefix, probe.name), {})
                        empty = np.full(len(material.data), np.nan)
                        place.setdefault(seed, empty)[part.held] = own.values
                        if prefix == PLAIN and own.notes:
                            notes = found.notes.setdefault(probe.name, {})
                            notes[f"seed {seed}, fold {number}"] = own.notes
                        progress.advance()
            if per_fold == 2:
                values = part.residual()
                for seed in seeds:
                    empty = np.full(len(material.data), np.nan)
                    found.left.setdefault(seed, empty)[part.held] = values[part.held]
    return found


def _plans(
    problems: Sequence[str], folds: str, seeds: Sequence[int]
) -> Iterator[tuple[int, list[list[str]], Sequence[int]]]:
    """(seed that dealt the folds, the folds, seeds that use them)."""
    if folds == PROBLEMS:
        yield seeds[0], outer_folds(problems, folds, seeds[0]), seeds
        return
    for seed in seeds:
        yield seed, outer_folds(problems, folds, seed), (seed,)


def _seeds(
    probe: Probe, varying: frozenset[str], seeds: Sequence[int], first: int
) -> Sequence[int]:
    if probe.name in varying:
        return seeds
    return [seed for seed in seeds if seed == first]


class _Fold:
    """One fold under way. What is taken from the table is taken when first needed: where every fit
    of the fold was kept by an earlier attempt, nothing is."""

    def __init__(
        self, material: Material, fold: Sequence[str], number: int, plan_seed: int, folder: Path
    ) -> None:
        self.material, self.number, self.plan_seed, self.folder = (
            material,
            number,
            plan_seed,
            folder,
        )
        everyone = problems_of(material.frame[material.has_label])
        self.train = material.rows_of(
            [each for each in everyone if each not in set(fold)], with_label=True
        )
        self.held = material.rows_of(fold, with_label=False)
        self._given: ProbeData | None = None
        self._training: dict[str, Training] = {}
        self._left: Floats | None = None

    def scores(self, prefix: str, probe: Probe, seed: int) -> Scores:
        """Scores of the rows held out."""
        name = f"{prefix}{probe.name}-seed_{seed}-fold_{self.number}.json"

        def compute() -> Scores:
            where = f"fold {self.number}"
            fitted = fit(self.material, probe, self._trained_on(prefix), seed, where)
            if self._given is None:
                self._given = self.material.data.take(self.held)
            return Scores(fitted.score(self._given), dict(fitted.notes))

        return kept(self.folder / name, compute)

    def residual(self) -> Floats:
        """What position (and text), fitted on the training problems, leave; [rows of the table]."""
        if self._left is None:
            self._left = self.material.residual(self.train)
        return self._left

    def _trained_on(self, prefix: str) -> Training:
        if prefix not in self._training:
            y = self.material.y
            if prefix == RESIDUAL:
                y = self.material.residual_y(self.residual())
            self._training[prefix] = training(self.material, y, self.train, None)
        return self._training[prefix]
