"""Attention heatmaps: what is drawn, what is left blank, and that tokens stay text."""

from __future__ import annotations

import numpy as np
import pytest

from whence.report.attention_charts import attention
from whence.report.figure import svg

PATTERN = np.array([[1.0, 0, 0], [0.996, 0.004, 0], [0.2, 0.3, 0.5]])
TOKENS = ["<b>", " a", "\n"]


def test_cells_that_would_not_show_are_left_blank() -> None:
    drawn = str(svg(attention({"before": PATTERN}, TOKENS, 0.1), "a pattern"))
    assert drawn.count('fill="rgb(') == 5


def test_tokens_are_numbered_text_with_visible_spaces() -> None:
    drawn = str(svg(attention({"before": PATTERN}, TOKENS, 0.1), "a pattern"))
    assert "<b>" not in drawn
    for label in ("0 &lt;b&gt;", "1 ·a", "2 \\n"):
        assert drawn.count(label) == 2, label


@pytest.mark.parametrize(("panels", "legends"), [(1, 1), (3, 2)])
def test_patterns_share_a_legend(panels: int, legends: int) -> None:
    named = dict.fromkeys(("before", "after", "change")[:panels], PATTERN)
    drawn = str(svg(attention(named, TOKENS, 0.4), "a pattern"))
    assert drawn.count("role-legend-gradient") == legends
    assert (">+0.4</text>" in drawn) == (panels == 3)
    assert (">before</text>" in drawn) == (panels == 3)
