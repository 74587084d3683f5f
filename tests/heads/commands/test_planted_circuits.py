"""The commands find what was planted, with its exact size, from files alone."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import planted
import pyarrow.parquet as pq
import pytest
from planted import Planted

from whence.__main__ import main
from whence.runs.jsonfile import read_json

EXACT = 1e-4
LAYERS = ("layer_resid", "attn_out", "mlp_out")


def run(folder: Path, circuit: Planted, *words: str) -> Path:
    """Run `whence heads …` on the circuit, saved to disk; the output folder."""
    model = circuit.save(folder / "model")
    corpus = circuit.write_corpus(folder / "corpus.jsonl")
    out = folder / "out"
    common = ["--model", str(model), "--corpus", str(corpus), "--output-dir", str(out)]
    assert main(["heads", *words, *common]) == 0
    return out


def rows(out: Path, name: str, metric: str = "delta_logit_diff") -> list[dict[str, Any]]:
    table = pq.read_table(out / "metrics" / f"{name}_impact.parquet").to_pylist()
    return [row for row in table if row["metric"] == metric]


@pytest.mark.parametrize("family", planted.FAMILIES)
@pytest.mark.parametrize("positions", ["all", "last_token"])
def test_a_sweep_finds_the_suppressor(family: Any, positions: Any, tmp_path: Path) -> None:
    circuit = planted.suppressor(family)
    out = run(tmp_path, circuit, "sweep", "--positions", positions)
    found = {(row["layer"], row["head"]): row for row in rows(out, "head")}
    assert found.keys() == set(circuit.heads)
    for head, row in found.items():
        truth = circuit.ablated([head], positions=positions).mean()
        assert row["delta"] == row["value"] == pytest.approx(truth, abs=EXACT)
    # ablating it raises the difference: it holds the answer back, and is clear of zero
    suppressor = found[1, 1]
    assert suppressor["ci_low"] > 0.5
    assert suppressor["q"] < 0.05
    assert suppressor["percentile_in_layer"] == 100
    idle = found[0, 0]
    assert idle["delta"] == pytest.approx(0, abs=EXACT)
    summary = read_json(out / "metrics" / "summary.json")
    assert summary["clean"]["logit_diff"] == pytest.approx(circuit.logit_diff().mean(), abs=EXACT)
    assert summary["n_prompts"] == len({row.clean for row in circuit.rows})


@pytest.mark.parametrize("family", planted.FAMILIES)
def test_pairs_find_what_no_single_head_shows(family: Any, tmp_path: Path) -> None:
    circuit = planted.redundant(family)
    out = run(tmp_path, circuit, "pairs", "--top", str(len(circuit.heads)))
    found = {
        tuple(sorted([(r["layer_a"], r["head_a"]), (r["layer_b"], r["head_b"])])): r
        for r in rows(out, "pair")
    }
    assert found.keys() == set(combinations(circuit.heads, 2))
    for (a, b), row in found.items():
        assert row["delta"] == pytest.approx(circuit.ablated([a, b]).mean(), abs=EXACT)
        assert row["synergy"] == pytest.approx(circuit.synergy(a, b).mean(), abs=EXACT)
    redundant = found[(0, 1), (1, 2)]
    assert redundant["delta_a"] == pytest.approx(0, abs=EXACT)
    assert redundant["delta_b"] == pytest.approx(0, abs=EXACT)
    assert redundant["synergy_high"] < -1
    assert redundant["synergy_q"] < 0.05
    additive = found[(0, 3), (1, 0)]
    assert additive["synergy"] == pytest.approx(0, abs=EXACT)


@pytest.mark.parametrize("family", planted.FAMILIES)
def test_patching_finds_the_layer_of_an_induction_head(family: Any, tmp_path: Path) -> None:
    circuit = planted.induction(family)
    for granularity in LAYERS:
        out = run(tmp_path / granularity, circuit, "patch", "--granularity", granularity)
        for row in rows(out, "layer"):
            truth = circuit.patched(granularity, row["layer"]).mean()  # type: ignore[arg-type]
            expected = 0 if row["kind"] == "sham" else truth
            assert row["delta"] == pytest.approx(expected, abs=EXACT)
            if granularity == "layer_resid" and row["kind"] == "patch":
                whole = row["layer"] >= circuit.answer_layer
                assert row["recovered"] == pytest.approx(1.0 if whole else 0.0, abs=EXACT)


@pytest.mark.parametrize("family", planted.FAMILIES)
def test_heads_and_windows_are_patched(family: Any, tmp_path: Path) -> None:
    circuit = planted.redundant(family)
    out = run(tmp_path / "a", circuit, "patch", "--granularity", "head_out")
    for row in rows(out, "head"):
        truth = circuit.patched("head_out", row["layer"], [row["head"]]).mean()
        assert row["delta"] == pytest.approx(truth, abs=EXACT)
    out = run(tmp_path / "b", circuit, "patch", "--granularity", "attn_out", "--window", "0-1")
    found = {row["layers"]: row["delta"] for row in rows(out, "layer") if row["kind"] == "patch"}
    assert found == {
        "0": pytest.approx(circuit.patched("attn_out", 0).mean(), abs=EXACT),
        "1": pytest.approx(circuit.patched("attn_out", 1).mean(), abs=EXACT),
        "0-1": pytest.approx(circuit.patched("attn_out", [0, 1]).mean(), abs=EXACT),
    }


@pytest.mark.parametrize("family", planted.FAMILIES)
def test_one_head_is_restored(family: Any, tmp_path: Path) -> None:
    circuit = planted.redundant(family)
    heads = [(0, 1), (1, 2), (0, 3)]
    out = run(tmp_path, circuit, "partial", "--heads", *(f"{a}:{b}" for a, b in heads))
    found = read_json(out / "metrics" / "partial.json")
    harm = circuit.ablated(heads).mean()
    clean = circuit.logit_diff().mean()
    assert found["baseline"]["logit_diff"] == pytest.approx(clean, abs=EXACT)
    assert found["zero"]["logit_diff"] == pytest.approx(clean + harm, abs=EXACT)
    for head in heads:
        rest = [other for other in heads if other != head]
        back = circuit.ablated(rest).mean() - harm
        one = found["restored"][f"{head[0]}:{head[1]}"]
        assert one["recovered"] == pytest.approx(back, abs=EXACT)
        assert one["share"] == pytest.approx(back / -harm, abs=EXACT)


def test_random_sets_are_the_null_of_a_set(tmp_path: Path) -> None:
    circuit = planted.suppressor("gpt2")
    out = run(tmp_path, circuit, "partial", "--heads", "0:2", "1:1", "--random-control", "10")
    found = rows(out, "subset")
    whole = next(row for row in found if row["label"] == "all zeroed")
    drawn = [row for row in found if row["kind"] == "random" and "all zeroed" in row["label"]]
    assert len(drawn) == 10
    beaten = sum(abs(row["delta"]) <= abs(whole["delta"]) for row in drawn)
    assert whole["percentile_of_random"] == pytest.approx(100 * beaten / 10)
