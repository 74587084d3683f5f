"""The sections of a report on several runs of probes put together (`aggregate.json`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

from whence.report import notation
from whence.report.anchors_charts import probe_levels
from whence.report.figure import figure
from whence.report.page import Section, render
from whence.report.verdict_sections import standing


def headline(raw: Mapping[str, Any], baselines: Collection[str]) -> str:
    """How many comparisons favour a probe that is no baseline; a count of runs without any."""
    own = [c for c in raw.get("comparisons") or [] if c["arm"] not in baselines]
    runs = len(raw.get("runs") or raw.get("tables") or [])
    over = f"{runs} run{'' if runs == 1 else 's'}"
    if not own:
        return f"{over} of probes"
    won = sum(standing(c).tone == "for" for c in own)
    lost = sum(standing(c).tone == "against" for c in own)
    return (
        f"In {over}, {won} of {len(own)} comparisons with a baseline favour the probe, "
        f"{lost} the baseline, {len(own) - won - lost} are not settled"
    )


def together_sections(raw: Mapping[str, Any], baselines: Collection[str]) -> list[Section]:
    """A section a table: what each probe reached in one run, over its seeds. baselines: names."""
    tables = raw.get("tables") or []
    about = {str(run.get("name")): run for run in raw.get("runs") or []}
    return [
        _section(table, _title(table, tables), about.get(str(table.get("run")), {}), baselines)
        for table in tables
        if table.get("rows")
    ]


def comparisons_by_run(raw: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The comparisons of all runs, each arm told apart by its run."""
    found = [dict(each) for each in raw.get("comparisons") or []]
    several = len({each.get("run") for each in found}) > 1
    for each in found:
        if several and each.get("run") is not None:
            each["arm"] = f"{each['arm']} ({each['run']})"
    return found


def tripwires_section(raw: Mapping[str, Any]) -> Section | None:
    """Every tripwire of every run in its own sentence."""
    wires = [wire for wire in raw.get("tripwires") or [] if isinstance(wire, Mapping)]
    if not wires:
        return None
    return Section(
        "Can it be trusted",
        "What would have exposed a leak, or a fit that cannot fit.",
        render("anchors_tripwires.html", wires=wires),
    )


def selected_section(raw: Mapping[str, Any]) -> Section | None:
    """What was chosen on validation in each run, and what it then reached on test."""
    rows = [each for each in raw.get("selected") or [] if each]
    if not rows:
        return None
    return Section(
        "Chosen on validation",
        "The choice looks at validation problems only; test was looked at once, afterwards.",
        render("anchors_selected.html", rows=rows),
    )


def _section(
    table: Mapping[str, Any], title: str, about: Mapping[str, Any], baselines: Collection[str]
) -> Section:
    rows: Sequence[Mapping[str, Any]] = table["rows"]
    names = list(dict.fromkeys(row["metric"] for row in rows))
    primary = next((row["metric"] for row in rows if row.get("primary")), names[0])
    by_probe: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        by_probe.setdefault(row["probe"], {})[row["metric"]] = row
    # Validation is where choices were made: its numbers are in the table, not in the picture.
    plot = _figure(rows, primary, baselines) if table.get("split") != "val" else None
    target = f"Target {about['target']}. " if about.get("target") else ""
    return Section(
        title,
        f"{target}Mean over distinct seeds ± their standard deviation; what no seed changes counts "
        "once.",
        render(
            "anchors_together.html",
            plots=[plot] if plot is not None else [],
            metrics=[notation.metric(name) for name in names],
            rows=by_probe,
            title=title,
        ),
    )


def _figure(
    rows: Sequence[Mapping[str, Any]], name: str, baselines: Collection[str]
) -> Markup | None:
    metric = notation.metric(name)
    own = [row for row in rows if row["metric"] == name and notation.known(row.get("mean"))]
    if not own:
        return None
    sign = 1 if metric.lower_is_better else -1
    drawn = []
    for row in sorted(own, key=lambda each: sign * each["mean"]):
        interval = row.get("interval")
        written = metric.value(row["mean"])
        if interval:
            written += f" [{metric.value(interval[0])}, {metric.value(interval[1])}]"
        elif notation.known(row.get("sd")):
            written += f" ± {metric.value(row['sd'])}"
        drawn.append(
            {
                "probe": row["probe"],
                "value": row["mean"] * metric.scale,
                "low": interval[0] * metric.scale if interval else None,
                "high": interval[1] * metric.scale if interval else None,
                "baseline": row["probe"] in baselines,
                "written": written,
            }
        )
    frame = pd.DataFrame(drawn)
    frame[["low", "high"]] = frame[["low", "high"]].astype(float)
    said = "; ".join(f"{row['probe']} {row['written']}" for row in drawn)
    why = next((row["reason"] for row in own if row.get("reason")), "no intervals in this run")
    return figure(
        probe_levels(frame, metric.label),
        alt_text=f"{metric.label} of each probe: {said}.",
        caption=f"{metric.label}. "
        + (
            "Whiskers: 95 % intervals over problems."
            if frame["low"].notna().any()
            else f"No whiskers: {why}."
        ),
    )


def _title(table: Mapping[str, Any], tables: Sequence[Mapping[str, Any]]) -> str:
    run = str(table.get("run", "run"))
    twice = sum(str(each.get("run", "run")) == run for each in tables) > 1
    return f"{run}, {table['split']}" if twice and table.get("split") else run
