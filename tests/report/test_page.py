"""The page itself: one file, nothing from outside, everything escaped, colours that can be read."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markupsafe import Markup

from whence.report.page import Section, render_page

CSS = (Path(__file__).parents[2] / "src/whence/report/templates/page.css").read_text("utf-8")
LIGHT, DARK = (
    dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
    for block in re.findall(r":root \{(.*?)\}", CSS, re.S)[:2]
)
SERIES = [f"series-{n}" for n in range(1, 7)]


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    sections = [
        Section("First & foremost", "A <b>lead</b>", Markup("<p>body</p>")),
        Section("Second", "", Markup("<p>more</p>")),
    ]
    folder = tmp_path_factory.mktemp("page")
    return render_page("A <title>", sections, folder / "new/page.html").read_text("utf-8")


def test_sections_become_addressable_and_their_words_are_escaped(html: str, read_page: Any):
    page = read_page(html)
    assert page.unbalanced == []
    assert [s.attributes["id"] for s in page.all("section")] == ["first-foremost", "second"]
    assert [h.text for h in page.all("h2")] == ["First & foremost", "Second"]
    assert page.all("h1")[0].text == "A <title>"
    assert not page.all("b")
    assert "A <b>lead</b>" in page.all("section")[0].text


def test_the_policy_allows_exactly_the_style_and_script_that_are_there(html: str, read_page: Any):
    page = read_page(html)
    policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})[0].attributes["content"]
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        (element,) = page.all(tag)
        digest = base64.b64encode(hashlib.sha256(element.text.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


def contrast(a: str, b: str) -> float:
    """WCAG 2 contrast ratio of two colours."""
    low, high = sorted(float(_linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (a, b))
    return (high + 0.05) / (low + 0.05)


def _linear(colour: str) -> np.ndarray:
    srgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_every_text_colour_has_the_contrast_that_wcag_aa_asks_for(theme: dict[str, str]):
    for name in ("ink", "muted", *SERIES):
        assert contrast(theme[name], theme["paper"]) >= 4.5, name


# Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB.
VISIONS = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]]
    ),
    "deuteranopia": np.array(
        [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]]
    ),
    "tritanopia": np.array(
        [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]]
    ),
}


def _lab(linear: np.ndarray) -> np.ndarray:
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(to_xyz) @ np.clip(linear, 0, 1) / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_series_stay_apart_for_every_kind_of_colour_vision(theme: dict[str, str], vision: str):
    seen = {name: _lab(VISIONS[vision] @ _linear(theme[name])) for name in SERIES}
    for a, b in itertools.combinations(SERIES, 2):
        assert np.linalg.norm(seen[a] - seen[b]) >= 12, (a, b)
