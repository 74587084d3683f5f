"""The page of `whence heads inspect`: where each head looks, as heatmaps.

Imports Altair (about two seconds): import this module inside the function that writes the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from whence.heads.inspect.scores import SCORES, pattern_change
from whence.heads.names import spell_head
from whence.report.attention_charts import BLANK, CHANGE, attention
from whence.report.figure import figure
from whence.report.page import Section, render, render_page

if TYPE_CHECKING:
    from whence.heads.inspect.command import Look

LONGEST = 64
"""Tokens of a prompt that are drawn: the last ones."""

SMALLEST_LIMIT = 0.05
"""A change no larger than this does not fill the colour scale."""


def write_page(path: Path, value: Mapping[str, Any], looks: Sequence[Look]) -> None:
    """value: what `inspect.json` holds."""
    ablated = value["ablated"]
    limit = max([SMALLEST_LIMIT, *(float(np.abs(_moved(one)).max()) for one in looks)])
    did = f", with and without {', '.join(ablated)}" if ablated else ""
    count = len(value["rows"])
    over = f"Means over {count} prompts" if count > 1 else "One prompt"
    sections = [
        Section(
            "Where they look",
            f"{over}; the first token, which can look nowhere else, is not counted.",
            render("heads_attention.html", heads=value["heads"], scores=SCORES, ablated=ablated),
        )
    ]
    for told in value["rows"]:
        own = [one for one in looks if one.row == told["row"]]
        figures = [_figure(one, told["tokens"], limit, ablated) for one in own]
        sections.append(
            Section(f"Row {told['row']}", "".join(told["tokens"]), Markup("").join(figures))
        )
    title = f"Attention of {', '.join(value['heads'])} in {value['model']['name']}{did}"
    render_page(title, sections, path)


def _figure(one: Look, tokens: Sequence[str], limit: float, ablated: Sequence[str]) -> Markup:
    shown = slice(max(0, len(tokens) - LONGEST), None)
    panels = dict(one.patterns)
    if "after" in panels:
        panels[CHANGE] = _moved(one)
    name = spell_head(one.head)
    said = f"Head {name}."
    if ablated:
        moved = pattern_change(one.patterns["before"], one.patterns["after"])
        said += f" {moved:.1%} of its attention looks elsewhere without {', '.join(ablated)}."
    cut = f" The last {LONGEST} of {len(tokens)} tokens." if len(tokens) > LONGEST else ""
    last = one.patterns["before"][-1]
    most = int(last.argmax())
    return figure(
        attention(
            {name: panel[shown, shown] for name, panel in panels.items()}, tokens[shown], limit
        ),
        alt_text=f"Attention pattern of head {name} on row {one.row}: at the last token it looks "
        f"most at token {most}, {tokens[most]!r}, with weight {float(last[most]):.2f}.",
        caption=f"{said}{cut} Each row is a token, and what it looks at stands below; cells under "
        f"{BLANK} are blank.",
    )


def _moved(one: Look) -> np.ndarray:
    before = one.patterns["before"]
    moved: np.ndarray = one.patterns.get("after", before) - before
    return moved
