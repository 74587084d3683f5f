"""Recomputing the problems of an index one by one, each kept on disk as soon as it is done."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from whence.anchors.labels.recompute import Measured, recompute
from whence.anchors.labels.settings import NONE, RecomputeSettings
from whence.anchors.labels.similarity import similarities
from whence.anchors.rollouts.opened import Index
from whence.anchors.rollouts.problem import Problem
from whence.runs.fingerprint import fingerprint
from whence.runs.jsonfile import read_json, write_json
from whence.text.embedding import Embedder, open_embedder


@dataclass
class Recomputer:
    """shards: folder of what is done; a run that goes on finds it there.

    The embedding model is loaded when the first problem that is not done needs it.
    """

    index: Index
    settings: RecomputeSettings
    shards: Path

    @cached_property
    def embed(self) -> Embedder | None:
        if self.settings.embedding_model == NONE:
            return None
        return open_embedder(self.settings.embedding_model, self.settings.device)

    def __call__(self, problem: Problem) -> list[Measured]:
        """Importances of a problem's sentences, in their order. Raises BadInput for bad files."""
        shard = self.shards / f"problem_{problem.problem_id}.json"
        if shard.is_file():
            return [_measured(row) for row in read_json(shard)]
        found = self._recompute(problem)
        write_json(shard, [_row(each) for each in found])
        return found

    def _recompute(self, problem: Problem) -> list[Measured]:
        rollouts = self.index.rollouts(problem)
        forced = self.index.forced_rollouts(problem)
        cosines = None
        if self.embed is not None:
            cosines = dict(zip(rollouts, similarities(rollouts.values(), self.embed), strict=True))
        # One generator a problem, so that no number depends on which problems came before.
        seed = int(fingerprint([self.settings.seed, problem.problem_id])[:16], 16)
        numbers = [sentence.number for sentence in problem.sentences]
        rng = np.random.default_rng(seed)
        return recompute(numbers, rollouts, forced, cosines, self.settings.method(), rng)


def _row(measured: Measured) -> dict[str, Any]:
    values = {name: None if math.isnan(value) else value for name, value in measured.values.items()}
    return {"values": values, "why": measured.why}


def _measured(row: Any) -> Measured:
    values = {name: math.nan if value is None else value for name, value in row["values"].items()}
    return Measured(values, row["why"])
