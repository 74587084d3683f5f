"""`whence heads screen` from files alone: what was planted, what is on disk, and after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import planted
import pytest
from pydantic import ValidationError

from whence.errors import BadInput
from whence.heads.commands.screen import ScreenConfig, ScreenResult, screen
from whence.heads.commands.sweep import SweepConfig, sweep

OUTPUTS = ("screen.parquet", "screen.json", "head_impact.parquet", "per_example.parquet")


def run(home: Path, model: planted.Planted, **settings: Any) -> ScreenResult:
    return screen(
        ScreenConfig(
            model=str(model.save(home / "model")),
            corpus=model.write_corpus(home / "corpus.jsonl"),
            **{"output_dir": home / "out", "pairs": 4, **settings},
        )
    )


@pytest.mark.parametrize("family", planted.FAMILIES)
def test_the_redundant_pair_comes_first_with_its_exact_synergy(
    family: planted.Family, tmp_path: Path
) -> None:
    model = planted.redundant(family)
    result = run(tmp_path, model, verify_top=2)
    rows = result.screen.to_pylist()
    heads = {(r["layer"], r["head"]): r for r in rows if r["kind"] == "head"}
    pairs = {
        ((r["layer"], r["head"]), (r["layer_b"], r["head_b"])): r
        for r in rows
        if r["kind"] == "pair"
    }
    assert set(heads) == set(model.heads)
    assert {r["kind"] for r in rows} == {"head", "attn_out", "mlp_out", "pair"}
    for rank, name in enumerate([(0, 3), (1, 0)], start=1):
        row = heads[name]
        assert row["rank"] == rank
        assert row["verified"]
        assert row["exact"] == pytest.approx(model.truth[name], abs=1e-4)
        assert row["estimate"] == pytest.approx(model.truth[name], abs=1e-4)
        assert row["estimate_ci_low"] < row["estimate"] < row["estimate_ci_high"]
        assert row["exact_ci_low"] < row["exact"] < row["exact_ci_high"]
    pair = ((0, 1), (1, 2))
    assert pairs[pair]["rank"] == 1
    assert pairs[pair]["exact"] == pytest.approx(model.synergy(*pair).mean(), abs=1e-4)
    assert pairs[pair]["exact_ci_high"] < 0
    # Heads of a verified pair are measured alone too, and do nothing.
    for one in pair:
        assert heads[one]["exact"] == pytest.approx(0, abs=1e-4)
        assert heads[one]["estimate"] == pytest.approx(0, abs=1e-4)
    found = result.frame("pair")
    own = found[(found["layer_a"] == 0) & (found["head_a"] == 1) & (found["head_b"] == 2)]
    assert float(own["synergy"].iloc[0]) == pytest.approx(pairs[pair]["exact"], abs=1e-6)
    assert not any(r["verified"] for name, r in heads.items() if r["exact"] is None)
    told = result.told
    assert told["counts"]["verified"] == sum(r["verified"] for r in rows)
    assert told["counts"]["heads"] == len(model.heads)
    assert told["agreement"] is None
    said = result.finding()
    assert f"in {told['passes']} passes" in said.headline
    assert "Strongest head: 0:3" in said.headline
    assert any("0:1 + 1:2 synergy" in row[0] for row in said.rows)
    assert (result.folder / "report.html").is_file()


def test_recall_against_a_sweep_is_that_against_all_exact(tmp_path: Path) -> None:
    model = planted.suppressor("gpt2")
    folder, corpus = model.save(tmp_path / "model"), model.write_corpus(tmp_path / "corpus.jsonl")
    swept = sweep(SweepConfig(model=str(folder), corpus=corpus, output_dir=tmp_path / "sweep"))
    settings = {"pairs": 0, "verify_top": 1}
    beside = run(tmp_path, model, output_dir=tmp_path / "a", sweep=swept.folder, **settings)
    measured = run(tmp_path, model, output_dir=tmp_path / "b", all_exact=True, **settings)
    assert beside.told["agreement"]["random"] == measured.told["agreement"]["random"]
    for result in (beside, measured):
        told = result.told["agreement"]
        assert set(told["recall"]) == {"estimate", "gradient", "output_norm"}
        assert told["spearman"]["estimate"]["value"] == pytest.approx(1)
        assert "Recall @5" in result.finding().headline
        heads = [r for r in result.screen.to_pylist() if r["kind"] == "head"]
        for row in heads:
            truth = model.truth[row["layer"], row["head"]]
            assert row["verified"]
            assert row["exact"] == pytest.approx(truth, abs=1e-4)
        assert not [r for r in result.screen.to_pylist() if r["kind"] == "pair"]
    np.testing.assert_allclose(
        beside.screen["exact"].to_pandas().dropna(), measured.screen["exact"].to_pandas().dropna(),
        atol=1e-5,
    )  # fmt: skip


@pytest.mark.parametrize(("against", "positions"), [("mean", "all"), ("corrupt", "last_token")])
def test_other_replacements(against: str, positions: str, tmp_path: Path) -> None:
    model = planted.suppressor("llama")
    result = run(tmp_path, model, against=against, positions=positions, all_exact=True)
    heads = [r for r in result.screen.to_pylist() if r["kind"] == "head"]
    for row in heads:
        assert row["estimate"] == pytest.approx(row["exact"], abs=1e-3)
        if against == "corrupt":
            truth = model.patched("head_out", row["layer"], [row["head"]]).mean()
            assert row["exact"] == pytest.approx(truth, abs=1e-4)
    assert max(abs(row["exact"]) for row in heads) > 1


def test_what_does_not_fit_is_one_line(
    zoo_folder: Callable[[str], Path], small_corpus: Path, tmp_path: Path
) -> None:
    common: dict[str, Any] = {
        "model": str(zoo_folder("gpt2")),
        "corpus": small_corpus,
        "output_dir": tmp_path / "out",
    }
    with pytest.raises(ValidationError, match="give one of them"):
        ScreenConfig(**common, sweep=tmp_path, all_exact=True)
    with pytest.raises(ValidationError, match="positions"):
        ScreenConfig(**common, positions="somewhere")
    bare = tmp_path / "bare.jsonl"
    bare.write_text('{"clean": "The fox is", "target": " red", "foil": " blue"}\n')
    with pytest.raises(BadInput, match='patching needs "corrupt"'):
        screen(ScreenConfig(**{**common, "corpus": bare}, against="corrupt"))
    # Before any pass is made.
    with pytest.raises(BadInput, match="no metrics/summary"):
        screen(ScreenConfig(**common, sweep=tmp_path))
    assert not list(tmp_path.rglob("*.npy"))
    assert not (tmp_path / "out").exists()


def test_a_subsample_takes_the_first_seeds_prompts(
    zoo_folder: Callable[[str], Path], small_corpus: Path, tmp_path: Path
) -> None:
    result = screen(
        ScreenConfig(
            model=str(zoo_folder("gpt2")),
            corpus=small_corpus,
            output_dir=tmp_path / "out",
            subsample=5,
            seeds=(3,),
            pairs=0,
            points=1,
            verify_top=2,
        )
    )
    assert result.summary["n_prompts"] == 5
    assert result.told["passes"] == 2
    rows = result.screen.to_pylist()
    assert all(row["estimate"] == row["gradient"] for row in rows)
    assert all(row["joint"] is None for row in rows)


SCRIPT = """
import sys
from pathlib import Path
from whence.heads.commands.screen import ScreenConfig, screen
model, corpus, out = sys.argv[1:]
screen(ScreenConfig(model=model, corpus=Path(corpus), output_dir=Path(out), pairs=2, verify_top=6))
"""


@pytest.mark.slow
def test_killed_after_a_pass_and_after_a_shard_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    model = planted.redundant("gpt2")
    folder, corpus = model.save(tmp_path / "model"), model.write_corpus(tmp_path / "corpus.jsonl")
    command = [sys.executable, "-c", SCRIPT, str(folder), str(corpus)]
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    output = tmp_path / "killed"
    scratch = output.with_name("killed.partial") / ".scratch"
    for step in ("passes/heads-*.npy", "passes/*-at-0.npy", "shards/*/0000.parquet"):
        process = subprocess.Popen([*command, str(output)], stderr=subprocess.PIPE)
        while not any(scratch.glob(step)):
            assert process.poll() is None, process.stderr and process.stderr.read().decode()
            time.sleep(0.001)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not output.exists()
    subprocess.run([*command, str(output)], check=True, capture_output=True)
    for name in OUTPUTS:
        own, whole = (tmp_path / run / "metrics" / name for run in ("killed", "whole"))
        assert own.read_bytes() == whole.read_bytes(), name
