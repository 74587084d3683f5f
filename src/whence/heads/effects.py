"""Mean effects of interventions with their intervals, from the table of examples.

The examples of one seed form a grid, interventions × examples: every intervention was made on the
same examples, so all of them share one set of resampled prompts (`whence.stats.many`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from whence.errors import BadInput, WhenceError
from whence.heads.metrics import derive

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from whence.stats.many import ManyDifferences

Floats = NDArray[np.float64]


class Intervention(NamedTuple):
    """What was done, as the columns of `per_example` name it; the same under every seed."""

    kind: str
    label: str
    heads: str
    layer: int | None
    head: int | None
    scale: float | None


@dataclass(frozen=True)
class Grid:
    """All interventions made under one seed (or, `together`, under several: seed is None).

    columns: name → [interventions, examples]. prompts: the cluster of each example [examples].
    weights: of the examples in a mean [examples], or None where they weigh alike.
    """

    seed: int | None
    interventions: Sequence[Intervention]
    examples: NDArray[np.int64]
    prompts: NDArray[np.int64]
    columns: Mapping[str, NDArray[Any]]
    weights: Floats | None = None

    def of_kind(self, *kinds: str) -> list[int]:
        """Which interventions are of these kinds."""
        return [n for n, made in enumerate(self.interventions) if made.kind in kinds]

    def mean(self, values: Floats) -> Floats:
        """Mean over examples of `values` [..., examples]."""
        if self.weights is None:
            return np.asarray(values.mean(axis=-1))
        return np.asarray(values @ self.weights / self.weights.sum())

    def differences(self, deltas: Floats, **settings: Any) -> ManyDifferences:
        """Means of `deltas` [comparisons, examples], prompts resampled."""
        from whence.stats.many import many_differences

        return many_differences(deltas.T, self.prompts, weights=self.weights, **settings)


def grids(per_example: pa.Table) -> list[Grid]:
    """One grid per seed, in order; a seed that only repeats an earlier one's numbers is left out.

    What is deterministic comes out the same under every seed: counted twice, it would look like
    twice the evidence. A seed repeats another when it holds the same examples under the same
    interventions with the same values, and then nothing of it is kept.

    Raises WhenceError when an intervention lacks an example that others of its seed have, and
    BadInput for a value that is not finite.
    """
    columns = {name: per_example[name].to_numpy() for name in _numeric(per_example)}
    for name, values in columns.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values))[0])
            raise BadInput(
                f"per_example, {per_example['label'][row].as_py()!r} on example "
                f"{columns['example'][row]}: {name} is {values[row]}, a finite number was expected"
            )
    if not len(per_example):
        return []
    order = np.lexsort((columns["example"], columns["intervention"], columns["seed"]))
    columns = {name: values[order] for name, values in columns.items()}
    seeds, starts = np.unique(columns["seed"], return_index=True)
    kept: list[Grid] = []
    for seed, start, stop in zip(seeds, starts, [*starts[1:], len(order)], strict=True):
        part = {name: values[start:stop] for name, values in columns.items()}
        first = np.unique(part["intervention"], return_index=True)[1]
        made = _interventions(per_example.take(order[start + first]))
        grid = _grid(int(seed), made, part)
        if not any(_repeats(grid, earlier) for earlier in kept):
            kept.append(grid)
    return kept


def together(per_seed: Sequence[Grid]) -> Grid:
    """All seeds as one grid: means over seeds of each seed's mean, prompts of the union resampled.

    An example drawn under several seeds stays in its prompt's cluster, so drawing it again adds
    nothing that it is not. For seeds of resample sources the interval speaks of new prompts, given
    the sources that were drawn. Interventions that some seed lacks are left out.
    """
    if len(per_seed) == 1:
        return per_seed[0]
    common = [made for made in per_seed[0].interventions if _in_all(made, per_seed)]
    rows = [[grid.interventions.index(made) for made in common] for grid in per_seed]
    weights = [np.full(len(g.examples), 1 / len(g.examples)) for g in per_seed]
    equal = len({len(g.examples) for g in per_seed}) == 1
    return Grid(
        seed=None,
        interventions=common,
        examples=np.concatenate([g.examples for g in per_seed]),
        prompts=np.concatenate([g.prompts for g in per_seed]),
        columns={
            name: np.concatenate(
                [g.columns[name][own] for g, own in zip(per_seed, rows, strict=True)], axis=1
            )
            for name in per_seed[0].columns
        },
        weights=None if equal else np.concatenate(weights),
    )


def effects(grid: Grid, metrics: Sequence[str], **settings: Any) -> pd.DataFrame:
    """One row per metric and intervention, in that order.

    Columns `seed, kind, label, heads, layer, head, scale, metric, value, delta, ci_low, ci_high, p`
    and, where there is a source run, `recovered`: the share Σ delta / Σ (source − baseline logit
    difference) of what separates the two prompts (null for other metrics and where they agree).
    settings: `draws, confidence, seed` of `many_differences`.
    """
    import pandas as pd

    derived = [derive(grid.columns, name) for name in metrics]
    found = grid.differences(np.concatenate([delta for _, delta in derived]), **settings)
    made = pd.DataFrame(list(grid.interventions), columns=list(Intervention._fields))
    made = made.astype({"layer": "Int32", "head": "Int32", "scale": "float64"})
    table = pd.concat([made.assign(metric=name) for name in metrics], ignore_index=True)
    table.insert(0, "seed", pd.array([grid.seed] * len(table), dtype="Int64"))
    table["value"] = np.concatenate([grid.mean(value) for value, _ in derived])
    table["delta"] = found.effect
    table["ci_low"], table["ci_high"], table["p"] = found.low, found.high, found.p
    if "source_logit_diff" in grid.columns:
        table["recovered"] = np.nan
        ours = table["metric"] == "delta_logit_diff"
        table.loc[ours, "recovered"] = _recovered(grid, table.loc[ours, "delta"].to_numpy())
    return table


def all_effects(per_seed: Sequence[Grid], metrics: Sequence[str], **settings: Any) -> pd.DataFrame:
    """`effects` of several grids, one below the other."""
    import pandas as pd

    return pd.concat([effects(grid, metrics, **settings) for grid in per_seed], ignore_index=True)


def _recovered(grid: Grid, delta: Floats) -> Floats:
    gap = grid.mean(grid.columns["source_logit_diff"] - grid.columns["clean_logit_diff"])
    # Where the two prompts hardly differ there is nothing to recover, and a quotient of noise.
    size = grid.mean(np.abs(grid.columns["source_logit_diff"]))
    found = grid.differences(grid.columns["source_logit_diff"] - grid.columns["clean_logit_diff"])
    apart = ~((found.low <= 0) & (found.high >= 0)) & (np.abs(gap) > 1e-6 * size)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(apart, delta / gap, np.nan))


def _numeric(per_example: pa.Table) -> Iterator[str]:
    import pyarrow as pa

    for field in per_example.schema:
        if field.name in ("layer", "head", "scale"):
            continue
        if pa.types.is_integer(field.type) or pa.types.is_floating(field.type):
            yield field.name


def _interventions(rows: pa.Table) -> list[Intervention]:
    return [
        Intervention(*(row[name] for name in Intervention._fields))
        for row in rows.select(list(Intervention._fields)).to_pylist()
    ]


def _grid(seed: int, made: list[Intervention], part: Mapping[str, NDArray[Any]]) -> Grid:
    rows, count = len(part["example"]), len(made)
    examples = part["example"].reshape(count, -1) if rows % count == 0 else None
    if examples is None or not (examples == examples[0]).all():
        sizes = np.unique(part["intervention"], return_counts=True)[1]
        short = made[int(sizes.argmin())]
        raise WhenceError(
            f"per_example, seed {seed}: {short.kind} {short.label!r} was not measured on the same "
            "examples as the others; run the condition again with --overwrite"
        )
    return Grid(
        seed=seed,
        interventions=made,
        examples=examples[0].astype(np.int64),
        prompts=part["prompt"].reshape(count, -1)[0].astype(np.int64),
        columns={
            name: values.reshape(count, -1)
            for name, values in part.items()
            if name not in ("intervention", "seed", "example", "prompt")
        },
    )


def _repeats(grid: Grid, earlier: Grid) -> bool:
    return (
        grid.interventions == earlier.interventions
        and np.array_equal(grid.examples, earlier.examples)
        and all(np.array_equal(v, earlier.columns[name]) for name, v in grid.columns.items())
    )


def _in_all(made: Intervention, per_seed: Sequence[Grid]) -> bool:
    return all(made in grid.interventions for grid in per_seed)
