"""Columns brought to mean 0 and variance 1 on the rows they are fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from whence.anchors.probes.columns import Matrix, beside
from whence.anchors.probes.data import Floats, ProbeData
from whence.anchors.probes.remembered import Remembered


@dataclass(frozen=True)
class Standardised:
    """values: [rows, columns]. centre, scale: of each column; 1 where a column does not vary."""

    values: Matrix
    centre: Floats
    scale: Floats

    def apply(self, columns: Matrix) -> Matrix:
        """Other rows on the same scale."""
        return np.asarray((columns - self.centre) / self.scale, dtype=columns.dtype)


_remembered: Remembered[Standardised] = Remembered()


def standardised(data: ProbeData, blocks: Sequence[str]) -> Standardised:
    """The blocks of `data`, standardised by scikit-learn.

    The last answer is remembered: probes and seeds of one fold share it.
    """
    return _remembered.get(data, None, tuple(blocks), lambda: _standardise(beside(data, blocks)))


def _standardise(columns: Matrix) -> Standardised:
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(columns)
    return Standardised(
        values=np.asarray(scaler.transform(columns), dtype=columns.dtype),
        centre=np.asarray(scaler.mean_, dtype=np.float64),
        scale=np.asarray(scaler.scale_, dtype=np.float64),
    )
