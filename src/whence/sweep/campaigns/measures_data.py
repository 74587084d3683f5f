"""Per item numbers of a finished `data experiment`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.errors import BadInput
from whence.runs.jsonfile import read_json
from whence.runs.validation import nearest
from whence.sweep.campaigns.measured_rows import NO_SEED, measured_rows
from whence.sweep.settings import RankSettings

if TYPE_CHECKING:
    import pandas as pd

CONTROLS = ("random", "matched_random")
"""Kinds of arms that others are held against."""
KEYS = ("arm", "seed", "row_id", "answer")


def measured_data(output: Path, rank: RankSettings) -> pd.DataFrame:
    """Every arm's metric per eval item and seed; see `Campaign.measured`.

    Items of one group (turns of one chat) are not independent: the unit is then the group, and its
    value the mean of its items. Baselines: the base model, arms drawn at random, and the oracle,
    which no method can be. primary: the metric of the experiment's first comparison. Raises
    BadInput for a metric that no item has.
    """
    from whence.data.experiment.outcome import metrics_of
    from whence.runs.tables import read_table

    items = read_table(output / "items.parquet").to_pandas()
    config = read_json(output / "config.json")
    names = [name for name in items.columns if name not in KEYS]
    bench = [name for name in names if name not in ("correct", "loss")]
    known = metrics_of(items, bench)
    metric = next(iter(known)) if rank.metric == "primary" else rank.metric
    if metric not in known:
        raise BadInput(f"{output}: no metric {metric}{nearest(metric, list(known))}")
    items = items[items[metric].notna()]
    groups = _groups(config)
    unit = items["row_id"].map(groups).fillna(items["row_id"]) if groups else items["row_id"]
    values = (
        items.assign(
            unit=unit.astype(str),
            seed=items["seed"].astype("Float64").fillna(NO_SEED).astype(int),
            value=items[metric].astype(float),
        )
        .groupby(["arm", "unit", "seed"], sort=False, as_index=False)["value"]
        .mean()
    )
    controls = _controls(config)
    return measured_rows(
        series=values["arm"],
        baseline=values["arm"].isin(controls),
        unit=values["unit"],
        seed=values["seed"],
        value=values["value"],
        metric=metric,
        higher_is_better=known[metric],
    )


def _controls(config: Mapping[str, Any]) -> set[str]:
    from whence.data.arms import parse_arms
    from whence.data.experiment.comparisons import BASE, ORACLE

    arms = parse_arms(config["arms"])
    return {BASE, ORACLE, *(arm.name for arm in arms if arm.kind in CONTROLS)}


def _groups(config: Mapping[str, Any]) -> dict[str, str]:
    """row_id → group of the eval split; empty where its data are no longer there."""
    from whence.runs.manifest import load_manifest, read_split_table

    built = config.get("build")
    place = config.get("manifest") or (built["run_dir"] if built else "")
    try:
        table = read_split_table(load_manifest(Path(place)), config["eval_split"])
    except BadInput:
        return {}
    ids, groups = (table[name].to_pylist() for name in ("row_id", "group_id"))
    return dict(zip(ids, groups, strict=True))
