"""The whole page from real tables: its sections, and how it says to run it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import measured
import pytest

from whence.heads.outputs import Tables, write_condition, write_report


def tables(folder: Path, truth: measured.Truth, tag: str | None = None, **battery: Any) -> Tables:
    return write_condition(
        folder,
        measured.Result(truth.table()),
        run_id="r1",
        condition=tag,
        battery={"type": "heads_zero", **battery},
        model=measured.MODEL,
    )


def titles(page: Path) -> list[str]:
    text = page.read_text()
    return [part.split("</h2>")[0].split(">")[-1] for part in text.split("<h2")[1:]]


def test_a_sweep(tmp_path: Path):
    page = write_report(tmp_path, {"": tables(tmp_path, measured.sweep(2, 4, {(1, 0): -0.6}))})
    assert titles(page) == ["Heads", "Undisturbed run", "Run it again"]
    text = page.read_text()
    assert "<title>r1: m</title>" in text
    assert text.count("<svg") == 2
    assert text.count("<script>") == 1


def test_conditions_side_by_side(tmp_path: Path):
    found = {
        tag: tables(tmp_path / tag, measured.sweep(2, 4, {(1, 0): -0.6}, random_state=at), tag)
        for at, tag in enumerate(("facts", "<neg>"))
    }
    page = write_report(tmp_path, found, title="Both")
    assert titles(page) == ["Heads", "In all conditions", "Undisturbed run", "Run it again"]
    text = page.read_text()
    assert "Head 1:0 matters in all 2 conditions" in text
    assert "<neg>" not in text


def test_pairs_layers_and_sets_have_their_sections(tmp_path: Path):
    singles = {measured.head(0, 1): 0.1, measured.head(0, 2): 0.1}
    pairs = measured.Truth(singles | {measured.pair((0, 1), (0, 2)): -1.0})
    page = write_report(tmp_path / "a", {"": tables(tmp_path / "a", pairs)})
    assert titles(page)[:2] == ["Pairs", "Heads"]
    layers = measured.Truth({measured.layer(n): -0.5 * n for n in range(4)}, source=-1.0)
    patch = {"type": "activation_patch", "granularity": "layer_resid", "positions": "last_token"}
    page = write_report(tmp_path / "b", {"": tables(tmp_path / "b", layers, **patch)})
    assert titles(page)[0] == "Layers"
    assert "Between layers" in page.read_text()


def test_the_run_s_own_record_says_how_to_repeat_it(tmp_path: Path):
    from whence.runs.config import OutputConfig
    from whence.runs.store import open_run

    config = OutputConfig(output_dir=tmp_path / "out")
    with open_run(config.output_dir, command="heads sweep", config=config, inputs={}) as run:
        page = write_report(run.folder, {"": tables(run.folder, measured.sweep(1, 3, {}))})
        text = page.read_text()
    assert f"whence replay {tmp_path / 'out'}" in text
    assert "whence heads sweep" in text


@pytest.mark.parametrize("prompts", [1, 3])
def test_too_few_prompts_still_make_a_page(tmp_path: Path, prompts: int):
    few = measured.sweep(1, 3, {(0, 1): 1.0}, prompts=prompts)
    text = write_report(tmp_path, {"": tables(tmp_path, few)}).read_text()
    assert "No head stands out" in text
    assert "no interval" in text
