"""From layers judged and features tested to `contrast.json` and `features.parquet`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.sae.contrast.design import Design
from whence.sae.contrast.enrichment import ALPHA, Tested, enrichment, with_q
from whence.sae.contrast.heldout import rate_differences
from whence.sae.contrast.regression import (
    Fit,
    Judged,
    coefficients_told,
    judge,
    judge_alone,
    stat_differences,
    statistics_of,
)
from whence.sae.store import Layer
from whence.stats.verdict import Comparison
from whence.stats.whole import statistic_differences

if TYPE_CHECKING:
    import pandas as pd

METRIC = "AUC"
LENGTH, LOSS = "length alone", "loss alone"
NEURONPEDIA = "https://www.neuronpedia.org"


@dataclass(frozen=True)
class OfLayer:
    """One layer, judged and tested; its arrays are not kept."""

    facts: Mapping[str, Any]
    d_sae: int
    judged: Judged
    fit: Fit
    stat_names: Sequence[str]
    differences: Sequence[Mapping[str, Any]]
    tested: Tested


def of_layer(
    layer: Layer, design: Design, *, min_rows: int, top_features: int, seed: int
) -> OfLayer:
    """Judge the layer's statistics, test its features, re-estimate the strongest of them.

    Adds to the tested table heldout_low, heldout_high and heldout_reason, of the `top_features`
    of smallest p on either side. Raises BadInput where a statistic is not finite.
    """
    values = statistics_of(layer, design.row_ids)
    tested = enrichment(layer.presence, design, min_rows)
    table = tested.table.assign(heldout_low=np.nan, heldout_high=np.nan, heldout_reason=None)
    listed = [*strongest(table, 1, top_features).index, *strongest(table, -1, top_features).index]
    held = design.held
    present = layer.presence[held][:, table["feature"].to_numpy()[listed]].toarray()
    found = rate_differences(present, design.top[held], design.groups[held], seed=seed)
    table.loc[listed, "heldout_low"] = found.low
    table.loc[listed, "heldout_high"] = found.high
    table.loc[listed, "heldout_reason"] = list(found.reason)
    judged, fitted = judge(values, design, seed)
    return OfLayer(
        layer.facts,
        layer.d_sae,
        judged,
        fitted,
        layer.stat_names,
        stat_differences(values, layer.stat_names, design),
        replace(tested, table=table),
    )


def strongest(table: pd.DataFrame, sign: int, count: int) -> pd.DataFrame:
    """The `count` features of smallest p whose rate is higher (sign 1) or lower (-1) at the top."""
    own = table[np.sign(table["delta_rate"]) == sign]
    order = np.lexsort((own["feature"], -own["delta_rate"].abs(), own["p"]))
    return own.iloc[order[:count]]


def all_features(layers: Mapping[str, OfLayer]) -> pd.DataFrame:
    """Every tested feature of every layer, with q over all of them."""
    import pandas as pd

    tables = [layer.tested.table.assign(sae_id=sae_id) for sae_id, layer in layers.items()]
    table = pd.concat(tables, ignore_index=True)
    return with_q(table[["sae_id", *table.columns.drop("sae_id")]])


def told(
    layers: Mapping[str, OfLayer],
    features: pd.DataFrame,
    design: Design,
    seq_lens: np.ndarray[Any, np.dtype[np.int32]],
    *,
    settings: Mapping[str, Any],
    top_features: int,
    seed: int,
) -> dict[str, Any]:
    """What `contrast.json` holds. seq_lens: counted tokens of each row, for the baseline."""
    arms = {LENGTH: judge_alone(seq_lens.astype(np.float64), design, seed)}
    if design.loss is not None:
        arms[LOSS] = judge_alone(design.loss, design, seed)
    against, between = _comparisons(layers, arms, design, seed)
    baselines: dict[str, Any] = {
        "chance": {"oof_auc": 0.5},
        "length": {"arm": LENGTH, **arms[LENGTH].told()},
        "loss": {"arm": LOSS, **arms[LOSS].told()} if LOSS in arms else {"reason": design.no_loss},
    }
    fitted = ~design.held
    return {
        **settings,
        "rows": len(design.top),
        "top_rows": int(design.top.sum()),
        "groups": len(np.unique(design.groups)),
        "rows_per_group": design.rows_per_group,
        "fitted": {"rows": int(fitted.sum()), "top_rows": int((fitted & design.top).sum())},
        "held_out": {
            "rows": int(design.held.sum()),
            "top_rows": int((design.held & design.top).sum()),
        },
        "folds": len(np.unique(design.fold)),
        "best_layer": _best(layers),
        "features": _counted(features),
        "layers": {
            sae_id: _layer(sae_id, layer, features, against, top_features)
            for sae_id, layer in layers.items()
        },
        "baselines": baselines,
        "comparisons": [each.to_dict() for each in against],
        "between_layers": [each.to_dict() for each in between],
    }


def _best(layers: Mapping[str, OfLayer]) -> str:
    def auc(sae_id: str) -> float:
        value = layers[sae_id].judged.oof_auc
        return -1.0 if value is None else value

    return max(layers, key=auc)


def _comparisons(
    layers: Mapping[str, OfLayer], baselines: Mapping[str, Judged], design: Design, seed: int
) -> tuple[list[Comparison], list[Comparison]]:
    """Every layer with every baseline, and the layers with each other; q within either table."""
    arms = {sae_id: layer.judged for sae_id, layer in layers.items()} | dict(baselines)
    if any(judged.oof_auc is None for judged in arms.values()):
        return [], []
    orders = {name: judged.order for name, judged in arms.items()}
    tables = (
        [(sae_id, name) for sae_id in layers for name in baselines],
        list(combinations(layers, 2)),
    )
    rows, groups = len(design.top), design.groups
    against, between = (
        statistic_differences(orders, pairs, METRIC, rows, groups, seed=seed) if pairs else []
        for pairs in tables
    )
    return against, between


def _layer(
    sae_id: str,
    layer: OfLayer,
    features: pd.DataFrame,
    against: Sequence[Comparison],
    top_features: int,
) -> dict[str, Any]:
    own = features[features["sae_id"] == sae_id]
    page = layer.facts.get("neuronpedia_id")
    return {
        "layer": layer.facts.get("layer"),
        "hook_name": layer.facts.get("hook_name"),
        "d_sae": layer.d_sae,
        "neuronpedia_id": page,
        **layer.judged.told(),
        "minus_baseline": {
            each.control: {"effect": each.effect, "interval": each.interval, "q": each.q}
            for each in against
            if each.arm == sae_id
        },
        "regression_coefficients": coefficients_told(layer.fit, layer.stat_names),
        "stat_feature_differences": layer.differences,
        "features": _counted(own) | {"untested": layer.tested.untested},
        "top_enriched_features": list(_records(strongest(own, 1, top_features), page)),
        "top_depleted_features": list(_records(strongest(own, -1, top_features), page)),
    }


def _counted(features: pd.DataFrame) -> dict[str, Any]:
    """How many were tested and found, and how many of those found lean the same way held out."""
    found = features[features["q"] <= ALPHA]
    by_groups = features[features["group_q"] <= ALPHA]
    same = np.sign(found["heldout_delta_rate"]) == np.sign(found["delta_rate"])
    return {
        "tested": len(features),
        "enriched": int((found["delta_rate"] > 0).sum()),
        "depleted": int((found["delta_rate"] < 0).sum()),
        "found_of_same_sign_held_out": int(same.sum()),
        "found_by_groups": len(by_groups) if features["group_q"].notna().any() else None,
    }


def _records(features: pd.DataFrame, page: str | None) -> Iterator[dict[str, Any]]:
    """Rows of the table as JSON holds them, with an interval and a link."""
    for row in features.drop(columns="sae_id").to_dict("records"):
        whole = {name: None if value != value else value for name, value in row.items()}
        low, high = whole.pop("heldout_low"), whole.pop("heldout_high")
        yield whole | {
            "heldout_interval": None if low is None else [low, high],
            "heldout_reason": whole["heldout_reason"],
            "neuronpedia": f"{NEURONPEDIA}/{page}/{whole['feature']}" if page else None,
        }
