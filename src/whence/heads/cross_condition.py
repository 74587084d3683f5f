"""Several conditions side by side: one matrix of heads, one of layers, and what holds in all.

Everything compared is delta_logit_diff over all seeds together. Conditions compare like with like:
heads under the first scale of their battery, layers under the same granularity and position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from whence.heads.impact import LAYER_COLUMNS, Impact, table
from whence.heads.names import spell_head
from whence.heads.summary import first_scale
from whence.stats.ranking import overlap_at_k, spearman

if TYPE_CHECKING:
    import pyarrow as pa


class Condition(Protocol):
    """What is read of a condition (`outputs.Tables`)."""

    @property
    def run_id(self) -> str: ...
    @property
    def summary(self) -> Mapping[str, Any]: ...
    @property
    def head_impact(self) -> pa.Table | None: ...
    @property
    def layer_impact(self) -> pa.Table | None: ...
    @property
    def joint(self) -> Impact: ...


HEAD_MATRIX_COLUMNS = (
    "run_id condition seed layer head scale metric value delta ci_low ci_high q percentile_in_layer"
).split()
LAYER_MATRIX_COLUMNS = ["run_id", "condition", *LAYER_COLUMNS[1:]]

_SHARED_TOP = 10
_OUTSIDE_BY_CHANCE = 0.05  # of the 95 % intervals, both sides


def matrices(conditions: Mapping[str, Condition]) -> dict[str, pa.Table]:
    """File name → the written tables of all conditions, one below the other; only those with rows.

    A row keeps the id of the run that it was measured in.
    """
    wanted = {
        "head_matrix.parquet": ("head_impact", HEAD_MATRIX_COLUMNS),
        "layer_matrix.parquet": ("layer_impact", LAYER_MATRIX_COLUMNS),
    }
    made = {}
    for name, (which, columns) in wanted.items():
        parts = [
            own.to_pandas().assign(condition=tag)
            for tag, condition in conditions.items()
            if (own := getattr(condition, which)) is not None
        ]
        if parts:
            rows = pd.concat(parts, ignore_index=True)
            made[name] = table(rows, columns)
    return made


def invariants(conditions: Mapping[str, Condition]) -> dict[str, Any]:
    """Heads and layers with one sign and an interval clear of 0 in every condition.

    Strongest first, by the smallest |delta| over conditions. tested: how many were measured in all
    conditions; expected_by_chance: how many of those would be listed if none had any effect and
    conditions were independent (less than that where they share prompts is no proof, more is easy).
    """
    heads = _common(conditions, "heads", ["layer", "head"])
    layers = _common(conditions, "layers", ["granularity", "position", "direction", "layers"])
    named = [
        {
            "head": spell_head((int(key[0]), int(key[1]))),
            "layer": int(key[0]),
            "number": int(key[1]),
            **told,
        }
        for key, told in _alike(heads)
    ]
    return {
        "metric": "delta_logit_diff",
        "conditions": list(conditions),
        "tested": len(heads),
        "expected_by_chance": _by_chance(len(heads), len(conditions)),
        "heads": named,
        "layers_tested": len(layers),
        "layers": [
            dict(zip(("granularity", "position", "direction", "layers"), key, strict=True)) | told
            for key, told in _alike(layers)
        ],
    }


def summary(conditions: Mapping[str, Condition], *, run_id: str) -> dict[str, Any]:
    """Each condition in short, and how far two of them rank heads alike.

    agreement: per pair of conditions, over the heads measured in both: Spearman's rho of
    delta_logit_diff with its interval, and the share of the ten strongest that they have in common
    (chance: what two random lists would).
    """
    told = {}
    for tag, condition in conditions.items():
        own = condition.summary
        told[tag] = {
            "run_id": condition.run_id,
            **{key: own.get(key) for key in ("n_prompts", "n_examples", "clean", "seeds")},
            "strongest": list(own.get("strongest", []))[:_SHARED_TOP],
        }
        for key in ("layers", "pairs", "subsets"):
            if key in own:
                told[tag][key] = own[key]
    return {
        "run_id": run_id,
        "conditions": told,
        "agreement": [
            found
            for a, b in combinations(conditions, 2)
            if (found := _agreement({a: conditions[a], b: conditions[b]})) is not None
        ],
        "invariant_heads": [row["head"] for row in invariants(conditions)["heads"]],
    }


def _agreement(two: Mapping[str, Condition]) -> dict[str, Any] | None:
    common = _common(two, "heads", ["layer", "head"])
    a, b = ([rows[tag]["delta"] for rows in common.values()] for tag in two)
    if len(common) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    rank = spearman(a, b)
    k = min(_SHARED_TOP, len(common))
    shared = overlap_at_k(np.abs(a), np.abs(b), k)
    return {
        "conditions": list(two),
        "heads": len(common),
        "spearman": rank.value,
        "interval": None if rank.interval is None else [rank.interval.low, rank.interval.high],
        "k": k,
        "shared_at_k": shared.value,
        "shared_by_chance": shared.chance,
    }


Found = dict[tuple[Any, ...], dict[str, dict[str, Any]]]


def _common(conditions: Mapping[str, Condition], which: str, keys: Sequence[str]) -> Found:
    """Key → condition → its row of the joint table, for the keys that every condition has.

    None where conditions did different things to their heads: a patch is no ablation.
    """
    by_condition = {}
    if which == "heads" and len({_done_to_heads(own.summary) for own in conditions.values()}) > 1:
        return {}
    for tag, condition in conditions.items():
        own = getattr(condition.joint, which)
        if own is None:
            return {}
        rows = own.to_pandas()
        if which == "heads":
            rows = first_scale(rows)
        else:
            rows = rows[(rows["metric"] == "delta_logit_diff") & (rows["kind"] == "patch")]
        by_condition[tag] = {
            tuple(row[key] for key in keys): row for row in rows.to_dict("records")
        }
    first, *others = by_condition.values()
    shared = [key for key in first if all(key in other for other in others)]
    return {key: {tag: rows[key] for tag, rows in by_condition.items()} for key in shared}


def _done_to_heads(told: Mapping[str, Any]) -> tuple[str, ...]:
    battery = told["battery"]
    scale = battery.get("scale", next(iter(battery.get("scales") or [0.0])))
    keys = (("patch_direction", ""), ("method", "zero"), ("positions", "all"))
    return (*(str(battery.get(key, default)) for key, default in keys), str(float(scale)))


def _alike(found: Found) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Those with one sign, and an interval without 0, in every condition; strongest first."""
    kept = []
    for key, rows in found.items():
        above = all(row["ci_low"] > 0 for row in rows.values())
        below = all(row["ci_high"] < 0 for row in rows.values())
        if above or below:
            deltas = {
                tag: {
                    "delta_logit_diff": float(row["delta"]),
                    "interval": [float(row["ci_low"]), float(row["ci_high"])],
                    "q": float(row["q"]),
                }
                for tag, row in rows.items()
            }
            smallest = min(abs(row["delta"]) for row in rows.values())
            told = {"sign": 1 if above else -1, "smallest": float(smallest), "conditions": deltas}
            kept.append((key, told))
    return sorted(kept, key=lambda item: -item[1]["smallest"])


def _by_chance(tested: int, conditions: int) -> float:
    return 2 * tested * (_OUTSIDE_BY_CHANCE / 2) ** conditions
