"""The sections of a validation: orthogonal or not, what goes with what, and what lies beyond."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

from whence.report.anchors_charts import probe_levels
from whence.report.anchors_headline import Headline
from whence.report.figure import figure
from whence.report.notation import MISSING, Metric
from whence.report.page import Section, render
from whence.report.sae_validate_charts import MOST_POINTS, boxes, scatter
from whence.report.verdict_sections import Standing

Told = Mapping[str, Any]
"""What `validation.json` holds; one of its sides where so named."""

QUESTION = "Does the predictor find what the reward model already says?"
RHO = Metric("rho", "Spearman ρ", decimals=2)
LEVEL = Metric("mean", "mean")
LEVELS = 20
"""Levels of a field that are drawn."""

_STANDINGS = {
    "orthogonal": Standing("orthogonal to the reward model", "", "for"),
    "not orthogonal": Standing("not orthogonal to the reward model", "", "against"),
    "not settled": Standing("not settled", "", "open"),
    None: Standing("no reward to compare with", "", "open"),
}
_ON = {"test": "held-out rows", "out_of_fold": "all rows, out of fold", "all": "all rows"}


def masthead(title: str, told: Told, sections: Sequence[Section]) -> Markup:
    """The question, the verdict, and the numbers behind it."""
    side, reward = told[told["on"]], told["reward_field"]
    of_reward = _found(side["correlations"], arm="predicted", field=reward)
    itself = _found(side["correlations"], arm="attribution", field=reward)
    given = _found(side["partial"], given=[reward])
    answer = Headline(
        sentence=told["verdict"]["sentences"][0],
        standing=_STANDINGS[told["verdict"]["answer"]],
        number=RHO.difference(of_reward["value"] if of_reward else None),
        of=f"ρ of the prediction with {reward}, {_ON[told['on']]}",
        interval=f"95 % interval {RHO.interval(of_reward['interval'] if of_reward else None)}",
        facts=[
            ("Counts as orthogonal", f"within ±{told['margin']:g}", "the whole interval"),
            _fact(f"Attribution itself with {reward}", itself),
            _fact(f"Prediction with attribution, given {reward}", given),
            (
                "Rows",
                f"{side['rows']:,} in {side['groups']:,} groups",
                f"{side['in_sample_rows']:,} of them fitted on",
            ),
        ],
    )
    return render(
        "anchors_verdict.html", title=title, question=QUESTION, answer=answer, sections=sections
    )


def fields_section(told: Told) -> Section:
    """Correlation with every field, prediction beside attribution itself."""
    side = told[told["on"]]
    drawn = [c for c in side["correlations"] if c["value"] is not None]
    return Section(
        "With the metadata",
        f"On {_ON[told['on']]}. Hollow: attribution itself, which the prediction is to follow. "
        "Intervals come from resampling groups of rows; q corrects p for all of this side.",
        render(
            "sae_validate_table.html",
            plots=[_levels(drawn, told["margin"])] if drawn else [],
            parts=[_correlation_part(side), _category_part(side), *_level_parts(side)],
            sentences=told["cautions"],
        ),
    )


def beyond_section(told: Told) -> Section | None:
    """Prediction and attribution, given what is known otherwise; None without attribution."""
    side = told[told["on"]]
    if not side["partial"]:
        return None
    return Section(
        "Beyond the reward",
        "How far the prediction orders rows as attribution does once the ranks of what is given "
        "are taken out of both.",
        render(
            "sae_validate_table.html",
            plots=[],
            parts=[_partial_part(side)],
            sentences=told["verdict"]["sentences"][1:],
        ),
    )


def out_of_fold_section(told: Told) -> Section | None:
    """All rows by predictions of fits that had not seen them; None where the verdict is of them."""
    if told["on"] == "out_of_fold" or "out_of_fold" not in told:
        return None
    return Section(
        "Out of fold",
        "Every row by a fit that had not seen it: more rows than were held out, of several fits.",
        _tables(told["out_of_fold"]),
    )


def in_sample_section(told: Told) -> Section | None:
    """All rows, those that were fitted on among them; None where the verdict is of them."""
    if told["on"] == "all":
        return None
    side = told["all"]
    return Section(
        "All rows",
        f"In-sample: {side['in_sample_rows']:,} of {side['rows']:,} rows were fitted on, so what "
        "the prediction has to do with attribution is too high here.",
        _tables(side),
    )


def pictures_section(
    scatters: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    levels: Mapping[str, Mapping[str, Sequence[float]]],
) -> Section | None:
    """scatters: field → its numbers and the predictions of the same rows. levels: field → level →
    predictions. None where there is neither.
    """
    plots = [
        figure(
            scatter(x, y, f"{name}, rank in %", "prediction, rank in %"),
            alt_text=f"Rank of the prediction against rank of {name}, {len(x)} rows.",
            caption=f"A dot a row, lowest ranks first; the line is the mean in tenths of {name}."
            + (f" Of {len(x):,} rows some are drawn." if len(x) > MOST_POINTS else ""),
        )
        for name, (x, y) in scatters.items()
        if len(x)
    ]
    for name, own in levels.items():
        shown = dict(list(own.items())[:LEVELS])
        more = f" The first {LEVELS} of {len(own)} levels." if len(own) > LEVELS else ""
        if shown:
            plots.append(
                figure(
                    boxes(shown, f"predicted value, by {name}"),
                    alt_text=f"Predicted value by {name}: {', '.join(shown)}.",
                    caption=f"Quartiles and median by {name}; lines from the 5 % to the 95 % "
                    f"point.{more}",
                )
            )
    if not plots:
        return None
    return Section(
        "In pictures",
        "What a single number may hide.",
        render("sae_validate_table.html", plots=plots, parts=[], sentences=[]),
    )


def _tables(side: Told) -> Markup:
    parts = [_correlation_part(side), _category_part(side), _partial_part(side)]
    return render("sae_validate_table.html", plots=[], parts=parts, sentences=[])


def _levels(drawn: Sequence[Told], margin: float) -> Markup:
    rows = [
        {
            "probe": f"{c['field']}{'' if c['arm'] == 'predicted' else ', attribution'}",
            "value": c["value"],
            "low": (c["interval"] or [None])[0],
            "high": (c["interval"] or [None, None])[1],
            "baseline": c["arm"] != "predicted",
            "written": f"{RHO.difference(c['value'])} {RHO.interval(c['interval'])}",
        }
        for c in drawn
    ]
    table = pd.DataFrame(rows).astype({"low": float, "high": float})
    return figure(
        probe_levels(table, "Spearman ρ", {"margin": -margin, "": margin}),
        alt_text="Rank correlations: "
        + "; ".join(f"{row['probe']} {RHO.difference(row['value'])}" for row in rows)
        + ".",
        caption=f"Rank correlation with 95 % intervals; dashed: ±{margin:g}, within which a "
        "prediction counts as orthogonal.",
    )


def _correlation_part(side: Told) -> dict[str, Any]:
    return {
        "caption": "Rank correlation with every field that has an order.",
        "first": "field",
        "value": "Spearman ρ",
        "beside": "interval",
        "rows": [_row(c, c["field"], c["arm"]) for c in side["correlations"]],
    }


def _category_part(side: Told) -> dict[str, Any]:
    return {
        "caption": "Categories without an order: the share of the variance that lies between them. "
        "It is never below 0; chance is its mean when categories are shuffled.",
        "first": "field",
        "value": "η²",
        "beside": "chance",
        "rows": [
            _row(c, c["field"], c["arm"])
            | {
                "value": c["eta_squared"],
                "beside": c["reason"] or f"{c['chance']:.3f}",
            }
            for c in side["categories"]
        ],
    }


def _level_parts(side: Told) -> list[dict[str, Any]]:
    return [
        {
            "caption": f"Means by {c['field']}, {c['arm']}.",
            "first": c["field"],
            "value": "mean",
            "beside": "interval",
            "rows": [
                {
                    "name": level["name"],
                    "arm": c["arm"],
                    "rows": level["rows"],
                    "value": level["mean"],
                    "beside": LEVEL.interval(level["interval"])
                    if level["interval"]
                    else level["reason"],
                    "p": None,
                    "q": None,
                }
                for level in sorted(c["levels"], key=lambda each: -each["rows"])[:LEVELS]
            ],
        }
        for c in side["categories"]
    ]


def _partial_part(side: Told) -> dict[str, Any]:
    return {
        "caption": "Partial rank correlation of the prediction with attribution.",
        "first": "given",
        "value": "ρ",
        "beside": "interval",
        "rows": [
            _row(c, " and ".join(c["given"]) or "nothing", "prediction and attribution")
            for c in side["partial"]
        ],
    }


def _row(found: Told, name: str, arm: str) -> dict[str, Any]:
    interval = found.get("interval")
    return {
        "name": name,
        "arm": arm,
        "rows": found["rows"],
        "value": found.get("value"),
        "beside": RHO.interval(interval) if interval else found["reason"],
        "p": found["p"],
        "q": found["q"],
    }


def _fact(name: str, found: Told | None) -> tuple[str, str, str]:
    if found is None:
        return name, MISSING, "not known"
    ends = found["interval"]
    return name, RHO.difference(found["value"]), RHO.interval(ends) if ends else found["reason"]


def _found(entries: Sequence[Told], **wanted: Any) -> Told | None:
    return next((e for e in entries if all(e[key] == value for key, value in wanted.items())), None)
