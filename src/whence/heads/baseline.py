"""The undisturbed run, always stored, and the table of what each intervention did beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from whence.heads.groups import Unit
from whence.heads.interventions import Intervention
from whence.heads.prompts import Examples
from whence.stats.intervals import Interval, cluster_bootstrap

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


@dataclass(frozen=True)
class Baseline:
    """Readings of the undisturbed run, name → [examples], beside what they are readings of.

    source_logit_diff: that of each example's partner prompt, [examples], for patches. noise: what
    arithmetic alone moves a logit difference by.
    """

    examples: Examples
    units: Sequence[Unit]
    readings: Mapping[str, np.ndarray]
    source_logit_diff: np.ndarray | None = None
    noise: float | None = None

    @property
    def prompt(self) -> list[int]:
        """A number for the distinct prompt of each example: the unit that intervals resample."""
        number: dict[tuple[int, ...], int] = {}
        return [number.setdefault(unit.prompt, len(number)) for unit in self.units]

    def summary(self) -> dict[str, Any]:
        """For summary.json: the clean run with intervals, and how prompts were read."""
        examples, readings = self.examples, self.readings
        right = [
            float(predicted == row.target[0])
            for predicted, row in zip(readings["predicted"], examples.rows, strict=True)
        ]
        measured: dict[str, Any] = {
            "logit_diff": readings["logit_diff"],
            "p_target": readings["p_target"],
            "accuracy": right,
        }
        if self.source_logit_diff is not None:
            measured["source_logit_diff"] = self.source_logit_diff
        clean: dict[str, Any] = {}
        for name, values in measured.items():
            clean[name] = float(sum(values) / len(values))
            found = cluster_bootstrap(values, self.prompt)
            ends = [found.low, found.high] if isinstance(found, Interval) else None
            clean[f"{name}_interval"] = ends
        return {
            "clean": clean,
            "n_prompts": len(set(self.prompt)),
            "n_examples": len(examples.rows),
            "excluded": {reason: list(rows) for reason, rows in examples.excluded.items()},
            "noise_logit_diff": self.noise,
            "bos": examples.bos,
            "truncated": examples.truncated,
            "first_of_several_tokens": examples.multi_token,
        }


def example_rows(
    asked: Sequence[Intervention],
    members: Sequence[int],
    readings: Mapping[str, np.ndarray],
    baseline: Baseline,
) -> pa.Table:
    """One row per intervention in `members` (positions in `asked`) and example.

    readings: name → [members, examples]. Columns: docs/files.md; `row` is the example's position.
    """
    import numpy as np
    import pyarrow as pa

    rows = baseline.examples.rows
    count, width = len(members), len(rows)

    def per_intervention(values: list[Any], kind: Any) -> pa.Array:
        return pa.array([value for value in values for _ in range(width)], kind)

    def per_example(values: Any, kind: Any) -> pa.Array:
        return pa.array(np.tile(np.asarray(values), count), kind)

    some = [asked[at] for at in members]
    clean = baseline.readings
    columns: dict[str, pa.Array] = {
        "intervention": per_intervention(list(members), pa.int32()),
        "kind": per_intervention([one.kind for one in some], pa.string()),
        "label": per_intervention([one.label for one in some], pa.string()),
        "heads": per_intervention([one.heads for one in some], pa.string()),
        "layer": per_intervention([one.layer for one in some], pa.int32()),
        "head": per_intervention([one.head for one in some], pa.int32()),
        "scale": per_intervention([one.scale for one in some], pa.float64()),
        "seed": per_intervention([one.seed for one in some], pa.int64()),
        "row": per_example(range(width), pa.int32()),
        "example": per_example([row.example for row in rows], pa.int32()),
        "prompt": per_example(baseline.prompt, pa.int32()),
        "target_id": per_example([row.target[0] for row in rows], pa.int32()),
    }
    for name in ("logit_diff", "p_target", "seq_logprob"):
        if name in readings:
            columns[f"clean_{name}"] = per_example(clean[name], pa.float64())
    for name, values in readings.items():
        kind = pa.int32() if name == "predicted" else pa.float64()
        columns[name] = pa.array(values.reshape(-1).astype(kind.to_pandas_dtype()), kind)
    columns["clean_predicted"] = per_example(clean["predicted"].astype("int32"), pa.int32())
    if baseline.source_logit_diff is not None:
        columns["source_logit_diff"] = per_example(baseline.source_logit_diff, pa.float64())
    return pa.table(columns)
