"""Which rows to read for a feature: those where it should be strongest, and a fair sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whence.errors import BadInput
from whence.sae.localize.wanted import Wanted
from whence.sae.store import Layer

CANDIDATES = 4
"""Times as many rows are read as are shown: the highest mean need not have the highest token."""


@dataclass(frozen=True)
class ChosenRows:
    """Rows of the extraction. strongest: by mean activation, highest first. sampled: drawn from all
    that have the feature, ascending. present: how many have it.
    """

    strongest: list[int]
    sampled: list[int]
    present: int

    @property
    def read(self) -> list[int]:
        """Every row to be read, ascending."""
        return sorted({*self.strongest, *self.sampled})


def choose_rows(
    layer: Layer, wanted: Wanted, *, examples: int, sample: int, seed: int
) -> ChosenRows:
    """Rows for one feature of one layer. Raises BadInput where no row has it.

    Folders of the earlier system have no means: the sample alone is read.
    """
    present = np.flatnonzero(_column(layer.presence, wanted.feature))
    if not len(present):
        raise BadInput(
            f"--features {wanted.feature}: no row of {layer.file} has this feature of "
            f"{layer.sae_id}"
        )
    rng = np.random.default_rng([seed, wanted.feature])
    sampled = np.sort(rng.choice(present, size=min(sample, len(present)), replace=False))
    strongest: list[int] = []
    if layer.activation_mean is not None:
        means = _column(layer.activation_mean, wanted.feature)[present]
        order = present[np.lexsort((present, -means))]
        strongest = [int(row) for row in order[: CANDIDATES * examples]]
    return ChosenRows(strongest, [int(row) for row in sampled], len(present))


def _column(matrix: object, feature: int) -> NDArray[np.float64]:
    column = matrix[:, [feature]].toarray().ravel()  # type: ignore[index]
    return np.asarray(column, dtype=np.float64)
