"""What a probe is: fitted on sentences of some problems, it scores sentences of others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from whence.anchors.probes.data import Floats, Labels, ProbeData
from whence.anchors.probes.settings import ProbeSettings

Reads = Literal["position", "text", "mean", "tokens", "vertical"]

State = tuple[dict[str, NDArray[Any]], dict[str, Any]]
"""Arrays (safetensors), and settings as JSON values."""


@dataclass(frozen=True)
class Fitting:
    """How to fit.

    settings: sizes and constants. fixed: the earlier study's constants instead of regularisation
    chosen by inner cross-validation over problems. seed: of everything random. validation: rows
    that early stopping may look at; None lets the probe hold out some of its training problems.
    device: for probes in torch.
    """

    settings: ProbeSettings = field(default_factory=ProbeSettings)
    fixed: bool = False
    seed: int = 0
    validation: tuple[ProbeData, Labels] | None = None
    device: str = "cpu"


class Fitted(ABC):
    """A fitted probe. `score` needs nothing but this object and data.

    notes: what was chosen while fitting (C, epochs, …), as JSON values, for reports.
    """

    notes: Mapping[str, Any]

    @property
    def counts_tokens(self) -> bool:
        """Whether scores rest on token counts, so that new text needs the model's tokenizer."""
        return False

    @abstractmethod
    def score(self, data: ProbeData) -> Floats:
        """Finite scores, higher for what the target is large in, [rows]. A probability for
        anchor_binary wherever the probe has one."""

    @abstractmethod
    def state(self) -> State:
        """Everything that `from_state` needs."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: State) -> Self:
        """The fitted probe again: equal scores on equal data."""


class Probe(ABC):
    """A kind of probe. name: in flags, columns and tables. reads: features it cannot do without.

    seeded: whether a training seed can change it; where not, seeds are no replicates. trained:
    False for what has nothing to fit. baseline: a trivial one, to compare with. fitted: the class
    that `from_state` belongs to.
    """

    name: ClassVar[str]
    reads: ClassVar[frozenset[Reads]]
    seeded: ClassVar[bool] = False
    trained: ClassVar[bool] = True
    baseline: ClassVar[bool] = False
    fitted: ClassVar[type[Fitted]]

    @abstractmethod
    def fit(self, data: ProbeData, labels: Labels, fitting: Fitting) -> Fitted:
        """Fit on these rows. Raises BadInput where they cannot carry a fit (one class only).

        What no seed changes (standardised columns, chosen regularisation) is remembered for the
        last `data` and `labels`, by identity: fit all probes and seeds of a fold one after another,
        on the same two objects.
        """


def finite(scores: NDArray[np.floating], name: str) -> Floats:
    """`scores` as float64 [rows]; WhenceError naming the probe where one is not finite."""
    from whence.errors import WhenceError

    values = np.asarray(scores, dtype=np.float64).reshape(-1)
    if not np.isfinite(values).all():
        raise WhenceError(f"{name}: scores are not finite; look for infinite activations")
    return values
