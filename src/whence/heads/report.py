"""`report.html`: what the conditions of one run found, the answer first.

Imports Altair (about two seconds): import this module inside the function that writes the report.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import whence.report.heads_sections as sections
from whence.heads.cross_condition import invariants, summary
from whence.heads.heatmap import make_heatmap
from whence.heads.metrics import HEADLINE
from whence.report.page import render_page
from whence.report.provenance_sections import rerun_section
from whence.runs.record import read_record

if TYPE_CHECKING:
    from whence.heads.outputs import Tables
    from whence.report.page import Section


def report(
    output: Path,
    conditions: Mapping[str, Tables],
    *,
    title: str | None = None,
    rerun: Mapping[str, Any] | None = None,
) -> Path:
    """Write the page to `output` and return that path. See `outputs.write_report`."""
    named = {tag or tables.condition or "all": tables for tag, tables in conditions.items()}
    told = {tag: tables.summary for tag, tables in named.items()}
    first = next(iter(told.values()))
    across = invariants(named) if len(named) > 1 else None
    body = [
        *_what_was_found(named, told),
        *([sections.agreement_section(across, summary(named, run_id=""))] if across else []),
        sections.baseline_section(told),
        rerun_section(_rerun(output.parent, first) if rerun is None else rerun),
    ]
    headline = sections.headline(told, across)
    model = str(first["model"].get("name", "the model"))
    title = title or f"{next(iter(named.values())).run_id}: {model}"
    return render_page(title, body, output, masthead=sections.masthead(title, headline, body))


def _what_was_found(
    named: Mapping[str, Tables], told: Mapping[str, Mapping[str, Any]]
) -> list[Section]:
    heads = {tag: t.joint.heads for tag, t in named.items() if t.joint.heads is not None}
    layers = {}
    for tag, tables in named.items():
        if tables.joint.layers is not None:
            rows = tables.joint.layers.to_pandas()
            layers[tag] = rows[rows["metric"] == HEADLINE]
    found = []
    if any("pairs" in own for own in told.values()):
        found.append(sections.pairs_section(told))
    if any("subsets" in own for own in told.values()):
        found.append(sections.sets_section(told))
    if layers:
        found.append(sections.layers_section(layers, told))
    if heads:
        patched = any("patch_direction" in own["battery"] for own in told.values())
        drawn = make_heatmap(heads, patched=patched)
        section = sections.heads_section(told, drawn.figure() if drawn else None)
        # What the first condition was made for stands first; single heads go with pairs.
        first = next(iter(told.values()))
        alone = not any(key in first for key in ("pairs", "subsets", "layers"))
        found.insert(0 if alone else len(found), section)
    return found


def _rerun(folder: Path, told: Mapping[str, Any]) -> dict[str, Any]:
    """What the run's own record says of how to repeat it."""
    record = read_record(folder)
    if record is None:
        return {"model": told["model"], "battery": told["battery"]}
    return {
        "commands": [f"whence replay {record.output_dir}"],
        "command": f"whence {record.command}",
        "config": dict(record.config),
        "seeds": list(record.seeds),
        "model": told["model"],
        "inputs": {
            name: f"{made['path']}, sha256 {made['sha256'][:12]}…"
            for name, made in record.inputs.items()
            if "sha256" in made
        },
        "versions": dict(record.versions),
    }
