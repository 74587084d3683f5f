"""Columns brought to mean 0 and variance 1 on the rows they are fitted on."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from whence.anchors.probes.columns import Matrix, beside
from whence.anchors.probes.data import Floats, ProbeData


@dataclass(frozen=True)
class Standardised:
    """values: [rows, columns]. centre, scale: of each column; 1 where a column does not vary."""

    values: Matrix
    centre: Floats
    scale: Floats

    def apply(self, columns: Matrix) -> Matrix:
        """Other rows on the same scale."""
        return np.asarray((columns - self.centre) / self.scale, dtype=columns.dtype)


@dataclass(frozen=True)
class _Last:
    data: weakref.ref[ProbeData]
    blocks: tuple[str, ...]
    table: Standardised


_last: list[_Last] = []


def standardised(data: ProbeData, blocks: Sequence[str]) -> Standardised:
    """The blocks of `data`, standardised by scikit-learn.

    The last answer is kept while its data live: probes and seeds of one fold share it. It is known
    by the identity of `data`, whose arrays nobody changes.
    """
    for last in _last:
        if last.data() is data and last.blocks == tuple(blocks):
            return last.table
    from sklearn.preprocessing import StandardScaler

    columns = beside(data, blocks)
    scaler = StandardScaler().fit(columns)
    table = Standardised(
        values=np.asarray(scaler.transform(columns), dtype=columns.dtype),
        centre=np.asarray(scaler.mean_, dtype=np.float64),
        scale=np.asarray(scaler.scale_, dtype=np.float64),
    )
    _last[:] = [_Last(weakref.ref(data, _forget), tuple(blocks), table)]
    return table


def _forget(gone: weakref.ref[ProbeData]) -> None:
    _last[:] = [last for last in _last if last.data is not gone]
