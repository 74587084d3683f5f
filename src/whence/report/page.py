"""One self-contained HTML page: it opens from disk, asks the network for nothing, and prints.

A page is a masthead and a list of sections. Every text is escaped by Jinja's autoescape unless it
is `Markup` that this package's own templates or charts made. The Content-Security-Policy in the
page names the hashes of its one style sheet and its one script, so that even text which somehow
got through the escaping could neither run nor load anything.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from whence import __version__
from whence.report import notation
from whence.runs.atomic import write_text


@dataclass(frozen=True)
class Section:
    """One part of a page: title and lead are plain text, html is what this package rendered."""

    title: str
    lead: str
    html: Markup

    @property
    def anchor(self) -> str:
        """The section's address within the page."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("whence.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "significant": notation.significant,
        "p_value": notation.p_value,
        "duration": notation.duration,
        "count": notation.count,
        "column": notation.column,
        "words": notation.words,
    }
    return environment


def render(template: str, **values: object) -> Markup:
    """Render one of the templates beside this module. Values are escaped unless they are Markup."""
    return Markup(_environment().get_template(template).render(**values))


def render_page(
    title: str, sections: Sequence[Section], output: Path, *, masthead: Markup | None = None
) -> Path:
    """Write the page to `output` and return that path.

    masthead: what stands above the sections; the title alone when it is None.
    """
    style, script = (_asset(name) for name in ("page.css", "page.js"))
    html = render(
        "page.html",
        title=title,
        sections=sections,
        masthead=masthead,
        style=Markup(style),
        script=Markup(script),
        policy=(
            f"default-src 'none'; style-src '{_sha256(style)}'; script-src '{_sha256(script)}'; "
            "base-uri 'none'; form-action 'none'"
        ),
        version=__version__,
    )
    write_text(output, html)
    return output


def _asset(name: str) -> str:
    loader = _environment().loader
    assert loader is not None
    return loader.get_source(_environment(), name)[0]


def _sha256(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
