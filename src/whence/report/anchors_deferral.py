"""The section on deferral: what a probe may label alone, what it leaves, and what that saves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

from whence.report import notation
from whence.report.anchors_charts import deferral_curve
from whence.report.figure import figure
from whence.report.page import Section, render

POSITION, PERCENT = "position_untrained", notation.Metric("", "", 100.0, 1, "points", " %")


def deferral_section(
    told: Mapping[str, Any], notes: Sequence[str] = (), title: str = "Deferral"
) -> Section:
    """told: a plan of `whence anchors defer`, the content of its JSON file. notes: cautions."""
    return Section(
        title,
        "Sentences that the probe is sure of it labels alone; those between its two thresholds go "
        "to rollouts. Thresholds are tuned on validation problems and judged on test problems.",
        Markup("\n").join([deferral_figure(told), deferral_table(told, notes)]),
    )


def deferral_figure(told: Mapping[str, Any]) -> Markup:
    """Error of what is accepted against what is deferred: the probe, position alone, no probe."""
    probe = told["score_column"].removeprefix("score_")
    controls = told["controls"]
    curves = {probe: told["curve"]}
    if controls.get(POSITION) and probe != POSITION:
        curves["position alone"] = controls[POSITION]["curve"]
    lines = pd.concat([_line(name, points) for name, points in curves.items()], ignore_index=True)
    alone = controls["no_probe"]
    levels = {
        "deferring at random": controls["random_deferral"]["accepted_error"],
        f"all “{alone['called']}”": alone["accepted_error"],
    }
    levels = {name: 100 * value for name, value in levels.items() if value is not None}
    test = told["test"]
    chosen = (
        None
        if test["accepted_error"] is None
        else (100 * test["deferral"], 100 * test["accepted_error"])
    )
    with_interval = lines[lines["line"] == probe][["low", "high"]].notna().all(axis=1).any()
    band = (
        "The band is its 95 % interval over problems."
        if with_interval
        else f"No band: {_reason(told)}."
    )
    return figure(
        deferral_curve(lines, levels, chosen),
        alt_text=f"Curve of errors among accepted sentences against sentences deferred, for "
        f"{probe}. The plan defers {PERCENT.value(test['deferral'])} of test and is wrong on "
        f"{PERCENT.value(test['accepted_error'])} of what it accepts; without a probe, calling "
        f"every sentence {alone['called']} is wrong on {PERCENT.value(alone['accepted_error'])}.",
        caption=f"Each dot is a budget between 0 and 100 %, tuned on validation and seen on test. "
        f"{band} Below the dotted lines the probe is worth something.",
    )


def deferral_table(told: Mapping[str, Any], notes: Sequence[str] = ()) -> Markup:
    """The plan's numbers, the controls beside them, groups, and the bill."""
    controls = told["controls"]
    # Beside itself it would say nothing.
    position = controls.get(POSITION) if told["score_column"] != f"score_{POSITION}" else None
    alone = controls["no_probe"]
    rows = [
        ("validation, tuned here", told["val"]),
        ("test", told["test"]),
        *([("test, position alone", position)] if position else []),
        ("test, deferring at random", controls["random_deferral"] | {"deferral": None}),
        (f"test, every sentence “{alone['called']}”", alone),
    ]
    shown = [{"name": name, "side": dict.fromkeys(_KEYS) | dict(side)} for name, side in rows]
    return render(
        "anchors_deferral.html",
        told=told,
        rows=shown,
        percent=PERCENT,
        difference=position["probe_minus_position"] if position else None,
        notes=notes,
        cost=told["cost"],
        reason=_reason(told),
    )


_KEYS = ("deferral", "accepted_error", "accepted_error_interval", "accepted", "wrong",
         "anchors_missed", "false_alarms")  # fmt: skip


def _line(name: str, points: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    rows = [
        {
            "line": name,
            "deferral": 100 * point["deferral"],
            "error": 100 * point["accepted_error"],
            "low": 100 * point["interval"][0] if point.get("interval") else None,
            "high": 100 * point["interval"][1] if point.get("interval") else None,
        }
        for point in points
        if point["accepted_error"] is not None
    ]
    frame = pd.DataFrame(rows, columns=["line", "deferral", "error", "low", "high"])
    frame[["low", "high"]] = frame[["low", "high"]].astype(float)
    return frame.drop_duplicates().sort_values("deferral", kind="stable")


def _reason(told: Mapping[str, Any]) -> str:
    return str(told["test"].get("accepted_error_reason") or "")
