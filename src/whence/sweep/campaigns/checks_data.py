"""What must hold of a finished `data experiment` before it is released."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from whence.runs.jsonfile import read_json
from whence.sweep.campaigns.campaign import Check

METRICS = ("correct", "loss")


def checks_data(output: Path) -> list[Check]:
    """Every arm judged under every seed, on the same items; losses and answers that are numbers."""
    from whence.data.arms import parse_arms
    from whence.data.experiment.comparisons import BASE, ORACLE
    from whence.runs.tables import read_table

    items = read_table(output / "items.parquet").to_pandas()
    config = read_json(output / "config.json")
    planted = config.get("planted") or {}
    arms = [arm.name for arm in parse_arms(config["arms"])]
    arms += [ORACLE] if planted.get("oracle") else []
    own = items[items["loss"].notna()] if "loss" in items else items
    wanted = {(BASE, None), *((arm, seed) for arm in arms for seed in config["seeds"])}
    sizes = {
        (str(arm), None if seed != seed or seed is None else int(seed)): len(rows)
        for (arm, seed), rows in own.groupby(["arm", "seed"], dropna=False, sort=False)
    }
    missing = sorted(str(each) for each in wanted - set(sizes))
    uneven = len(set(sizes.values())) > 1
    told = f"{len(sizes)} cells of {max(sizes.values(), default=0)} items"
    if missing:
        told = f"{len(missing)} of {len(wanted)} cells are missing, first {missing[0]}"
    elif uneven:
        told = f"cells have from {min(sizes.values())} to {max(sizes.values())} items"
    numbers = [name for name in METRICS if name in own and own[name].notna().any()]
    broken = [name for name in numbers if not np.isfinite(own[name].astype(float).to_numpy()).all()]
    return [
        Check("every arm under every seed", not missing and not uneven, told),
        Check(
            "finite metrics",
            bool(numbers) and not broken,
            f"{', '.join(broken)}: some items have none" if broken else ", ".join(numbers),
        ),
    ]
