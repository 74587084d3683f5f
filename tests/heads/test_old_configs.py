"""The earlier lab's configurations, unchanged, on its corpora and a random model of its shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from whence.heads.run import RunConfig, RunResult, run_plan

TAGS = ["facts", "neg", "cf", "logic"]
LAYERS = {"facts": range(9, 14), "neg": range(5), "cf": range(6, 11), "logic": range(3)}


def run(probes: Path, model: Path, name: str, out: Path, **more: Any) -> RunResult:
    return run_plan(
        RunConfig(
            plan=probes / "configs" / f"run_{name}_balanced.json",
            corpora=probes / "corpora",
            model=str(model),
            device="cpu",
            output_dir=out,
            **more,
        )
    )


def rows(out: Path, name: str) -> list[dict[str, Any]]:
    table: list[dict[str, Any]] = pq.ParquetFile(out / f"metrics/{name}.parquet").read().to_pylist()
    return table


def check(name: str, out: Path, dtype: str = "float16") -> None:
    """What each configuration must have left, and what must hold of its numbers."""
    told = json.loads((out / "metrics/summary.json").read_text())
    assert list(told["conditions"]) == TAGS
    assert told["failed"] == {}
    assert told["model"]["dtype"] == dtype
    for part in told["conditions"].values():
        assert part["seeds"]["used"] == [0]
        assert part["seeds"]["given"] == [0, 1, 2]
        assert isinstance(part["clean"]["logit_diff"], float)
        assert part["n_prompts"] > 0
    assert (out / "report.html").is_file()
    across = out / "artifacts/cross_condition"
    assert (across / "summary.json").is_file()
    assert (across / "invariants.json").is_file()
    if name == "h1_cross_condition":
        found = rows(out, "head_impact")
        cells = {(r["condition"], r["layer"], r["head"]) for r in found}
        assert cells == {(t, layer, head) for t in TAGS for layer in range(14) for head in range(8)}
        assert {r["metric"] for r in found} >= {"logit_diff", "kl_div", "seq_kl_mean"}
        assert all(r["value"] >= 0 for r in found if r["metric"] == "kl_div")
        assert (out / "artifacts/impact_heatmap.png").is_file()
        assert (across / "head_matrix.parquet").is_file()
    elif name == "h5_layer0_pairs":
        found = [r for r in rows(out, "pair_impact") if r["metric"] == "delta_logit_diff"]
        assert len(found) == 4 * 3
        for r in found:
            assert r["synergy"] == pytest.approx(r["delta"] - r["delta_a"] - r["delta_b"], abs=1e-9)
    elif name == "h5_layer0_triplet":
        found = [r for r in rows(out, "subset_impact") if r["metric"] == "delta_logit_diff"]
        assert [(r["condition"], r["label"], r["heads"]) for r in found] == [
            (tag, "triplet", "0:2 0:4 0:7") for tag in TAGS
        ]
    else:
        found = [r for r in rows(out, "layer_impact") if r["metric"] == "delta_logit_diff"]
        assert {t: {r["layer"] for r in found if r["condition"] == t} for t in TAGS} == {
            tag: set(layers) for tag, layers in LAYERS.items()
        }
        # Unlike the earlier lab's patches, these depend on the layer.
        for tag in ("facts", "neg", "cf"):
            assert len({round(r["value"], 4) for r in found if r["condition"] == tag}) > 1
        # The last block's output at the last token is the source's, and so is all that follows.
        (last,) = (r for r in found if r["condition"] == "facts" and r["layer"] == 13)
        clean = told["conditions"]["facts"]["clean"]
        gap = clean["source_logit_diff"] - clean["logit_diff"]
        assert last["delta"] == pytest.approx(gap, abs=1e-6)
        verified = json.loads((out / "metrics/verify.json").read_text())
        assert verified["passed"] is True
        assert list(verified["conditions"]) == TAGS


NAMES = ["h1_cross_condition", "h5_layer0_pairs", "h5_layer0_triplet", "h6_layer_targets_window"]


@pytest.mark.parametrize("name", NAMES)
def test_the_validation_part(
    name: str, shared_data: Path, probe_gpt2: Path, tmp_path: Path
) -> None:
    """The quick form: a few prompts of each corpus, and a whole sweep not in emulated float16."""
    out = tmp_path / "out"
    dtype = "float32" if name == "h1_cross_condition" else None
    run(shared_data / "probes", probe_gpt2, name, out, split="val", dtype=dtype)
    check(name, out, dtype or "float16")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_unchanged(name: str, shared_data: Path, probe_gpt2: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(shared_data / "probes", probe_gpt2, name, out)
    check(name, out)
    assert [row[1] for row in result.finding().rows] == ["22", "14", "89", "14"]
    assert run(shared_data / "probes", probe_gpt2, name, out).done_before
