"""What a condition leaves on disk: tables, summary, heatmap; and what several say together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pyarrow as pa


class Measured(Protocol):
    """What `run_condition` returns, as far as this module reads it."""

    @property
    def per_example(self) -> pa.Table: ...
    @property
    def baseline(self) -> Mapping[str, Any]: ...
    @property
    def notes(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Tables:
    """One condition's results, as written; a table without rows is None."""

    run_id: str
    condition: str | None
    summary: Mapping[str, Any]
    head_impact: pa.Table | None
    layer_impact: pa.Table | None
    pair_impact: pa.Table | None
    subset_impact: pa.Table | None


def write_condition(
    folder: Path,
    result: Measured,
    *,
    run_id: str,
    condition: str | None,
    battery: Mapping[str, Any],
    model: Mapping[str, Any],
    metrics: Sequence[str] | None,
    corpus: Mapping[str, Any] | None = None,
) -> Tables:
    """Write `folder/metrics/*` and `folder/artifacts/impact_heatmap.*` of one condition.

    metrics: as a config lists them (`metrics.requested` completes them); None: all there are.
    battery: its dump (`type`, `method`, `positions`, `granularity`, `patch_direction`…).
    model: `name`, `n_layers`, `n_heads`, and anything else worth a line in the summary.
    """
    raise NotImplementedError


def write_cross_condition(folder: Path, conditions: Mapping[str, Tables], *, run_id: str) -> Path:
    """Write `folder/artifacts/cross_condition/*` and the heatmap of all conditions; its folder."""
    raise NotImplementedError


def read_condition(folder: Path) -> Tables:
    """What `write_condition` wrote into `folder`, for stitching runs together."""
    raise NotImplementedError
