"""The sections of a report on heads: heads, layers, pairs, sets, agreement, and the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from whence.report import heads_charts as charts
from whence.report import notation
from whence.report.figure import figure
from whence.report.heads_headline import ALPHA, Headline, Told, act, headline, logits, sure
from whence.report.page import Section, render

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "agreement_section",
    "baseline_section",
    "headline",
    "heads_section",
    "layers_section",
    "masthead",
    "pairs_section",
    "sets_section",
]

SHOWN = 10


def masthead(title: str, answer: Headline, sections: Sequence[Section]) -> Markup:
    """The head of the page: the answer in one sentence and the numbers behind it."""
    return render("heads_masthead.html", title=title, answer=answer, sections=sections)


def heads_section(told: Told, heatmap: Markup | None) -> Section:
    """The heatmap of all heads, and per condition the strongest beside their layer's others.

    heatmap: a figure of all conditions.
    """
    parts = []
    for tag, own in told.items():
        top = own["strongest"][:SHOWN]
        if top:
            metric = logits(*(row["delta_logit_diff"] for row in top))
            rows = [row | {"sure": sure(row)} for row in top]
            plot = _strongest(tag if len(told) > 1 else "", rows, metric)
            ranked = any(row["percentile_in_layer"] is not None for row in rows)
            part = {"tag": tag, "plot": plot, "rows": rows, "metric": metric, "ranked": ranked}
            parts.append(part)
    first = next(iter(told.values()))
    return Section(
        "Heads",
        f"What {act(first['battery'], 'one head at a time')} does to the logit of the target minus "
        "that of the foil. Intervals come from resampling distinct prompts; q corrects for the "
        "number of heads.",
        render(
            "heads_strongest.html",
            heatmap=heatmap,
            parts=parts,
            several=len(told) > 1,
            scale=_scale(first),
        ),
    )


def layers_section(curves: Mapping[str, pd.DataFrame], told: Told) -> Section:
    """Per condition the effect of the patch by layer, shams on it, and the same as a table.

    curves: condition → rows of layer_impact of one metric, shams included.
    """
    parts = []
    for tag, rows in curves.items():
        own = told[tag]["layers"]
        metric = logits(*(row["delta_logit_diff"] for row in own))
        said = "; ".join(
            f"layer {row['layers']}: {metric.difference(row['delta_logit_diff'])}" for row in own
        )
        sham = told[tag].get("sham")
        shams = "" if sham is None else " Squares are the sham: a run's own activations put back."
        bars = " Bars are layers patched together." if rows["layer"].isna().any() else ""
        plot = figure(
            charts.layer_curve(rows),
            alt_text=f"Effect of the patch by layer. {said}.",
            caption=f"Change of the logit difference by patched layer, with 95 % intervals.{shams}"
            f"{bars}",
        )
        parts.append(
            {"tag": tag, "plot": plot, "rows": [r | {"sure": sure(r)} for r in own]}
            | {"metric": metric, "sham": sham}
        )
    battery = next(iter(told.values()))["battery"]
    direction = str(battery.get("patch_direction", "corrupt->clean")).replace("->", " → ")
    return Section(
        "Layers",
        f"Activations of one prompt put into the run of its partner ({direction}): "
        f"{battery.get('granularity')} at {notation.words(battery.get('positions'))}. “Recovered” "
        "is the share of what separates the two undisturbed runs.",
        render("heads_layers.html", parts=parts, several=len(curves) > 1),
    )


def pairs_section(told: Told) -> Section:
    """Pairs by the size of their synergy."""
    parts = [
        {
            "tag": tag,
            "rows": [
                row | {"sure": sure(row, "synergy_q", "synergy_interval")}
                for row in own["pairs"][: 2 * SHOWN]
            ],
            "metric": logits(*(row["delta_logit_diff"] for row in own["pairs"])),
            "ranked": any(row["percentile_of_random"] is not None for row in own["pairs"]),
        }
        for tag, own in told.items()
        if own.get("pairs")
    ]
    return Section(
        "Pairs",
        "Two heads at once. Synergy is what a pair does beyond the sum of its heads, example by "
        "example: Δ(pair) − Δ(a) − Δ(b). Two heads that stand in for each other do nothing alone.",
        render("heads_pairs.html", parts=parts, several=len(told) > 1),
    )


def sets_section(told: Told) -> Section:
    """Sets of heads beside random sets of as many heads of the same layers."""
    parts = [
        {
            "tag": tag,
            "rows": [row | {"sure": sure(row)} for row in own["subsets"]],
            "metric": logits(*(row["delta_logit_diff"] for row in own["subsets"])),
            "ranked": any(row["random_sets"] is not None for row in own["subsets"]),
        }
        for tag, own in told.items()
        if own.get("subsets")
    ]
    return Section(
        "Sets of heads",
        "Several heads at once, beside random sets of as many heads of the same layers.",
        render("heads_sets.html", parts=parts, several=len(told) > 1),
    )


def agreement_section(across: Mapping[str, Any], cross: Mapping[str, Any]) -> Section:
    """What holds in every condition, and how far conditions rank heads alike.

    across: invariants.json; cross: the summary.json beside it.
    """
    tags = list(across["conditions"])
    kinds = (("head", "heads", "tested"), ("layers", "layers", "layers_tested"))
    lists = [
        {"noun": noun, "key": key, "rows": across[noun][: 2 * SHOWN], "all": len(across[noun])}
        | {"tested": across[tested]}
        for key, noun, tested in kinds
        if across[tested]
    ]
    effects = [
        row["conditions"][tag]["delta_logit_diff"]
        for one in lists
        for row in one["rows"]
        for tag in tags
    ]
    return Section(
        "In all conditions",
        "What has one sign and an interval clear of zero in every condition, sorted by the weakest "
        "of its effects.",
        render(
            "heads_agreement.html",
            lists=lists,
            tags=tags,
            chance=across["expected_by_chance"],
            agreement=cross["agreement"],
            metric=logits(*effects),
        ),
    )


def baseline_section(told: Told) -> Section:
    """The undisturbed run of each condition, what was left out, and how prompts were read."""
    rows = []
    for tag, own in told.items():
        clean = own.get("clean", {})
        excluded = own.get("excluded") or {}
        rows.append(
            {
                "tag": tag,
                "summary": own,
                "clean": clean,
                "metric": logits(clean.get("logit_diff")),
                "excluded": {
                    reason: len(left) if isinstance(left, Sequence) else left
                    for reason, left in excluded.items()
                },
                "reading": _reading(own),
            }
        )
    return Section(
        "Undisturbed run",
        "What the model does when nothing is changed: everything above is a difference from it. "
        "Rows whose target and foil begin with the same token have no logit difference and are "
        "left out.",
        render("heads_baseline.html", rows=rows, several=len(told) > 1),
    )


_READING = {
    "baseline_run": "compared with",
    "prepend_bos": "BOS",
    "metric_span": "measured",
    "truncated": "prompts cut",
    "first_of_several_tokens": "answers read by their first token",
    "seeds": "seeds",
    "model": "model",
    "corpus": "corpus",
    "battery": "battery",
}


def _reading(told: Mapping[str, Any]) -> dict[str, Any]:
    """How prompts were read, and on what: what of it the summary has."""
    shown = {name: told[key] for key, name in _READING.items() if told.get(key) is not None}
    if "bos" in told:
        # As text: an id is no quantity, and wants no comma.
        bos = "no BOS token" if told["bos"] is None else f"BOS, token {told['bos']}"
        shown = {"prompts begin with": bos} | shown
    return shown


def _strongest(tag: str, rows: Sequence[Mapping[str, Any]], metric: notation.Metric) -> Markup:
    import pandas as pd

    data = pd.DataFrame(
        [
            {
                "name": row["name"],
                "delta": row["delta_logit_diff"],
                "low": (row["interval"] or [None, None])[0],
                "high": (row["interval"] or [None, None])[1],
                "null_low": (row["others_in_layer"] or {}).get("low"),
                "null_high": (row["others_in_layer"] or {}).get("high"),
                "sure": row["sure"],
                "written": f"{metric.difference(row['delta_logit_diff'])} "
                f"{metric.interval(row['interval']) if row['interval'] else '(no interval)'}",
            }
            for row in rows
        ]
    )
    of = f" of {tag}" if tag else ""
    said = "; ".join(
        f"{row['name']}: {text}" for row, text in zip(rows, data["written"], strict=True)
    )
    band = ""
    if data["null_low"].notna().any():
        band = " The pale band is the middle 90 % of the other heads of the same layer."
    return figure(
        charts.strongest(data),
        alt_text=f"The {len(rows)} strongest heads{of} with intervals. {said}.",
        caption=f"The {len(rows)} strongest heads{of} with 95 % intervals. Filled dots have q < "
        f"{ALPHA}, hollow ones have not.{band}",
    )


def _scale(told: Mapping[str, Any]) -> float | None:
    """The scale shown, where the battery has several."""
    scales = told["battery"].get("scales") or []
    return scales[0] if len(scales) > 1 else None
