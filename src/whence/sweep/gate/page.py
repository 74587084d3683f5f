"""The gate's one page, as HTML and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from whence.report.page import Section, render, render_page
from whence.sweep.summarize.told import cell


def write_page(facts: Mapping[str, Any], path: Path) -> Path:
    """Draw `gate.json`."""
    criteria = facts["criteria"]
    failed = [each for each in criteria if not each["passed"]]
    sections = []
    if failed:
        sections.append(
            Section(
                "What does not hold",
                "Repair these, and run the gate again.",
                render("sweep_gate_failed.html", criteria=failed),
            )
        )
    sections.append(
        Section(
            "Criteria",
            "What was asked of every stage and every run, and what was found.",
            render("sweep_gate.html", criteria=criteria),
        )
    )
    if facts["results"]:
        sections.append(
            Section(
                "Results",
                "What the summaries say, stage by stage.",
                render("sweep_gate_results.html", results=facts["results"]),
            )
        )
    head = render("sweep_gate_masthead.html", facts=facts, failed=failed)
    return render_page("Release gate", sections, path, masthead=head)


def markdown(facts: Mapping[str, Any]) -> str:
    """`gate.md`."""
    total = len(facts["criteria"])
    lines = ["# Release gate", "", f"Verdict: **{facts['verdict']}**", ""]
    lines += [f"{facts['passed']} of {total} criteria hold.", ""]
    lines += ["| criterion | | found |", "|---|---|---|"]
    for each in facts["criteria"]:
        mark = "ok" if each["passed"] else "**NOT OK**"
        lines.append(f"| {cell(each['name'])} | {mark} | {cell(each['sentence'])} |")
    for each in facts["criteria"]:
        if each["offenders"]:
            lines += ["", f"## {cell(each['name'])}", ""]
            lines += [f"- {cell(offender)}" for offender in each["offenders"]]
            lines += ["", f"Shown by `{each['where']}`."]
    if facts["results"]:
        lines += ["", "## Results", ""]
        lines += [f"- {cell(said)}" for said in facts["results"].values()]
    return "\n".join(lines) + "\n"
