"""The heatmap: its cells, its one scale, and a picture that shows them."""

from __future__ import annotations

import io
from pathlib import Path

import measured
import numpy as np
import pyarrow as pa
import pytest

from whence.heads.effects import all_effects, grids
from whence.heads.heatmap import Heatmap, make_heatmap, write_heatmap
from whence.heads.impact import head_impact
from whence.report.heads_charts import LOWERS, NEUTRAL, RAISES, heatmap


def impact_of(truth: measured.Truth) -> pa.Table:
    found = all_effects(grids(truth.table()), ("delta_logit_diff",))
    return head_impact(found, run_id="r")


def made(**conditions: measured.Truth) -> Heatmap:
    drawn = make_heatmap({name: impact_of(truth) for name, truth in conditions.items()})
    assert drawn is not None
    return drawn


def test_every_head_is_a_cell_and_the_sure_ones_are_marked():
    drawn = made(facts=measured.sweep(3, 5, {(2, 1): 1.0}), neg=measured.sweep(3, 5, {}))
    assert len(drawn.cells) == 30
    marked = drawn.cells[drawn.cells["sure"] & (drawn.cells["panel"] == "facts")]
    assert (2, 1) in list(zip(marked["layer"], marked["head"], strict=True))
    assert drawn.limit == drawn.cells["delta"].abs().max()
    assert "2:1" in drawn.alt_text


def test_one_scale_around_zero_for_all_panels():
    drawn = made(a=measured.sweep(2, 4, {(0, 0): 2.0}), b=measured.sweep(2, 4, {(0, 0): -0.1}))
    spec = heatmap(drawn.cells, drawn.limit).to_dict()
    assert spec["resolve"]["scale"]["color"] == "shared"
    colours = [panel["layer"][0]["encoding"]["color"]["scale"] for panel in spec["concat"]]
    assert colours[0] == colours[1]
    assert colours[0]["domain"] == [-drawn.limit, 0, drawn.limit]
    assert [panel["title"] for panel in spec["concat"]] == ["a", "b"]


def test_a_huge_head_leaves_the_others_their_colour_and_the_caption_says_so():
    drawn = made(facts=measured.sweep(20, 20, {(3, 3): 8.0, **{(5, n): 0.9 for n in range(12)}}))
    assert drawn.limit == pytest.approx(2.0, abs=0.1)
    assert "full at ±2; the largest change is 8" in drawn.caption
    assert "so the head carried it" in drawn.caption


def test_a_patch_takes_nothing_out():
    table = impact_of(measured.sweep(1, 3, {}))
    assert "carried" not in make_heatmap({"a": table}, patched=True).caption


def test_seeds_are_averaged_and_no_head_is_no_heatmap():
    drawn = made(facts=measured.sweep(1, 3, {(0, 2): 1.0}, seeds=(0, 1), resample=True))
    assert len(drawn.cells) == 3
    assert make_heatmap({"a": impact_of(measured.sweep(1, 1, {})).slice(0, 0)}) is None


@pytest.mark.parametrize(("layers", "heads"), [(1, 4), (40, 64)])
def test_the_picture_has_full_colours_where_heads_are_strong(
    tmp_path: Path, layers: int, heads: int
):
    from PIL import Image

    planted = {(0, 1): 1.0, (0, 2): -1.0}
    drawn = made(facts=measured.sweep(layers, heads, planted, prompts=8, noise=0.02))
    image, page = write_heatmap(tmp_path, drawn, title="<b>heads</b>")
    picture = Image.open(io.BytesIO(image.read_bytes())).convert("RGB")
    assert 400 < picture.width < 1800
    packed = np.unique(np.asarray(picture).reshape(-1, 3).astype(int) @ [1 << 16, 1 << 8, 1])
    found = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=1)
    for colour in (RAISES, LOWERS, NEUTRAL):
        wanted = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)])
        assert np.abs(found - wanted).sum(axis=1).min() < 40
    html = page.read_text()
    assert "<svg" in html
    assert "<b>heads</b>" not in html
    assert "http://" not in html.replace("http://www.w3.org", "")
