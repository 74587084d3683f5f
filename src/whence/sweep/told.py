"""A plan in words: the headline, the table on the screen, and `plan.md`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def headline(facts: Mapping[str, Any]) -> str:
    """What a stage is, in one or two sentences."""
    count, runs = facts["configurations"], facts["runs"]
    one = f"{count:,} configuration{'s' * (count != 1)} of {facts['command']}"
    if runs < count:
        one += f", of which {runs:,} can differ and are run"
    forwards = facts["cost"]["forwards"]
    if forwards is not None:
        one += f"; {forwards:,} forward passes"
    if facts.get("done"):
        one += f"; {facts['done']:,} of {facts['tasks']:,} tasks are done"
    if facts["seconds"]:
        one += f"; about {clock(facts['seconds'])} on one worker"
    return f"{one}."


def rows(facts: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Label, value, and what it would be with every configuration by itself."""
    cost = facts["cost"]
    found = [
        ("configurations", f"{facts['configurations']:,}", ""),
        ("settings (seeds aside)", f"{facts['settings']:,}", ""),
        ("distinct runs", f"{facts['runs']:,}", ""),
    ]
    for kind, each in facts["kinds"].items():
        seconds, work = facts["trial"].get(kind), facts.get("left", {}).get(kind, each["work"])
        about = "" if seconds is None or not work else f"about {clock(seconds * work)}"
        found.append((f"tasks: {kind}", f"{each['tasks']:,.0f}", about))
    if facts.get("start"):
        found.append(("start of a worker", "", f"about {clock(facts['start'])}"))
    for name, label in (("forwards", "forward passes"), ("trainings", "trainings")):
        if cost[name] is not None:
            alone = cost[f"naive_{name}"]
            told = "" if alone is None else f"{alone:,} with each by itself"
            found.append((label, f"{cost[name]:,}", told))
    if cost["bytes"] is not None:
        found.append(("on disk", _bytes(cost["bytes"]), ""))
    elif facts.get("bytes_tried") is not None:
        found.append(("on disk", f"about {_bytes(facts['bytes_tried'])}", ""))
    for each in facts["collapsed"]:
        found.append((f"no effect: {each['factor']}", f"{each['configurations']:,}", each["why"]))
    found += [("not counted", note, "") for note in cost["notes"]]
    return found


def markdown(facts: Mapping[str, Any]) -> str:
    """`plan.md`."""
    from whence.sweep.summarize.told import cell

    title = cell(f"{facts['name']}: {facts['stage']}")
    lines = [f"# {title}", "", headline(facts), "", "| | | |"]
    lines += ["| --- | --- | --- |"]
    lines += [f"| {' | '.join(cell(part) for part in row)} |" for row in rows(facts)]
    return "\n".join(lines) + "\n"


def clock(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`, `2.1 days`: as sure as an estimate is."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172800 else f"{seconds / 86400:.1f} days"


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
