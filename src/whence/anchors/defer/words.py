"""A deferral plan in words and as the rows of a small table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from whence.anchors.predictions import probe_of

MISSING = "–"
POSITION = "position_untrained"


def headline(told: Mapping[str, Any]) -> str:
    """What the plan does on test, beside what no probe at all would have done."""
    test, alone = told["test"], told["controls"]["no_probe"]
    probe = probe_of(told["score_column"])
    without = (
        f"{percent(alone['accepted_error'])} without a probe, calling every sentence "
        f"{alone['called']}"
    )
    if test["accepted_error"] is None:
        return f"On test, {probe} defers every sentence and labels none"
    position = told["controls"].get(POSITION)
    if position and position["accepted_error"] is not None:
        without = (
            f"position alone: {percent(position['deferral'])} deferred, "
            f"{percent(position['accepted_error'])} wrong; {without}"
        )
    return (
        f"On test, {probe} defers {percent(test['deferral'])} of the sentences and is wrong on "
        f"{percent(test['accepted_error'])} of the rest ({without})"
    )


def cautions(told: Mapping[str, Any]) -> list[str]:
    """What of the objective was not reached, on validation or on test, in sentences."""
    limit, test = percent(told["limit"]), told["test"]
    budget = told["objective"] == "budget"
    said = []
    missing = [group["group"] for group in told["groups"] if not group["meets_objective"]]
    if missing:
        said.append(
            f"No pair of thresholds reaches an error of {limit} on validation in "
            f"{len(missing)} of {len(told['groups'])} groups: {', '.join(missing)}."
        )
    elif not told["meets_objective"]:
        said.append(f"No pair of thresholds reaches an error of {limit} on validation.")
    elif budget and test["deferral"] > told["limit"] + 1e-12:
        said.append(f"On test more is deferred than the budget of {limit}, which validation kept.")
    elif not budget and (test["accepted_error"] or 0) > told["limit"]:
        said.append(f"On test the error is above the target of {limit}, which validation reached.")
    if test["called_anchor"] == 0 and test["anchors_missed"]:
        said.append(
            "These thresholds call no test sentence an anchor: every anchor that is not deferred "
            f"is missed ({test['anchors_missed']:,} of {test['anchors']:,})."
        )
    alone = told["controls"]["no_probe"]
    if (test["accepted_error"] or 0) >= alone["accepted_error"]:
        said.append(
            f"Calling every sentence {alone['called']} makes no more errors and costs nothing."
        )
    for side, count in told["unlabelled_rows"].items():
        if count:
            said.append(f"{count:,} {side} rows have no label and are left out.")
    if told["unmatched_groups"]:
        left = sum(told["unmatched_groups"].values())
        names = ", ".join(told["unmatched_groups"])
        said.append(f"{left:,} rows of groups on one side only are left out: {names}.")
    if len(told["seeds_in_table"]) > 1:
        said.append(
            f"Scores of training seed {told['seed']}; the table also has those of "
            f"{', '.join(str(s) for s in told['seeds_in_table'] if s != told['seed'])}."
        )
    return said


def control_rows(told: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Rows: val, test, then the controls on test."""
    rows: list[tuple[str, ...]] = [
        ("val (tuned here)", *_cells(told["val"])),
        ("test", *_cells(told["test"])),
    ]
    controls = told["controls"]
    if controls.get(POSITION):
        rows.append(("test, position alone", *_cells(controls[POSITION])))
    rows.append(("test, deferring at random", *_cells(controls["random_deferral"])))
    rows.append((f"test, all “{controls['no_probe']['called']}”", *_cells(controls["no_probe"])))
    return rows


def percent(share: float | None) -> str:
    """A share in percent with one decimal."""
    return MISSING if share is None else f"{share:.1%}".replace("%", " %")


def _cells(side: Mapping[str, Any]) -> tuple[str, str, str, str, str]:
    interval = side.get("accepted_error_interval")
    return (
        # Deferring at random can be done at any share, and its error is the same at all of them.
        "any" if "meaning" in side and "called" not in side else percent(side["deferral"]),
        percent(side["accepted_error"]),
        f"[{percent(interval[0])}, {percent(interval[1])}]" if interval else MISSING,
        f"{side['accepted']:,}" if "accepted" in side else MISSING,
        f"{side['wrong']:,}" if "wrong" in side else MISSING,
    )
