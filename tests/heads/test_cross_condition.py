"""What conditions say together, against sets made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import measured
import pyarrow.parquet as pq
import pytest
from scipy import stats

from whence.heads.cross_condition import HEAD_MATRIX_COLUMNS, LAYER_MATRIX_COLUMNS, invariants
from whence.heads.outputs import Tables, write_condition, write_cross_condition


def write(folder: Path, tag: str, truth: measured.Truth, **battery: Any) -> Tables:
    return write_condition(
        folder / "conditions" / tag,
        measured.Result(truth.table()),
        run_id="run",
        condition=tag,
        battery={"type": "heads_zero", **battery},
        model=measured.MODEL,
        metrics=["kl_div"],
    )


@pytest.fixture(scope="module")
def stitched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Tables]]:
    """Head 1:1 holds everywhere, 0:3 turns its sign, 2:0 is there in one condition only."""
    root = tmp_path_factory.mktemp("run")
    everywhere = {(1, 1): 0.9, (2, 2): -0.5}
    planted = {
        "facts": everywhere | {(0, 3): 0.8, (2, 0): 0.9},
        "neg": everywhere | {(0, 3): -0.8},
        "logic": everywhere | {(0, 3): 0.8},
    }
    conditions = {
        tag: write(root, tag, measured.sweep(3, 4, own, random_state=at))
        for at, (tag, own) in enumerate(planted.items())
    }
    write_cross_condition(root, conditions, run_id="run")
    return root / "artifacts", conditions


def test_the_matrix_is_all_tables_one_below_the_other(stitched: tuple[Path, dict[str, Tables]]):
    artifacts, conditions = stitched
    matrix = pq.read_table(artifacts / "cross_condition" / "head_matrix.parquet")
    assert matrix.column_names == HEAD_MATRIX_COLUMNS
    rows = matrix.to_pandas()
    assert len(rows) == 3 * 12 * 2
    for tag, tables in conditions.items():
        own = tables.head_impact.to_pandas()
        stacked = rows[rows["condition"] == tag]
        for name in ("layer", "head", "metric", "value", "delta", "q", "percentile_in_layer"):
            assert stacked[name].tolist() == own[name].tolist()
    assert not (artifacts / "cross_condition" / "layer_matrix.parquet").exists()
    assert (artifacts / "impact_heatmap.png").exists()


def test_invariants_have_one_sign_in_every_condition(stitched: tuple[Path, dict[str, Tables]]):
    artifacts, conditions = stitched
    told = json.loads((artifacts / "cross_condition" / "invariants.json").read_text())
    assert told["heads"][0]["head"] == "1:1"
    names = {row["head"] for row in told["heads"]}
    assert {"1:1", "2:2"} <= names
    assert not names & {"0:3", "2:0"}
    by_hand = set()
    tables = [t.head_impact.to_pandas() for t in conditions.values()]
    tables = [t[t["metric"] == "delta_logit_diff"].set_index(["layer", "head"]) for t in tables]
    for key in tables[0].index:
        ends = [(t.loc[key, "ci_low"], t.loc[key, "ci_high"]) for t in tables]
        if all(low > 0 for low, _ in ends) or all(high < 0 for _, high in ends):
            by_hand.add(f"{key[0]}:{key[1]}")
    assert names == by_hand
    assert told["tested"] == 12
    assert told["expected_by_chance"] == pytest.approx(12 * 2 * 0.025**3)
    top = told["heads"][0]
    assert (top["sign"], top["layer"], top["number"]) == (1, 1, 1)
    assert top["smallest"] == min(c["delta_logit_diff"] for c in top["conditions"].values())


def test_the_summary_says_how_alike_conditions_rank(stitched: tuple[Path, dict[str, Tables]]):
    artifacts, conditions = stitched
    told = json.loads((artifacts / "cross_condition" / "summary.json").read_text())
    assert list(told["conditions"]) == ["facts", "neg", "logic"]
    assert told["conditions"]["neg"]["clean"] == {"logit_diff": 1.5}
    assert len(told["agreement"]) == 3
    first = told["agreement"][0]
    assert first["conditions"] == ["facts", "neg"]
    a, b = (conditions[tag].head_impact.to_pandas() for tag in first["conditions"])
    a, b = (t[t["metric"] == "delta_logit_diff"]["delta"] for t in (a, b))
    assert first["spearman"] == pytest.approx(stats.spearmanr(a, b).statistic)
    assert first["k"] == 10
    assert first["shared_by_chance"] == pytest.approx(10 / 12)


def test_layers_stack_and_hold_too(tmp_path: Path):
    conditions = {}
    for tag, effect in (("facts", -1.0), ("neg", -2.0)):
        made = {measured.layer(0): 0.0, measured.layer(1): effect, measured.layer(1, "sham"): 0.0}
        truth = measured.Truth(made, source=-1.0)
        conditions[tag] = write(tmp_path, tag, truth, granularity="mlp_out", positions="last_token")
    folder = write_cross_condition(tmp_path, conditions, run_id="run")
    matrix = pq.read_table(folder / "layer_matrix.parquet")
    assert matrix.column_names == LAYER_MATRIX_COLUMNS
    assert matrix.num_rows == 2 * 3 * 2
    told = invariants(conditions)
    assert told["layers_tested"] == 2
    assert [row["layers"] for row in told["layers"]] == ["1"]
    assert told["layers"][0]["granularity"] == "mlp_out"
    assert told["heads"] == []


def test_a_head_that_one_condition_lacks_is_not_tested(tmp_path: Path):
    conditions = {
        "a": write(tmp_path, "a", measured.sweep(1, 4, {(0, 1): 1.0})),
        "b": write(tmp_path, "b", measured.sweep(1, 2, {(0, 1): 1.0})),
        "c": write(tmp_path, "c", measured.sweep(1, 2, {(0, 1): 1.0}, prompts=3)),
    }
    two = {tag: conditions[tag] for tag in "ab"}
    assert invariants(two)["tested"] == 2
    # Three prompts carry no interval, and so nothing holds in all conditions.
    assert invariants(conditions)["heads"] == []


def test_a_patch_is_not_compared_with_an_ablation(tmp_path: Path):
    truth = measured.sweep(1, 4, {(0, 1): 1.0})
    conditions = {
        "a": write(tmp_path, "a", truth),
        "b": write(tmp_path, "b", truth, positions="last_token"),
        "c": write(tmp_path, "c", truth, positions="all", method="zero", scales=[0]),
    }
    assert invariants(conditions)["tested"] == 0
    assert invariants({tag: conditions[tag] for tag in "ac"})["tested"] == 4


def test_one_condition_alone_is_written_as_well(tmp_path: Path):
    one = {"a": write(tmp_path, "a", measured.sweep(1, 3, {}))}
    folder = write_cross_condition(tmp_path, one, run_id="run")
    assert json.loads((folder / "summary.json").read_text())["agreement"] == []
