"""Colours of a trace: by rank, honest about ties, and readable in both schemes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from whence.report.anchors_trace import Shown, shades, trace_section

CSS = (Path(__file__).parents[2] / "src/whence/report/templates/page.css").read_text("utf-8")
LIGHT, DARK = (
    dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
    for block in re.findall(r":root \{(.*?)\}", CSS, re.S)[:2]
)


def test_a_sentence_is_as_dark_as_its_smallest_top_share():
    found = shades(np.arange(100.0), signed=False)
    assert [found.count(f"p{level}") for level in (1, 2, 3, 4)] == [25, 15, 5, 5]
    assert found[-5:] == ["p4"] * 5
    assert set(found[:50]) == {""}


def test_signs_have_colours_of_their_own_and_zero_has_none():
    values = np.array([0.5, -0.9, 0.0, np.nan, 0.1, -0.2, 0.0, 0.0])
    found = shades(values, signed=True)
    assert found[1] == "n4"  # the largest by size
    assert found[2] == found[3] == found[6] == ""
    assert found[0][0] == "p"
    assert found[5][0] == "n"


def test_a_constant_and_an_empty_column_colour_nothing():
    assert set(shades(np.full(10, 0.3), signed=False)) == {""}
    assert set(shades(np.full(10, np.nan), signed=True)) == {""}


def test_ties_are_no_darker_than_their_last_rank():
    values = np.array([1.0] * 12 + [0.0] * 88)
    assert set(shades(values, signed=False)[:12]) == {"p2"}  # 12 of 100: top 25 %, not 10 %


def test_a_trace_of_one_sentence_without_anything_measured():
    rows = pd.DataFrame({"chunk_idx": [0], "chunk_text": ["A & <b>"], "score_x": [0.5]})
    section = trace_section(rows, [Shown("score_x", "x")], "Problem 1")
    assert section.lead == "One sentence."
    assert "A &amp; &lt;b&gt;" in section.html


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("series", ["series-1", "series-2"])
def test_ink_is_readable_on_the_darkest_shade(scheme: dict[str, str], series: str):
    shares = [int(n) for n in re.findall(rf"var\(--{series}\) (\d+)%, transparent", CSS)]
    assert len(shares) == 4
    share = max(shares) / 100
    mixed = share * _rgb(scheme[series]) + (1 - share) * _rgb(scheme["paper"])
    assert _contrast(mixed, _rgb(scheme["ink"])) >= 4.5


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def _contrast(a: np.ndarray, b: np.ndarray) -> float:
    """WCAG 2 contrast ratio."""
    linear = (np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) for c in (a, b))
    low, high = sorted(float(c @ [0.2126, 0.7152, 0.0722]) for c in linear)
    return (high + 0.05) / (low + 0.05)
