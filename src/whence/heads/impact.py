"""The tables of impact: heads, layers, pairs and sets of heads, one row per seed and metric.

Families for q (Benjamini–Hochberg): the heads, layers, pairs or sets of one table under one seed,
scale and metric. Controls are not in a family: they are what a family is read against.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.heads.effects import Floats, Grid, effects
from whence.heads.metrics import derive
from whence.heads.names import parse_head

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_FAMILY = ["seed", "scale", "metric"]
_KEYS = {"seed": "int64", "layer": "int32", "head": "int32"}
_LAYER_OF_PAIR = dict.fromkeys(("layer_a", "head_a", "layer_b", "head_b"), "int32")
_TEXT = ("run_id", "condition", "granularity", "layers", "position", "direction", "kind", "metric")

HEAD_COLUMNS = (
    "run_id seed layer head scale metric value delta ci_low ci_high p q percentile_in_layer"
).split()
LAYER_COLUMNS = (
    "run_id seed granularity layers layer position direction kind metric value delta ci_low "
    "ci_high p q recovered"
).split()
PAIR_COLUMNS = (
    "run_id seed layer_a head_a layer_b head_b scale metric value delta ci_low ci_high p q "
    "delta_a delta_b synergy synergy_low synergy_high synergy_p synergy_q"
).split()
SUBSET_COLUMNS = (
    "run_id seed label heads scale kind metric value delta ci_low ci_high p q percentile_of_random"
).split()


@dataclass(frozen=True)
class Impact:
    """The four tables, None for one without rows."""

    heads: pa.Table | None
    layers: pa.Table | None
    pairs: pa.Table | None
    subsets: pa.Table | None


def impact(
    found: pd.DataFrame,
    per_seed: Sequence[Grid],
    metrics: Sequence[str],
    battery: Mapping[str, Any],
    *,
    run_id: str,
    n_heads: int | None = None,
    **settings: Any,
) -> Impact:
    """All tables that these grids fill. found: their `effects`; settings: those of `effects`."""
    return Impact(
        heads=head_impact(found, run_id=run_id, n_heads=n_heads),
        layers=layer_impact(found, battery, run_id=run_id),
        pairs=pair_impact(per_seed, metrics, run_id=run_id, **settings),
        subsets=subset_impact(found, run_id=run_id),
    )


def head_impact(found: pd.DataFrame, *, run_id: str, n_heads: int | None = None) -> pa.Table | None:
    """One row per head: single ablations and patches of one head.

    found: rows of `effects`. percentile_in_layer: 100 × share of the layer's heads with |delta| no
    larger, controls on random heads of the layer among them. n_heads: heads of a layer; where fewer
    were measured and no random heads stand for the rest, the percentile is null, because heads
    chosen for their effect are no layer to compare with.
    """
    from whence.stats.many import percentile_within

    single = found["head"].notna() & found["kind"].isin(["head", "patch", "random"])
    layer = found[single].groupby([*_FAMILY, "layer"], dropna=False)
    rows = found[single].assign(
        percentile_in_layer=percentile_within(found.loc[single, "delta"].abs(), layer.ngroup()),
        heads_measured=layer["head"].transform("size"),
        controlled=found[single]["kind"].eq("random").groupby(layer.ngroup()).transform("any"),
    )
    rows = rows[rows["kind"] != "random"].copy()
    if rows.empty:
        return None
    rows["q"] = _q(rows, _FAMILY)
    if n_heads is not None:
        chosen = (rows["heads_measured"] < n_heads) & ~rows["controlled"]
        rows.loc[chosen, "percentile_in_layer"] = np.nan
    return table(rows.assign(run_id=run_id), HEAD_COLUMNS)


def layer_impact(
    found: pd.DataFrame, battery: Mapping[str, Any], *, run_id: str
) -> pa.Table | None:
    """One row per patched layer or window of layers, shams beside them.

    battery: `granularity`, `positions`, `patch_direction` of the patches. A window that spans
    layers has a label (`9-13`) and no layer.
    """
    rows = found[found["kind"].isin(["patch", "sham"]) & found["head"].isna()].copy()
    if rows.empty:
        return None
    rows["q"] = _q(rows, [*_FAMILY, "kind"], where=rows["kind"] == "patch")
    rows["layers"] = [
        _window(label, heads) for label, heads in zip(rows["label"], rows["heads"], strict=True)
    ]
    rows["granularity"] = str(battery.get("granularity", "layer_resid"))
    rows["position"] = str(battery.get("positions", "last_token"))
    rows["direction"] = str(battery.get("patch_direction", "corrupt->clean"))
    if "recovered" not in rows:
        rows["recovered"] = np.nan
    return table(rows.assign(run_id=run_id), LAYER_COLUMNS)


def pair_impact(
    per_seed: Sequence[Grid], metrics: Sequence[str], *, run_id: str, **settings: Any
) -> pa.Table | None:
    """One row per pair of heads: what removing both does, and what that is beyond the sum of each.

    synergy = Δ(pair) − Δ(a) − Δ(b) per example, its interval paired over prompts. Below 0 for a
    pair that does less than its parts, above 0 for more; for two heads of a redundant pair, each
    alone does nothing and all of Δ(pair) is synergy. Null where a head was not measured alone under
    the pair's scale.
    """
    import pandas as pd

    tables = [_pairs(grid, metrics, settings) for grid in per_seed if grid.of_kind("pair")]
    if not tables:
        return None
    rows = pd.concat(tables, ignore_index=True)
    rows["q"] = _q(rows, _FAMILY)
    rows["synergy_q"] = _q(rows, _FAMILY, p="synergy_p")
    return table(rows.assign(run_id=run_id), PAIR_COLUMNS)


def subset_impact(found: pd.DataFrame, *, run_id: str) -> pa.Table | None:
    """One row per set of heads and per random set that it was compared with.

    percentile_of_random: 100 × share of the random sets drawn for this one whose |delta| is no
    larger; null for the random sets themselves and without them.
    """
    rows = found[found["kind"].isin(["subset", "random"])].copy()
    if not (rows["kind"] == "subset").any():
        # Random partners of single heads and pairs are no table of sets; the summary has them.
        return None
    rows["q"] = _q(rows, [*_FAMILY, "kind"], where=rows["kind"] == "subset")
    rows["percentile_of_random"] = percentile_of_random(rows)
    return table(rows.assign(run_id=run_id), SUBSET_COLUMNS)


def percentile_of_random(found: pd.DataFrame) -> np.ndarray:
    """Per row of `found`: 100 × share of its own random controls with |delta| no larger, or NaN.

    A control is of kind `random` and labelled `random 3 of LABEL`.
    """
    from whence.stats.many import percentile_among

    control = found["kind"] == "random"
    result = np.full(len(found), np.nan)
    drawn = found[control].assign(of=[controlled(label) for label in found.loc[control, "label"]])
    sizes = {
        key: own["delta"].abs().to_numpy()
        for key, own in drawn.groupby([*_FAMILY, "of"], dropna=False)
    }
    by_family = {_key(key): size for key, size in sizes.items()}
    for at, (kind, *key, delta) in enumerate(
        found[["kind", *_FAMILY, "label", "delta"]].itertuples(index=False)
    ):
        reference = by_family.get(_key(key))
        if kind != "random" and reference is not None:
            result[at] = percentile_among([abs(delta)], reference)[0]
    return result


def controlled(label: str) -> str:
    """The label that a random control stands beside: `triplet` for `random 3 of triplet`."""
    return re.sub(r"^random \d+ of ", "", label)


def table(rows: pd.DataFrame, columns: Sequence[str]) -> pa.Table:
    """`rows` with exactly these columns and their fixed types; what does not exist is null."""
    import pyarrow as pa

    schema = pa.schema([(name, _type(name)) for name in columns])
    return pa.Table.from_pandas(
        rows[list(columns)], schema=schema, preserve_index=False
    ).replace_schema_metadata(None)


def _type(name: str) -> Any:
    import pyarrow as pa

    if name in _KEYS or name in _LAYER_OF_PAIR:
        return getattr(pa, (_KEYS | _LAYER_OF_PAIR)[name])()
    return pa.string() if name in (*_TEXT, "label", "heads") else pa.float64()


def _pairs(grid: Grid, metrics: Sequence[str], settings: Mapping[str, Any]) -> pd.DataFrame:
    at = grid.of_kind("pair")
    found = effects(grid, metrics, **settings)
    rows = found[found["kind"] == "pair"].reset_index(drop=True)
    alone = {
        (made.layer, made.head, made.scale): number
        for number, made in enumerate(grid.interventions)
        if made.kind == "head"
    }
    heads = [[parse_head(word) for word in grid.interventions[n].heads.split()] for n in at]
    # Row of each head alone, -1 where it was not measured.
    parts = np.array(
        [
            [alone.get((*head, grid.interventions[n].scale), -1) for head in two]
            for n, two in zip(at, heads, strict=True)
        ]
    )
    whole = np.flatnonzero((parts >= 0).all(axis=1))
    for side, name in enumerate("ab"):
        rows[f"layer_{name}"] = [two[side][0] for two in heads] * len(metrics)
        rows[f"head_{name}"] = [two[side][1] for two in heads] * len(metrics)
    for name in ("delta_a", "delta_b", "synergy", "synergy_low", "synergy_high", "synergy_p"):
        rows[name] = np.nan
    if not whole.size:
        return rows
    pair, a, b = np.array(at)[whole], parts[whole, 0], parts[whole, 1]
    deltas = [derive(grid.columns, name)[1] for name in metrics]
    extra = np.concatenate([_beyond(delta[pair], delta[a], delta[b]) for delta in deltas])
    synergy = grid.differences(extra, **settings)
    where = np.concatenate([step * len(at) + whole for step in range(len(metrics))])
    rows.loc[where, "delta_a"] = np.concatenate([grid.mean(delta[a]) for delta in deltas])
    rows.loc[where, "delta_b"] = np.concatenate([grid.mean(delta[b]) for delta in deltas])
    rows.loc[where, "synergy"] = synergy.effect
    rows.loc[where, "synergy_low"] = synergy.low
    rows.loc[where, "synergy_high"] = synergy.high
    rows.loc[where, "synergy_p"] = synergy.p
    return rows


def _beyond(pair: Floats, a: Floats, b: Floats) -> Floats:
    """pair − a − b; 0 where that is only what rounding leaves of an exact sum."""
    extra = pair - a - b
    rounding = 1e-12 * (np.abs(pair) + np.abs(a) + np.abs(b))
    return np.where(np.abs(extra) <= rounding, 0.0, extra)


def _q(
    rows: pd.DataFrame,
    family: Sequence[str],
    *,
    p: str = "p",
    where: pd.Series[bool] | None = None,
) -> np.ndarray:
    """q of each row within its family, NaN outside of `where`."""
    from whence.stats.many import false_discovery

    result = np.full(len(rows), np.nan)
    counted = rows.assign(at=np.arange(len(rows)))
    counted = counted if where is None else counted[where]
    for _, own in counted.groupby(list(family), dropna=False):
        result[own["at"].to_numpy()] = false_discovery(own[p].to_numpy(dtype=np.float64))
    return result


def _window(label: str, heads: str) -> str:
    """`9-13`; for one head patched through a window, `9-13:2`."""
    numbers = {parse_head(word)[1] for word in heads.split()}
    return f"{label}:{numbers.pop()}" if len(numbers) == 1 else label


def _key(parts: Sequence[Any]) -> tuple[Any, ...]:
    # A missing seed or scale differs from itself; as text it does not.
    return tuple(str(part) for part in parts)
