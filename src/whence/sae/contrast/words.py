"""What a contrast found, in words: the headline, what to beware of, and the table of layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from whence.sae.contrast.enrichment import ALPHA
from whence.sae.written import interval, number

Told = Mapping[str, Any]
"""What `contrast.json` holds."""


def verdict(told: Told) -> str:
    """The best SAE's AUC out of fold with its interval, beside length alone; one sentence."""
    best = told["best_layer"]
    layer = told["layers"][best]
    of = f", the best of {len(told['layers'])} SAEs," if len(told["layers"]) > 1 else ""
    rows = f"the top {told['top_rows']:,} of {told['rows']:,} rows from the rest"
    ends = layer["oof_auc_interval"]
    if layer["oof_auc"] is None:
        return f"No fold has both top rows and others, so nothing is known of {rows}"
    if ends is None:
        why = layer["oof_auc_reason"]
        acts = f"are not shown to tell {rows}: AUC {level(layer, 'oof_auc')} (no interval: {why})"
    elif ends[0] > 0.5:
        acts = f"tell {rows} with an AUC of {level(layer, 'oof_auc')}"
    else:
        acts = f"are not shown to tell {rows}: AUC {level(layer, 'oof_auc')}"
    length = told["baselines"]["length"]["oof_auc"]
    against = layer["minus_baseline"]["length alone"]
    return (
        f"The statistics of {best}{of} {acts}; length alone {number(length)}, difference "
        f"{number(against['effect'], sign=True)}{interval(against['interval'])}"
    )


def headline(told: Told) -> str:
    """The verdict, and how many features were found and lean the same way held out."""
    counts = told["features"]
    found = counts["enriched"] + counts["depleted"]
    second = (
        f"{found:,} of {counts['tested']:,} features at q ≤ {ALPHA} ({counts['enriched']:,} "
        f"enriched, {counts['depleted']:,} depleted)"
    )
    if found:
        second += f", {counts['found_of_same_sign_held_out']:,} of the same sign on held-out rows"
    return f"{verdict(told)}. {second}."


def cautions(told: Told) -> list[str]:
    """What a reader should know before believing it, a sentence each."""
    said = []
    if told["rows_per_group"] > 1:
        by_groups = told["features"]["found_by_groups"]
        counted = "" if by_groups is None else f"; by groups {by_groups:,} have q ≤ {ALPHA}"
        said.append(
            f"There are {told['rows_per_group']:.1f} rows to a group on average, and the p of "
            f"features takes them for independent{counted}."
        )
    if told["split_mode"] != "grouped" and told["rows_per_group"] > 1:
        said.append(
            f"Rows were split {told['split_mode']}, so rows of one group can be both fitted and "
            "held out: the AUC may be too high."
        )
    if len(told["layers"]) > 1:
        said.append(
            "The best of several layers is chosen on the rows that judge it, so its AUC is a "
            "little too high."
        )
    if "reason" in told["baselines"]["loss"]:
        said.append(f"No comparison with loss: {told['baselines']['loss']['reason']}.")
    return said


COLUMNS = ("SAE", "hook", "d_sae", "AUC", "minus length", "tested", "enriched", "depleted")


def layer_rows(told: Told) -> Sequence[Sequence[str]]:
    """`COLUMNS` of every layer, and the Neuronpedia id where any has one."""
    rows = []
    linked = any(layer["neuronpedia_id"] for layer in told["layers"].values())
    for sae_id, layer in told["layers"].items():
        against = layer["minus_baseline"].get("length alone")
        counts = layer["features"]
        rows.append(
            (
                sae_id,
                layer["hook_name"] or "–",
                f"{layer['d_sae']:,}",
                level(layer, "oof_auc"),
                f"{number(against['effect'], sign=True)}{interval(against['interval'])}"
                if against
                else "–",
                f"{counts['tested']:,}",
                f"{counts['enriched']:,}",
                f"{counts['depleted']:,}",
                *([layer["neuronpedia_id"] or "–"] if linked else []),
            )
        )
    return rows


def columns(told: Told) -> Sequence[str]:
    """Names of the columns of `layer_rows`."""
    linked = any(layer["neuronpedia_id"] for layer in told["layers"].values())
    return (*COLUMNS, "Neuronpedia") if linked else COLUMNS


def level(arm: Mapping[str, Any], name: str) -> str:
    """A value with its interval, "–" where there is none."""
    return "–" if arm[name] is None else number(arm[name]) + interval(arm[f"{name}_interval"])
