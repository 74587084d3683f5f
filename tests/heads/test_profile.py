"""What a run cost."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from lab import config, corpus, cross

from whence.heads.profile import Profile, cost, peak_memory, together
from whence.heads.run import run_plan


def test_phases_add_up_and_are_counted_where_they_fail() -> None:
    profile = Profile(None)  # type: ignore[arg-type]
    with profile.phase("a"):
        time.sleep(0.02)
    with profile.phase("a"):
        time.sleep(0.02)
    with pytest.raises(ZeroDivisionError), profile.phase("b"):
        raise ZeroDivisionError
    assert 0.04 <= profile.seconds["a"] < 0.5
    assert profile.seconds["b"] < 0.04


def test_block_forwards() -> None:
    """Two interventions, one from the first of four blocks on and one from the last."""
    tokens = 50
    notes = {"interventions": 2, "tokens": tokens, "block_tokens": (4 + 4 + 1) * tokens}
    found = cost(notes, n_layers=4)
    assert found["block_forwards"] == 9
    assert found["forwards"] == 9 / 4


def test_memory_is_measured() -> None:
    found = peak_memory()
    assert found["peak_memory_bytes"] is not None
    assert found["peak_memory_bytes"] > 2**20


def test_several_conditions_are_summed() -> None:
    runtime = dict.fromkeys(
        ("interventions", "tokens", "block_tokens", "block_forwards", "forwards"), 1
    )
    part = {"device": "cpu", "dtype": "float32", "seconds": {"tables": 1.0}, "runtime": runtime}
    found = together({"a": part, "b": part})
    assert found["seconds"] == {"a": {"tables": 1.0}, "b": {"tables": 1.0}}
    assert found["runtime"]["total"] == dict.fromkeys(runtime, 2)


def test_a_sweep_costs_what_the_floor_says(
    tmp_path: Path, zoo_folder: Callable[[str], Path]
) -> None:
    """3 blocks × 4 heads: 4 · (3 + 2 + 1) block forwards, the undisturbed run, the lane, and the
    smallest group twice, to see what arithmetic alone does."""
    corpus(tmp_path, "facts", range(8))
    corpus(tmp_path, "negation", range(4))
    run_plan(config(tmp_path, cross(zoo_folder("gpt2"), {"type": "heads_zero"})))
    found = json.loads((tmp_path / "out/profile.json").read_text())
    for tag in ("facts", "neg"):
        runtime = found["runtime"][tag]
        assert runtime["interventions"] == 12
        assert 24 + 3 <= runtime["block_forwards"] <= 24 + 3 * 3
        assert set(found["seconds"][tag]) == {"prompts", "interventions", "tables"}
    assert (found["device"], found["dtype"]) == ("cpu", "float32")
    assert found["peak_memory_bytes"] > 2**20
