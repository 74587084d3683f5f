"""What a condition found, in one JSON: the undisturbed run, the strongest effects, their controls.

Everything here is of the headline metric, over all seeds together, and under the first scale that
the battery lists. A number that does not exist is null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.heads.effects import Grid
from whence.heads.impact import Impact, controlled, percentile_of_random
from whence.heads.metrics import HEADLINE
from whence.heads.names import spell_head

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

STRONGEST = 20
# The middle 90 % of a layer's heads: what "a head of this layer" usually does.
_NULL_RANGE = (5, 50, 95)


def summary(
    joint: Impact,
    found: pd.DataFrame,
    per_seed: Sequence[Grid],
    *,
    run_id: str,
    condition: str | None,
    model: Mapping[str, Any],
    corpus: Mapping[str, Any],
    battery: Mapping[str, Any],
    metrics: Sequence[str],
    baseline: Mapping[str, Any],
    notes: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of `metrics/summary.json`.

    joint, found: tables and `effects` over all seeds together. per_seed: grids of the seeds that
    count; one that only repeated another does not. baseline, notes: as the run gave them; `clean`,
    `n_prompts`, `n_examples`, `excluded` and what else is in `baseline` stand at the top level.
    """
    counts = {
        "n_prompts": len({int(p) for grid in per_seed for p in grid.prompts}),
        "n_examples": len({int(e) for grid in per_seed for e in grid.examples}),
        "excluded": {},
    }
    seeds = {
        "used": [grid.seed for grid in per_seed],
        "vary": "nothing (deterministic)" if len(per_seed) == 1 else "see notes",
    }
    effects: dict[str, Any] = {
        "strongest": strongest(joint, found),
        "null_by_layer": null_by_layer(found),
    }
    if joint.layers is not None:
        effects["layers"] = layers(joint.layers)
    if joint.pairs is not None:
        effects["pairs"] = pairs(joint.pairs, found)
    if joint.subsets is not None:
        effects["subsets"] = subsets(joint.subsets)
    shams = first_scale(found)
    shams = shams[shams["kind"] == "sham"]
    if len(shams):
        effects["sham"] = {"n": len(shams), "largest_change": float(shams["delta"].abs().max())}
    further = {key: value for key, value in notes.items() if key != "seeds"}
    return {
        "run_id": run_id,
        "condition": condition,
        "model": dict(model),
        "corpus": dict(corpus),
        "battery": dict(battery),
        "metrics": list(metrics),
        **counts,
        **baseline,
        "baseline_run": baseline_run(battery),
        **effects,
        "seeds": {**seeds, **dict(notes.get("seeds", {})), "counted": seeds["used"]},
        "notes": further,
    }


def strongest(joint: Impact, found: pd.DataFrame, at_most: int = STRONGEST) -> list[dict[str, Any]]:
    """The heads with the largest |delta_logit_diff|, largest first.

    others_in_layer: what the layer's other measured heads did, as `null_by_layer` says it; null
    where the head's percentile in its layer is.
    """
    if joint.heads is None:
        return []
    rows = first_scale(joint.heads.to_pandas())
    order = rows["delta"].abs().sort_values(ascending=False, kind="stable").index[:at_most]
    single = _single_heads(found)
    told = []
    for row in rows.loc[order].to_dict("records"):
        layer, head = int(row["layer"]), int(row["head"])
        others = single[(single["layer"] == layer) & (single["head"] != head)]
        ranked = not np.isnan(row["percentile_in_layer"])
        told.append(
            {
                "name": spell_head((layer, head)),
                "layer": layer,
                "head": head,
                **_effect(row),
                "percentile_in_layer": _number(row["percentile_in_layer"]),
                "others_in_layer": _spread(others["delta"]) if ranked else None,
            }
        )
    return told


def null_by_layer(found: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Layer → what a head of it does: middle 90 % of delta_logit_diff over heads drawn blindly.

    Where random heads were run as a control, over them; else over all measured heads of the layer.
    """
    single = _single_heads(found)
    told = {}
    for layer, own in single.groupby("layer"):
        random = own[own["kind"] == "random"]
        of = random if len(random) else own
        told[str(layer)] = {"of": "random heads" if len(random) else "measured heads"} | (
            _spread(of["delta"]) or {"heads": len(of)}
        )
    return told


def layers(table: pa.Table) -> list[dict[str, Any]]:
    """Every patched layer or window, in the order of the table; shams are told apart."""
    rows = table.to_pandas()
    rows = rows[(rows["metric"] == HEADLINE) & (rows["kind"] == "patch")]
    return [
        {"layers": row["layers"], **_effect(row), "recovered": _number(row["recovered"])}
        for row in rows.to_dict("records")
    ]


def pairs(table: pa.Table, found: pd.DataFrame, at_most: int = STRONGEST) -> list[dict[str, Any]]:
    """The pairs with the largest |synergy| (|delta| where it is null), largest first."""
    rows = first_scale(table.to_pandas())
    control = first_scale(found)
    control = control[control["kind"].isin(["pair", "random"])]
    ranks = dict(zip(control["label"], percentile_of_random(control), strict=True))
    order = rows["synergy"].fillna(rows["delta"]).abs().sort_values(ascending=False, kind="stable")
    told = []
    for row in rows.loc[order.index[:at_most]].to_dict("records"):
        name = "+".join(spell_head((row[f"layer_{side}"], row[f"head_{side}"])) for side in "ab")
        bounds = (_number(row["synergy_low"]), _number(row["synergy_high"]))
        told.append(
            {
                "name": name,
                **_effect(row),
                "delta_a": _number(row["delta_a"]),
                "delta_b": _number(row["delta_b"]),
                "synergy": _number(row["synergy"]),
                "synergy_interval": None if None in bounds else list(bounds),
                "synergy_q": _number(row["synergy_q"]),
                "percentile_of_random": _number(ranks.get(name, np.nan)),
            }
        )
    return told


def subsets(table: pa.Table) -> list[dict[str, Any]]:
    """Every set of heads with what its random sets did."""
    rows = first_scale(table.to_pandas())
    of = rows["label"].map(controlled)
    return [
        {
            "label": row["label"],
            "heads": row["heads"].split(),
            **_effect(row),
            "percentile_of_random": _number(row["percentile_of_random"]),
            "random_sets": _spread(
                rows.loc[(rows["kind"] == "random") & (of == row["label"]), "delta"], "sets"
            ),
        }
        for row in rows[rows["kind"] == "subset"].to_dict("records")
    ]


def first_scale(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the headline metric under the scale of the first of them."""
    rows = rows[rows["metric"] == HEADLINE]
    if rows.empty:
        return rows
    scale = rows["scale"].iloc[0]
    return rows[rows["scale"].isna() if np.isnan(scale) else rows["scale"] == scale]


def baseline_run(battery: Mapping[str, Any]) -> str:
    """Which prompt's undisturbed run everything is compared with."""
    return "corrupt" if battery.get("patch_direction") == "clean->corrupt" else "clean"


def _single_heads(found: pd.DataFrame) -> pd.DataFrame:
    rows = first_scale(found)
    return rows[rows["head"].notna() & rows["kind"].isin(["head", "patch", "random"])]


def _effect(row: Mapping[str, Any]) -> dict[str, Any]:
    bounds = (_number(row["ci_low"]), _number(row["ci_high"]))
    scaled = {"scale": _number(row["scale"])} if "scale" in row else {}
    return {
        **scaled,
        HEADLINE: float(row["delta"]),
        "interval": None if None in bounds else list(bounds),
        "p": _number(row["p"]),
        "q": _number(row["q"]),
    }


def _spread(deltas: pd.Series[float], noun: str = "heads") -> dict[str, Any] | None:
    if deltas.empty:
        return None
    low, median, high = np.percentile(deltas.to_numpy(dtype=np.float64), _NULL_RANGE)
    return {noun: len(deltas), "low": float(low), "median": float(median), "high": float(high)}


def _number(value: Any) -> float | None:
    return None if value is None or np.isnan(value) else float(value)
