"""What probes and seeds of one fold share, computed once: the last value, while its data live."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from whence.anchors.probes.data import Labels, ProbeData

Value = TypeVar("Value")


@dataclass(frozen=True)
class _Kept(Generic[Value]):
    data: weakref.ref[ProbeData]
    labels: weakref.ref[Labels] | None
    key: Hashable
    value: Value


class Remembered(Generic[Value]):
    """One value and what it was computed from. Data and labels are known by identity (their arrays
    are never changed), so nothing is hashed, and the value goes when they do."""

    def __init__(self) -> None:
        self._kept: _Kept[Value] | None = None

    def get(
        self,
        data: ProbeData,
        labels: Labels | None,
        key: Hashable,
        compute: Callable[[], Value],
    ) -> Value:
        """The remembered value for these very objects and an equal key, else a computed one."""
        kept = self._kept
        if kept is not None and kept.data() is data and kept.key == key:
            of_labels = None if kept.labels is None else kept.labels()
            if labels is of_labels:
                return kept.value
        value = compute()
        own = None if labels is None else weakref.ref(labels)
        self._kept = _Kept(weakref.ref(data, self._forget), own, key, value)
        return value

    def _forget(self, gone: weakref.ref[ProbeData]) -> None:
        if self._kept is not None and self._kept.data is gone:
            self._kept = None
