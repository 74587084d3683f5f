"""From a table of per-item results to paired cells: the same seed and item under both arms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from whence.errors import BadInput
from whence.stats.paired import is_right_wrong

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Pairs:
    """Two arms on what they have in common.

    arm, control: the metric, [n], row by row the same seed and item;
    seed_index, cluster_index: [n], from 0; seeds, clusters, items: how many there are (items are
    distinct row_ids, clusters what is resampled); 0 seeds where no seed changes either arm;
    dropped: rows of either arm without a partner; repeats: seeds left out because they only repeat
    another seed's numbers; right_wrong: every value is 0 or 1.
    """

    arm: NDArray[np.float64]
    control: NDArray[np.float64]
    seed_index: NDArray[np.int64]
    cluster_index: NDArray[np.int64]
    seeds: int
    clusters: int
    items: int
    dropped: int
    repeats: int
    right_wrong: bool

    def cells(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Total arm − control and number of rows per [seed, cluster]."""
        flat = self.seed_index * self.clusters + self.cluster_index
        shape = (max(1, self.seeds), self.clusters)
        size = shape[0] * shape[1]
        totals = np.bincount(flat, weights=self.arm - self.control, minlength=size)
        rows = np.bincount(flat, minlength=size)
        return totals.astype(np.float64).reshape(shape), rows.astype(np.float64).reshape(shape)


def pair(
    items: pd.DataFrame,
    arm: str,
    control: str,
    metric: str,
    cluster: str,
    *,
    leave_out_undefined: bool = False,
) -> Pairs:
    """Pair two arms on (seed, row_id); see `whence.stats.verdict.verdicts` for the rules.

    Raises BadInput for a missing column or arm, an arm against itself, duplicate (arm, seed,
    row_id), empty ids, values that are not finite numbers, a cluster that differs between the
    arms, or nothing in common.
    """
    require_columns(items, ["arm", "seed", "row_id", metric, cluster])
    if arm == control:
        raise BadInput(f"arm and control are both {arm!r}: a comparison needs two arms")
    if leave_out_undefined:
        items = items[items[metric].notna()]
    left, right = (_rows_of(items, name, metric, cluster) for name in (arm, control))
    seedless = [bool(side["seed"].isna().all()) for side in (left, right)]
    keys = ["row_id"] if any(seedless) else ["seed", "row_id"]
    left, right = (
        side.drop(columns="seed") if none else side
        for side, none in zip((left, right), seedless, strict=True)
    )
    paired = left.merge(right, on=keys, suffixes=("_arm", "_control"))
    if paired.empty:
        raise BadInput(_nothing_in_common(left, right, arm, control, keys))
    if cluster != "row_id":
        _check_clusters(paired, cluster)
    # A seedless row meets several seeds; any other row meets one partner at most.
    distinct = paired["row_id"].nunique()
    matched = sum(distinct if none else len(paired) for none in seedless)
    pairs = _without_repeats(paired, len(left) + len(right) - matched)
    return replace(pairs, seeds=0) if all(seedless) else pairs


def metric_values(items: pd.DataFrame, metric: str) -> NDArray[np.float64]:
    """The column as float64 [n]; BadInput naming where it is not a finite number."""
    try:
        values = items[metric].to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        raise BadInput(
            f"column {metric!r} holds {items[metric].dtype} values: expected numbers"
        ) from None
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        row = items.iloc[int(bad[0])]
        where = f"arm {row['arm']!r}, seed {row['seed']}, row_id {row['row_id']!r}"
        raise BadInput(
            f"column {metric!r} is {values[bad[0]]} at {where}: expected a finite number "
            f"({bad.size} of {len(values)} are not)"
        )
    return np.asarray(values)


def require_columns(items: pd.DataFrame, columns: Sequence[str]) -> None:
    """BadInput naming the columns that are missing and those that are there."""
    missing = [name for name in columns if name not in items.columns]
    if missing:
        there = ", ".join(map(str, items.columns))
        raise BadInput(f"items has no column {', '.join(missing)}: its columns are {there}")


def _rows_of(items: pd.DataFrame, name: str, metric: str, cluster: str) -> pd.DataFrame:
    rows = items[items["arm"] == name]
    if rows.empty:
        arms = ", ".join(sorted(map(str, items["arm"].unique())))
        raise BadInput(f"items has no arm {name!r}: its arms are {arms}")
    if rows["row_id"].isna().any() or rows[cluster].isna().any():
        raise BadInput(f"arm {name!r} has rows with an empty row_id or {cluster}")
    if rows["seed"].isna().any() and not rows["seed"].isna().all():
        raise BadInput(
            f"arm {name!r} has a seed in some rows and none in others: give every row its seed, "
            "or leave all of them empty for something that no seed changes"
        )
    double = rows[rows.duplicated(["seed", "row_id"])]
    if not double.empty:
        first = double.iloc[0]
        raise BadInput(
            f"arm {name!r} has row_id {first['row_id']!r} twice under seed {first['seed']}: "
            "expected one row per arm, seed and item (and without seeds, one per item)"
        )
    return rows[["seed", "row_id"]].assign(
        value=metric_values(rows, metric), cluster=rows[cluster].to_numpy()
    )


def _check_clusters(paired: pd.DataFrame, cluster: str) -> None:
    per_row = paired.groupby("row_id", sort=False)[["cluster_arm", "cluster_control"]].nunique()
    differ = paired["cluster_arm"] != paired["cluster_control"]
    if differ.any() or (per_row > 1).to_numpy().any():
        raise BadInput(f"column {cluster!r} is not the same for a row_id everywhere it occurs")


def _without_repeats(paired: pd.DataFrame, dropped: int) -> Pairs:
    """Numbered in sorted order of the labels: the order of the table's rows does not matter."""
    import pandas as pd

    if "seed" not in paired:
        paired = paired.assign(seed=0)
    seed = pd.factorize(paired["seed"], sort=True)[0]
    item = pd.factorize(paired["row_id"], sort=True)[0]
    order = np.lexsort((item, seed))
    paired, seed, item = paired.iloc[order], seed[order], item[order]
    arm, control = (paired[f"value_{side}"].to_numpy() for side in ("arm", "control"))
    right_wrong = is_right_wrong(arm) and is_right_wrong(control)
    total = int(seed.max()) + 1
    keep = _distinct_seeds(arm, control, seed, total, right_wrong)
    kept = np.isin(seed, keep)
    clusters, cluster_index = np.unique(
        pd.factorize(paired["cluster_arm"], sort=True)[0][kept], return_inverse=True
    )
    return Pairs(
        arm=arm[kept],
        control=control[kept],
        seed_index=np.searchsorted(keep, seed[kept]),
        cluster_index=cluster_index,
        seeds=len(keep),
        clusters=len(clusters),
        items=len(np.unique(item[kept])),
        dropped=dropped,
        repeats=total - len(keep),
        right_wrong=right_wrong,
    )


def _distinct_seeds(
    arm: NDArray[np.float64],
    control: NDArray[np.float64],
    seed: NDArray[np.int64],
    seeds: int,
    right_wrong: bool,
) -> NDArray[np.int64]:
    """Seeds whose numbers are not, in both arms and on every item, those of an earlier seed.

    Real numbers do not agree to the last bit by chance. Right/wrong answers on few items do, and
    leaving out some of such seeds would shift the effect, so they count once only when *all* seeds
    agree.
    """
    every = np.arange(seeds)
    if len(arm) % seeds or not np.array_equal(seed, np.repeat(every, len(arm) // seeds)):
        return every  # a seed lacks items: its numbers cannot be those of another
    table = np.concatenate([arm.reshape(seeds, -1), control.reshape(seeds, -1)], axis=1)
    first = np.sort(np.unique(table, axis=0, return_index=True)[1])
    return every if right_wrong and len(first) > 1 else np.asarray(first)


def _nothing_in_common(
    left: pd.DataFrame, right: pd.DataFrame, arm: str, control: str, keys: list[str]
) -> str:
    if "seed" in keys and not set(left["seed"]) & set(right["seed"]):
        ours, theirs = (
            ", ".join(map(str, sorted(side["seed"].unique())[:6])) for side in (left, right)
        )
        return (
            f"{arm!r} (seeds {ours}) and {control!r} (seeds {theirs}) have no seed in common: "
            "run both under the same seeds, or leave the seed of an arm that no seed changes empty"
        )
    return (
        f"{arm!r} and {control!r} have no {' and '.join(keys)} in common: "
        "evaluate both on the same items"
    )
