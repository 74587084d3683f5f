"""From an Altair chart to a static inline SVG that follows the page's light and dark colours.

Colours are CSS variables (`var(--series-1)`): Vega passes them through unread, and the page's style
sheet gives them their values, so one drawing serves screen, dark screen and print.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import altair as alt
import vl_convert
from markupsafe import Markup

from whence.report.page import render

INK, MUTED, RULE, GHOST = "var(--ink)", "var(--muted)", "var(--rule)", "var(--ghost)"
SERIES = tuple(f"var(--series-{n})" for n in range(1, 7))
"""Six colours that stay apart under protanopia, deuteranopia and tritanopia (page.css)."""

PAGE_WIDTH = 800
"""Width of a full figure in CSS pixels, axis labels included."""

# Vega measures text in this font while the page shows it in the reader's own sans serif.
_FONT = "Helvetica, Arial, sans-serif"

_CONFIG: dict[str, object] = {
    "background": "transparent",
    "font": _FONT,
    "view": {"stroke": None},
    "axis": {
        "domain": False,
        "grid": False,
        "ticks": True,
        "tickColor": RULE,
        "tickSize": 4,
        "labelColor": MUTED,
        "labelFontSize": 12,
        "labelFlush": False,
        "labelLimit": 260,
        "labelPadding": 5,
        "titleColor": MUTED,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titlePadding": 8,
    },
    "header": {"labelColor": INK, "labelFontSize": 12, "title": None},
    "text": {"color": INK, "fontSize": 12},
    "title": {"color": INK, "fontSize": 12, "fontWeight": "normal", "anchor": "start", "offset": 6},
    "line": {"strokeCap": "round"},
}


def text_room(texts: Iterable[str], at_most: float = 260) -> float:
    """Pixels to keep free for the widest of these texts in any reader's sans serif, at 12 px."""
    return min(at_most, 7.4 * max(map(len, texts), default=0) + 12)


def figure(chart: alt.TopLevelMixin, *, alt_text: str, caption: str = "") -> Markup:
    """A `<figure>` with the chart as inline SVG.

    alt_text: what a reader who cannot see the chart should learn from it, in full sentences.
    caption: how to read it, shown below.
    """
    return render("figure.html", svg=svg(chart, alt_text), caption=caption)


def svg(chart: alt.TopLevelMixin, alt_text: str) -> Markup:
    """The chart as one `<svg role="img">` element whose label is `alt_text`."""
    # Altair has checked each part as it was made; checking the whole takes longer than drawing it.
    spec = chart.to_dict(validate=False) | {"config": _CONFIG}
    drawn = vl_convert.vegalite_to_svg(spec)
    body = drawn[drawn.index(">") + 1 :]
    width, height = re.search(r'width="([\d.]+)" height="([\d.]+)"', drawn[:400]).groups()  # type: ignore[union-attr]
    # Marks are one picture here; the text alternative is the label on the whole.
    body = re.sub(r' (?:aria-[a-z]+|role|pointer-events)="[^"]*"', "", body)
    body = re.sub(
        r'<path class="(?:background|foreground)" d="[^"]*"(?: display="none")?/>', "", body
    )
    return Markup(
        '<svg viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img" aria-label="{2}">'
    ).format(width, height, alt_text) + Markup(body)
