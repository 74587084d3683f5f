"""A summary in words: the headline, the table on the screen, Markdown, a README's block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NAMED_OTHERS = 3
"""Winners of further questions that the headline names."""
COLUMNS = ("rank", "configuration", "selection", "confirmation", "interval", "seeds")


def headline(facts: Mapping[str, Any]) -> str:
    """Who won, by what, and what was left of it on data that did not choose: the first question in
    full, the winners of the next few by name."""
    groups = facts["groups"]
    said = sentence(groups[0])
    if facts.get("matrix"):
        said = _side_by_side(facts["matrix"]["settings"])
    elif len(groups) > 1:
        others = [f"{group['name']}: {_briefly(group)}" for group in groups[1:]]
        if len(others) > NAMED_OTHERS:
            others[NAMED_OTHERS:] = [f"{len(others) - NAMED_OTHERS} more are in the report"]
        said = (
            f"{len(groups)} questions, each with a winner of its own. {groups[0]['name']}: {said}. "
            f"{'; '.join(others)}"
        )
    return f"{facts['stage']}: {_partial(facts)}{said}."


def title(facts: Mapping[str, Any]) -> str:
    """The head of the page: the headline where there is one question; else how many there are."""
    groups = facts["groups"]
    if len(groups) == 1:
        return headline(facts)
    said = f"{len(groups)} questions, each with a winner of its own"
    if facts.get("matrix"):
        said = f"{len(facts['matrix']['settings'])} settings, each by the best of its own"
    return f"{facts['stage']}: {_partial(facts)}{said}."


def briefs(facts: Mapping[str, Any]) -> list[str]:
    """A line a question where there are several: its winner, where it was chosen and where not."""
    groups = facts["groups"]
    return [f"{group['name']}: {sentence(group)}." for group in groups] if len(groups) > 1 else []


def _partial(facts: Mapping[str, Any]) -> str:
    if not facts["partial"]:
        return ""
    runs = facts["runs"]
    return f"partial, {runs['finished']} of {runs['finished'] + runs['missing']} runs: "


def _briefly(group: Mapping[str, Any]) -> str:
    """The winner's name and what it has where it was not chosen."""
    winner = group["winner"]
    found = winner["confirmation"]
    if found is None or found["mean"] is None:
        return f"{winner['name']} ({group['metric']} {number(winner['selection'])}, not confirmed)"
    told = f"{winner['name']} ({group['metric']} {number(found['mean'])}"
    return f"{told} {interval(found['interval'])})" if found["interval"] else f"{told})"


def _side_by_side(settings: Sequence[Mapping[str, Any]]) -> str:
    metrics = list(dict.fromkeys(row["metric"] for row in settings))
    alone = metrics[0] if len(metrics) == 1 else None
    each = (
        f"{row['setting']}: {row['best']}{'' if alone else ' ' + row['metric']} "
        f"{number(row['confirmation'])} {interval(row['interval'])}"
        for row in settings
    )
    told = f"{alone} on" if alone else "on"
    return (
        f"{len(settings)} settings, each by the best of its own, {told} data that did not choose "
        f"it: {'; '.join(each)}"
    )


def sentence(group: Mapping[str, Any]) -> str:
    """One group's outcome."""
    winner, sides = group["winner"], group["sides"]
    chosen = f"{group['metric']} {number(winner['selection'])} on {sides['chosen_on']}"
    if winner["selection_units"] < sides["units"]:
        chosen += f", {winner['selection_units']} of which have it"
    said = str(winner["name"])
    if winner["settings"] > 1:
        said += f" ({winner['settings']} settings with the same numbers)"
    if group["competing"] == 1:
        said += f" is the only one ({chosen})"
    else:
        said += f" is best of {group['competing']} on selection ({chosen})"
    confirmation = winner["confirmation"]
    if confirmation is None:
        said += f"; {'; '.join(sides['notes'])}"
    elif confirmation["mean"] is None:
        said += f"; on {confirmation['on']} there is no estimate ({confirmation['reason']})"
    else:
        said += f"; on {confirmation['on']} {number(confirmation['mean'])}"
        said += f" {interval(confirmation['interval'])}" if confirmation["interval"] else (
            f" (no interval: {confirmation['reason']})"
        )  # fmt: skip
    if winner["expected_shrinkage"] is not None and group["competing"] > 1:
        said += f"; expected shrinkage {number(winner['expected_shrinkage'])}"
    if winner["others"] and confirmation is not None:
        said += f"; it {apart(winner['cannot_be_told_from'], winner['others'])}"
    return said


def apart(ties: int, others: int) -> str:
    """From how many others a winner can be told."""
    if ties == others:
        return (
            f"cannot be told from {'the other one' if others == 1 else f'any of {others} others'}"
        )
    if ties == 0:
        return f"can be told from {'the other one' if others == 1 else f'all {others} others'}"
    return f"cannot be told from {ties} of {others} others"


def rows(facts: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The first ten of every group."""
    several = len(facts["groups"]) > 1
    found: list[tuple[str, ...]] = []
    for group in facts["groups"]:
        for line in group["top"]:
            name = f"{group['name']}: {line['name']}" if several else line["name"]
            found.append((str(line["rank"]), name, *_cells(line)))
    return found


def _cells(line: Mapping[str, Any]) -> tuple[str, str, str, str]:
    seeds = line["seeds"]
    return (
        number(line["selection"]),
        number(line["confirmation"]),
        interval(line["confirmation_interval"]),
        str(seeds) if seeds else "none changes it",
    )


def markdown(facts: Mapping[str, Any], depth: int = 1) -> str:
    """`leaderboard.md`. depth: of its heading."""
    lines = [f"{'#' * depth} {cell(facts['name'])}: {cell(facts['stage'])}", ""]
    lines += [cell(headline(facts)), ""]
    if facts.get("matrix"):
        lines += matrix_lines(facts["matrix"], depth + 1)
    for group in facts["groups"]:
        if len(facts["groups"]) > 1:
            lines += [f"{'#' * (depth + 1)} {cell(group['name'])}", ""]
            lines += [f"{cell(sentence(group))}.", ""]
        lines += table(group["top"], group["metric"])
        if group["baselines"]:
            lines += ["Baselines of the run that won:", ""]
            lines += table(group["baselines"], group["metric"])
        said = [each["sentence"] for each in group["winner"]["against_baselines"]]
        if said:
            lines += [cell(f"On {group['sides']['confirmed_on']}:"), ""]
            lines += [*(f"- {cell(each)}" for each in said), ""]
        lines += [f"Note: {cell(each)}.\n" for each in group["sides"]["notes"]]
    return "\n".join(lines).rstrip("\n") + "\n"


def table(lines: Sequence[Mapping[str, Any]], metric: str) -> list[str]:
    """A Markdown table of lines of a group."""
    head = ("rank", metric, "mean", "95 % interval", "selection", "confirmation", "95 % interval")
    written = [
        f"| {' | '.join(map(cell, head))} |",
        f"|{'---|' * len(head)}",
    ]
    for line in lines:
        cells = (
            str(line["rank"] or "–"),
            line["name"],
            number(line["mean"]),
            interval(line["interval"]),
            number(line["selection"]),
            number(line["confirmation"]),
            interval(line["confirmation_interval"]),
        )
        written.append(f"| {' | '.join(map(cell, cells))} |")
    return [*written, ""]


def matrix_lines(matrix: Mapping[str, Any], depth: int) -> list[str]:
    """The table of the earlier study's scaling matrix, and what stands beside each number."""
    lines = [f"{'#' * depth} Matrix of settings", ""]
    shared = matrix["shared"]
    if shared:
        parts = ", ".join(f"{name} {size}" for name, size in shared["parts"].items())
        lines.append(f"- Problems in common: {shared['in_common']}; used: {parts}")
    lines += [f"- Settings differ in {', '.join(cell(key) for key in matrix['differ'])} alone", ""]
    head = (
        "setting",
        "best on selection",
        "metric",
        "selection",
        "confirmation",
        "95 % interval",
        "minus baselines",
        "differences whose interval leaves out 0",
        "features",
    )
    lines += [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in matrix["settings"]:
        against = "; ".join(
            f"{each['control']} {number(each['effect'])} {interval(each['interval'])}"
            for each in row["against_baselines"]
        )
        cells = (
            row["setting"],
            row["best"],
            row["metric"],
            number(row["selection"]),
            number(row["confirmation"]),
            interval(row["interval"]),
            against or "–",
            f"{row['differences_without_zero']} of {row['differences']}",
            "–" if row["bytes"] is None else f"{row['bytes'] / 2**20:.2f} MiB",
        )
        lines.append(f"| {' | '.join(map(cell, cells))} |")
    return [*lines, ""]


def block(summaries: Sequence[Mapping[str, Any]]) -> str:
    """What stands between a README's markers: every summarised stage, in order."""
    return "\n".join(markdown(facts, depth=3) for facts in summaries)


def number(value: float | None) -> str:
    """Three decimals, or as many as a small number needs to be seen."""
    if value is None:
        return "–"
    return f"{value:.3f}" if abs(value) >= 0.0995 or value == 0 else f"{value:.3g}"


def interval(ends: Sequence[float] | None) -> str:
    return "–" if ends is None else f"[{number(ends[0])}, {number(ends[1])}]"


def cell(text: str) -> str:
    """Names come from files: nothing in them is markup."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return escaped.replace("|", "\\|").replace("](", "]\\(").replace("\n", " ")
