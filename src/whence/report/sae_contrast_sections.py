"""The sections of a contrast: the SAEs beside the baselines, the statistics, the features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

from whence.report import charts
from whence.report.anchors_charts import probe_levels
from whence.report.anchors_headline import Headline
from whence.report.figure import figure
from whence.report.notation import MISSING, Metric, p_value
from whence.report.page import Section, render
from whence.report.sae_contrast_charts import volcano
from whence.report.verdict_sections import Standing, standing

Told = Mapping[str, Any]
"""What `contrast.json` holds."""

QUESTION = "What do the rows that attribution puts first have in common, as an SAE sees them?"
AUC = Metric("AUC", "AUC", decimals=3)
RATE = Metric("rate", "share of rows", 100.0, 1, "points", "\N{NARROW NO-BREAK SPACE}%")
SHOWN, AT_LEAST = 25, 8
"""Most features of a table, and how many where fewer are found; features.parquet has all."""
DRAWN = 12
"""Features that are drawn with their held-out intervals."""


def masthead(title: str, told: Told, sections: Sequence[Section]) -> Markup:
    """The question, the verdict on the best SAE, and the numbers behind it."""
    layer = told["layers"][told["best_layer"]]
    against = layer["minus_baseline"].get("length alone")
    counts = told["features"]
    interval = against["interval"] if against else None
    answer = Headline(
        sentence=told["verdict"],
        standing=_standing(layer, against),
        number=AUC.value(layer["oof_auc"]),
        of=f"AUC out of fold, {told['best_layer']}",
        interval=f"95 % interval {_ends(layer['oof_auc_interval'])}",
        facts=[
            (
                "Minus length alone",
                AUC.difference(against["effect"] if against else None),
                f"{AUC.interval(interval)}, q {p_value(against['q'] if against else None)}",
            ),
            (
                "Features found",
                f"{counts['enriched'] + counts['depleted']:,} of {counts['tested']:,}",
                f"{counts['enriched']:,} enriched, {counts['depleted']:,} depleted",
            ),
            (
                "Rows",
                f"{told['top_rows']:,} of {told['rows']:,} at the top",
                f"{told['groups']:,} groups; {told['held_out']['rows']:,} rows held out",
            ),
        ],
    )
    return render(
        "anchors_verdict.html", title=title, question=QUESTION, answer=answer, sections=sections
    )


def layers_section(told: Told, alpha: float) -> Section:
    """AUC of every SAE beside length and loss: a chart, and all three AUCs in a table."""
    rows: list[dict[str, Any]] = [
        {
            "name": sae_id,
            "hook": layer["hook_name"],
            "baseline": False,
            **layer,
            **layer["features"],
        }
        for sae_id, layer in told["layers"].items()
    ]
    rows += [
        {"name": arm["arm"], "hook": None, "d_sae": None, "baseline": True, **arm}
        | {"tested": None, "enriched": None, "depleted": None}
        for arm in (told["baselines"][name] for name in ("length", "loss"))
        if "arm" in arm
    ]
    return Section(
        "SAEs",
        "Ten statistics of a row's activations, a weighted logistic regression, and the chance "
        "that it puts a top row above another. Hollow: rows by their length or loss alone, in the "
        "direction that suits it best. Intervals come from resampling groups of rows, and of an "
        "AUC out of fold are widened for the fits that differ.",
        render(
            "sae_contrast_layers.html",
            plots=[plot for plot in [_levels(rows)] if plot],
            rows=rows,
            metric=AUC,
            alpha=alpha,
            cautions=told["cautions"],
        ),
    )


def comparisons_section(told: Told) -> Section | None:
    """Every SAE minus every baseline, and the SAEs among each other; None where there is none."""
    own = [*told["comparisons"], *told["between_layers"]]
    if not own:
        return None
    differences = [
        charts.Difference(
            label=f"{c['arm']} − {c['control']}",
            effect=c["effect"],
            interval=c["interval"],
            minimum_detectable_effect=c["minimum_detectable_effect"],
            settled=standing(c).tone != "open",
        )
        for c in told["comparisons"]
    ]
    drawn = figure(
        charts.forest(differences, AUC),
        alt_text="Differences in AUC: "
        + "; ".join(f"{d.label} {AUC.difference(d.effect)}" for d in differences)
        + ".",
        caption="Difference in AUC out of fold, with 95 % intervals. The pale band is what this "
        "design could not have seen.",
    )
    rows = [{"comparison": c, "standing": standing(c), "metric": AUC} for c in own]
    return Section(
        "Against length and loss",
        "Paired: both are judged on the same resamples of groups. q corrects p within the "
        "comparisons with baselines, and within those between SAEs.",
        render("comparisons.html", plots=[drawn], rows=rows),
    )


def statistics_section(told: Told) -> Section:
    """Per SAE the ten statistics: means, Cohen's d, coefficients."""
    parts = [
        {
            "name": sae_id,
            "rows": [
                row | {"coefficient": layer["regression_coefficients"]["standardised"][row["name"]]}
                for row in layer["stat_feature_differences"]
            ],
        }
        for sae_id, layer in _best_first(told)
    ]
    return Section(
        "Statistics",
        "Cohen's d looks at one statistic at a time. The statistics go together, so a coefficient "
        "says what one adds to the others, and not how much it matters.",
        render("sae_contrast_statistics.html", parts=parts, several=len(parts) > 1),
    )


def features_section(told: Told, features: pd.DataFrame, alpha: float) -> Section:
    """Per SAE: all tested features in one picture, and the strongest of either side in tables.

    features: what `features.parquet` holds.
    """
    parts = []
    for sae_id, layer in _best_first(told):
        own = features[features["sae_id"] == sae_id]
        sides = {
            "enriched": layer["top_enriched_features"],
            "depleted": layer["top_depleted_features"],
        }
        parts.append(
            {
                "name": sae_id,
                "plots": [p for p in (_volcano(sae_id, own, alpha), _held_out(sides, alpha)) if p],
                "sides": [
                    {"name": name, "rows": _shown(rows, alpha)} for name, rows in sides.items()
                ],
            }
        )
    groups = (
        f" There are {told['rows_per_group']:.1f} rows to a group on average, which Fisher's test "
        "takes for independent; q by groups does not."
        if told["rows_per_group"] > 1
        else ""
    )
    untested = sum(sum(layer["features"]["untested"].values()) for layer in told["layers"].values())
    return Section(
        "Features",
        "Is a feature present in more of the top rows than of the rest, or in fewer? Fisher's "
        f"exact test on the fitted rows, q over all {told['features']['tested']:,} tested features "
        f"of all SAEs. {untested:,} that nearly no row or nearly every row has were not tested."
        + groups,
        render(
            "sae_contrast_features.html",
            parts=parts,
            several=len(parts) > 1,
            rate=RATE,
            alpha=alpha,
            by_groups=told["rows_per_group"] > 1,
        ),
    )


def _best_first(told: Told) -> list[tuple[str, Mapping[str, Any]]]:
    layers: Mapping[str, Mapping[str, Any]] = told["layers"]
    return sorted(layers.items(), key=lambda each: each[0] != told["best_layer"])


def _standing(layer: Mapping[str, Any], against: Mapping[str, Any] | None) -> Standing:
    """Does the best SAE tell rows apart at all, and better than their length does?"""
    interval = layer["oof_auc_interval"]
    if interval is None:
        return Standing("no interval: not settled", "", "open")
    if interval[0] <= 0.5 <= interval[1]:
        return Standing("not told apart", "", "open")
    if interval[1] < 0.5:
        return Standing("worse than chance", "", "against")
    if against is None or against["interval"] is None or against["q"] > 0.05:
        return Standing("told apart; not shown to be more than length", "", "open")
    if against["effect"] < 0:
        return Standing("length alone does better", "", "against")
    return Standing("told apart, and better than by length", "", "for")


def _levels(rows: Sequence[Mapping[str, Any]]) -> Markup | None:
    known = [row for row in rows if row["oof_auc"] is not None]
    if not known:
        return None
    table = pd.DataFrame(
        [
            {
                "probe": row["name"],
                "value": row["oof_auc"],
                "low": (row["oof_auc_interval"] or [None])[0],
                "high": (row["oof_auc_interval"] or [None, None])[1],
                "baseline": row["baseline"],
                "written": f"{AUC.value(row['oof_auc'])} {_ends(row['oof_auc_interval'])}",
            }
            for row in known
        ]
    ).astype({"low": float, "high": float})
    return figure(
        probe_levels(table, "AUC out of fold", {"chance": 0.5}),
        alt_text="AUC out of fold: "
        + "; ".join(f"{row['name']} {AUC.value(row['oof_auc'])}" for row in known)
        + ".",
        caption="The chance that a top row scores above another, every row held out once, with "
        "95 % intervals.",
    )


def _volcano(sae_id: str, own: pd.DataFrame, alpha: float) -> Markup | None:
    if own.empty:
        return None
    found = own[own["q"] <= alpha]
    up = int((found["delta_rate"] > 0).sum())
    return figure(
        volcano(own, sae_id, alpha),
        alt_text=f"{len(own)} tested features of {sae_id}: {up} enriched and {len(found) - up} "
        f"depleted with q up to {alpha}.",
        caption=f"Every tested feature of {sae_id} on the fitted rows; coloured where q ≤ {alpha}.",
    )


def _held_out(sides: Mapping[str, Sequence[Mapping[str, Any]]], alpha: float) -> Markup | None:
    """The found features on the rows that had no part in finding them."""
    found = [row for rows in sides.values() for row in rows if row["q"] <= alpha]
    drawn = sorted(found, key=lambda row: row["p"])[:DRAWN]
    if not drawn:
        return None
    differences = [
        charts.Difference(
            label=f"feature {row['feature']}",
            effect=row["heldout_delta_rate"],
            interval=row["heldout_interval"],
            minimum_detectable_effect=None,
            settled=row["heldout_interval"] is not None
            and not row["heldout_interval"][0] <= 0 <= row["heldout_interval"][1],
        )
        for row in drawn
    ]
    return figure(
        charts.forest(differences, RATE),
        alt_text="Held-out differences: "
        + "; ".join(f"{d.label} {RATE.difference(d.effect)} points" for d in differences)
        + ".",
        caption="The features of smallest p, on held-out rows: the share of top rows that have one "
        "minus that of the rest, with 95 % intervals.",
    )


def _shown(rows: Sequence[Mapping[str, Any]], alpha: float) -> Sequence[Mapping[str, Any]]:
    found = sum(row["q"] <= alpha for row in rows)
    return rows[: min(SHOWN, max(found, AT_LEAST))]


def _ends(interval: Sequence[float] | None) -> str:
    return MISSING if interval is None else f"[{AUC.value(interval[0])}, {AUC.value(interval[1])}]"
