"""The sections that let a reader doubt and repeat: the controls, and how to run it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from whence.report.page import Section, render


class Controls(TypedDict, total=False):
    """What the experiment did to make its comparison fair. Any further key is shown as it is."""

    matched_on: list[str]
    """Columns that the matched random rows agree with the chosen rows on."""
    length_bins: int
    overlap_allowed: bool
    strata: list[dict[str, Any]]
    """One row per stratum, e.g. `{"stratum": …, "chosen": 12, "available": 80, "drawn": 12}`."""
    token_budgets: dict[str, float]
    """Arm → training tokens (mean over seeds). The first is what the others are compared with."""
    correlations: dict[str, float]
    """What the score goes with: name (`length`, `loss`) → Spearman correlation."""
    baselines: list[dict[str, Any]]
    """Trivial rankings under the same metrics, one mapping per baseline, all with equal keys."""


class Rerun(TypedDict, total=False):
    """Everything needed to run it again. Any further key is shown as it is."""

    commands: list[str]
    config: str | dict[str, Any]
    seeds: list[int]
    model: str
    hardware: str | dict[str, Any]
    seconds: float
    versions: dict[str, str]


def controls_section(controls: Mapping[str, Any]) -> Section:
    """What the control matched, what each arm cost, and what trivial rankings would have found."""
    budgets: Mapping[str, float] = controls.get("token_budgets") or {}
    reference = next(iter(budgets.values()), 0.0)
    known = Controls.__annotations__
    return Section(
        "Controls",
        "What could have made the difference other than the choice of examples, and what was done "
        "about it.",
        render(
            "controls.html",
            controls=dict.fromkeys(known) | dict(controls),
            budgets=[
                (arm, tokens, tokens / reference - 1 if reference else None)
                for arm, tokens in budgets.items()
            ],
            further={key: value for key, value in controls.items() if key not in known},
        ),
    )


def rerun_section(rerun: Mapping[str, Any]) -> Section:
    """The commands, configuration, seeds, versions, model, hardware and time of this run."""
    shown_apart = ("commands", "config", "versions", "seconds")
    return Section(
        "Run it again",
        "The same commands with the same seeds on the same versions give the same numbers, up to "
        "the noise floor of the hardware.",
        render(
            "rerun.html",
            rerun=dict.fromkeys(Rerun.__annotations__) | dict(rerun),
            facts={key: value for key, value in rerun.items() if key not in shown_apart},
        ),
    )
