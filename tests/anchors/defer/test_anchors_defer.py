"""`whence anchors defer`: the plan, its controls, its bill, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from whence.anchors.defer.command import DeferConfig, defer
from whence.anchors.defer.cost import Costs
from whence.anchors.defer.outcome import Judged, error_difference, error_interval
from whence.errors import BadInput

SCRIPT = "<script>alert('x')</script>"


def predictions(seed: int = 0, problems: int = 6, rows: int = 40) -> pd.DataFrame:
    """Scores that know something of the labels, `problems` problems in val and as many in test."""
    rng = np.random.default_rng(seed)
    frames = []
    for number in range(2 * problems):
        anchor = rng.random(rows) < 0.2
        frames.append(
            pd.DataFrame(
                {
                    "problem_id": number,
                    "chunk_idx": range(rows),
                    "relative_position": np.arange(rows, dtype=np.float32) / (rows - 1),
                    "function_tag": rng.choice(["plan", "check"], rows),
                    "anchor": anchor.astype(int),
                    "split": "val" if number < problems else "test",
                    "seed": 0,
                    "score_linear_probe": rng.normal(1.5 * anchor, 1.0).astype(np.float32),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Write a table, plan from it, and give back the JSON."""

    def plan(frame: pd.DataFrame, **settings: Any) -> dict[str, Any]:
        path = tmp_path / "predictions.parquet"
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path)
        settings = {"score_column": "score_linear_probe", "draws": 500} | settings
        output = tmp_path / "plan.json"
        config = DeferConfig(predictions=path, output=output, overwrite=True, **settings)
        defer(config)
        return json.loads(output.read_text())

    return plan


def by_hand(frame: pd.DataFrame, thresholds: dict[str, float], side: str) -> tuple[float, float]:
    """Deferral and accepted error from thresholds, row by row."""
    own = frame[(frame["split"] == side) & frame["anchor"].notna()]
    called = [
        1 if s >= thresholds["t_pos"] else 0 if s <= thresholds["t_neg"] else None
        for s in own["score_linear_probe"].astype(float)
    ]
    accepted = [(c, a) for c, a in zip(called, own["anchor"], strict=True) if c is not None]
    return 1 - len(accepted) / len(own), sum(c != a for c, a in accepted) / len(accepted)


@pytest.mark.parametrize("objective", ["budget", "error"])
def test_rates_on_both_sides_are_those_of_the_thresholds(run: Any, objective: str):
    frame = predictions()
    limit = {"target_error": 0.08} if objective == "error" else {"deferral_budget": 0.3}
    told = run(frame, objective=objective, **limit)
    for side in ("val", "test"):
        deferral, error = by_hand(frame, told["thresholds"], side)
        assert told[side]["deferral"] == pytest.approx(deferral)
        assert told[side]["accepted_error"] == pytest.approx(error)
        assert told[side]["wrong"] == told[side]["anchors_missed"] + told[side]["false_alarms"]
    assert told["meets_objective"]
    if objective == "budget":
        assert told["val"]["deferral"] <= 0.3
    else:
        assert told["val"]["accepted_error"] <= 0.08
    low, high = told["test"]["accepted_error_interval"]
    assert low <= told["test"]["accepted_error"] <= high


def test_the_published_scores_give_the_published_deferral(shared_data: Path, tmp_path: Path):
    path = shared_data / "thought-anchors/llama_correct/predictions_seed_0.parquet"
    config = DeferConfig(
        predictions=path,
        score_column="score_linear_probe",
        objective="budget",
        deferral_budget=0.2,
        output=tmp_path / "D.json",
    )
    finding = defer(config).finding()
    told = json.loads((tmp_path / "D.json").read_text())
    test = told["test"]
    assert (test["deferred"], test["rows"]) == (156, 684)
    assert (test["wrong"], test["accepted"]) == (46, 528)
    assert test["deferral"] == pytest.approx(0.2281, abs=5e-5)
    assert test["accepted_error"] == pytest.approx(0.0871, abs=5e-5)
    # Three test problems: no interval, whatever it would have said.
    assert test["accepted_error_interval"] is None
    assert "3 problems" in test["accepted_error_reason"]
    assert told["meets_objective"] is True
    assert "22.8 %" in finding.headline
    assert "10.1 % without a probe" in finding.headline
    assert "more is deferred than the budget" in finding.headline


def test_the_curve_passes_through_the_plan_and_starts_at_no_deferral(run: Any):
    told = run(predictions(), deferral_budget=0.2)
    curve = {point["budget"]: point for point in told["curve"]}
    assert sorted(curve) == [round(0.05 * step, 2) for step in range(21)]
    assert curve[0.2]["accepted_error"] == told["test"]["accepted_error"]
    assert curve[0.2]["deferral"] == told["test"]["deferral"]
    assert curve[0.0]["deferral"] == 0.0
    random = told["controls"]["random_deferral"]["accepted_error"]
    assert curve[0.0]["accepted_error"] == random
    deferred = [curve[budget]["val"]["deferral"] for budget in sorted(curve)]
    assert all(point <= budget for point, budget in zip(deferred, sorted(curve), strict=True))


def test_position_alone_is_planned_like_the_probe(run: Any):
    frame = predictions()
    told = run(frame)
    as_probe = run(frame.assign(score_linear_probe=-frame["relative_position"]))
    position = told["controls"]["position_untrained"]
    assert position["thresholds"] == as_probe["thresholds"]
    assert position["accepted_error"] == as_probe["test"]["accepted_error"]
    assert as_probe["controls"]["position_untrained"]["probe_minus_position"]["effect"] == 0
    assert told["controls"]["no_probe"]["called"] == "no anchor"
    test = frame[frame["split"] == "test"]
    assert told["controls"]["no_probe"]["accepted_error"] == pytest.approx(test["anchor"].mean())


def test_without_positions_the_control_is_missing_and_says_why(run: Any):
    told = run(predictions().drop(columns="relative_position"))
    assert told["controls"]["position_untrained"] is None
    assert "relative_position" in told["controls"]["reason"]


def test_groups_have_thresholds_of_their_own_and_totals_count_rows(run: Any):
    frame = predictions()
    frame.loc[(frame["split"] == "test") & (frame["chunk_idx"] == 0), "function_tag"] = "only here"
    told = run(frame, group_column="function_tag")
    assert told["thresholds"] is None
    assert [group["group"] for group in told["groups"]] == ["check", "plan"]
    assert told["unmatched_groups"] == {"only here": 6}
    for group in told["groups"]:
        own = frame[frame["function_tag"] == group["group"]]
        alone = run(own)
        assert group["thresholds"] == alone["thresholds"]
        assert group["test"]["accepted_error"] == alone["test"]["accepted_error"]
    test = told["test"]
    assert test["rows"] == sum(group["test"]["rows"] for group in told["groups"]) == 234
    weighted = sum(g["test"]["deferral"] * g["test"]["rows"] for g in told["groups"]) / 234
    assert test["deferral"] == pytest.approx(weighted)
    wrong = sum(g["test"]["wrong"] for g in told["groups"])
    assert test["accepted_error"] == wrong / sum(g["test"]["accepted"] for g in told["groups"])


def test_the_bill_of_a_hand_worked_case():
    decisions = np.array([0] * 70 + [1] * 10 + [2] * 20, dtype=np.int8)
    anchors = np.array([True] * 5 + [False] * 65 + [True] * 9 + [False] + [True] * 20)
    judged = Judged(decisions, anchors, np.array(["a"] * 100, dtype=object))
    told = Costs(probe=2, label=50).told(judged)
    assert told["cost"] == 100 * 2 + 20 * 50 == 1200
    assert told["cost_all_labelled"] == 5000
    assert told["saving"] == 3800
    assert told["saving_share"] == 0.76
    assert told["break_even_deferral"] == 0.96
    assert told["error_break_even"] == 3800 / 6  # five anchors missed, one false alarm
    assert 100 * 2 + 96 * 50 == 5000  # nothing is saved at the break-even


def test_intervals_are_over_problems_and_agree_with_resampling_by_hand():
    rng = np.random.default_rng(1)
    problems = np.repeat([f"p{i}" for i in range(12)], 30).astype(object)
    anchors = rng.random(360) < np.repeat(rng.random(12) * 0.5, 30)
    decisions = rng.choice([0, 1, 2], 360, p=[0.6, 0.1, 0.3]).astype(np.int8)
    other = rng.choice([0, 1, 2], 360, p=[0.7, 0.2, 0.1]).astype(np.int8)
    judged, control = (Judged(d, anchors, problems) for d in (decisions, other))

    def ratio(one: Judged, rows: np.ndarray) -> float:
        return one.wrong[rows].sum() / one.accepted[rows].sum()

    drawn, pairs = [], []
    by_problem = [np.flatnonzero(problems == f"p{i}") for i in range(12)]
    for _ in range(4000):
        rows = np.concatenate([by_problem[i] for i in rng.integers(0, 12, 12)])
        drawn.append(ratio(judged, rows))
        pairs.append(ratio(judged, rows) - ratio(control, rows))
    interval = error_interval(judged, 10_000)["interval"]
    assert interval == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.012)
    told = error_difference(judged, control, 10_000)
    assert told["interval"] == pytest.approx(np.quantile(pairs, [0.025, 0.975]), abs=0.012)
    every = np.arange(360)
    assert told["effect"] == pytest.approx(ratio(judged, every) - ratio(control, every))


def test_under_five_test_problems_there_is_no_interval_but_a_reason(run: Any):
    told = run(predictions(problems=4))
    for side in ("val", "test"):
        assert told[side]["accepted_error_interval"] is None
        assert "4 problems" in told[side]["accepted_error_reason"]
        assert told[side]["deferral_interval"] is None
    difference = told["controls"]["position_untrained"]["probe_minus_position"]
    assert difference["interval"] is None
    assert "4 problems" in difference["reason"]
    assert all(point["interval"] is None for point in told["curve"])


def test_rows_without_a_label_are_left_out_and_counted(run: Any):
    frame = predictions()
    frame["anchor"] = frame["anchor"].astype(float)
    frame.loc[frame.index[:7], "anchor"] = np.nan
    told = run(frame)
    assert told["unlabelled_rows"] == {"val": 7, "test": 0}
    assert told["val"]["rows"] == 233


def test_a_seed_is_chosen_and_said(run: Any):
    frame = predictions()
    second = predictions(seed=9).assign(seed=3)
    told = run(pd.concat([frame, second], ignore_index=True), seed=3)
    assert (told["seed"], told["seeds_in_table"]) == (3, [0, 3])
    assert told["test"] == run(second)["test"]
    assert run(pd.concat([frame, second], ignore_index=True))["seed"] == 0
    with pytest.raises(BadInput, match="--seed 7: no such rows; its seeds are 0"):
        run(frame, seed=7)


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (lambda f: f.drop(columns="split"), {}, "no column split"),
        (lambda f: f[f["split"] == "test"], {}, "no row of split val, only of test"),
        (lambda f: f[f["split"] == "val"], {}, "no row of split test, only of val"),
        (lambda f: f, {"score_column": "score_linear_prob"}, "did you mean score_linear_probe"),
        (lambda f: f, {"label_column": "anchors"}, "did you mean anchor"),
        (lambda f: f, {"group_column": "tag"}, "--group-column tag: no column"),
        (lambda f: f.assign(anchor=np.nan), {}, "no val row has a label in anchor"),
        (lambda f: f.assign(anchor=2), {}, "row 0: anchor is 2: 0 or 1 was expected"),
        (lambda f: f.assign(anchor="yes"), {}, "numbers were expected"),
        (lambda f: f.iloc[:0], {}, "has no rows"),
        (lambda f: f.drop(columns="score_linear_probe"), {}, "no column score_"),
        (
            lambda f: f.assign(score_linear_probe=f["score_linear_probe"].where(f.index != 5)),
            {},
            "row 5: score_linear_probe is nan",
        ),
        (
            lambda f: f.assign(function_tag=f["split"]),
            {"group_column": "function_tag"},
            "no value of function_tag is in both val and test",
        ),
    ],
)
def test_what_cannot_be_planned_is_refused_in_one_line(
    run: Any, change: Any, settings: dict[str, Any], message: str
):
    with pytest.raises(BadInput, match=message) as caught:
        run(change(predictions()), **settings)
    assert "\n" not in str(caught.value)


def test_a_limit_that_does_not_belong_is_refused():
    common = {"predictions": "p", "score_column": "s", "output": "o"}
    with pytest.raises(ValidationError, match="needs --target-error"):
        DeferConfig(**common, objective="error")
    with pytest.raises(ValidationError, match="belongs to --objective error"):
        DeferConfig(**common, target_error=0.1)


def test_equal_runs_are_not_repeated_and_others_are_refused(tmp_path: Path):
    path, output = tmp_path / "p.parquet", tmp_path / "plan.json"
    pq.write_table(pa.Table.from_pandas(predictions(), preserve_index=False), path)
    common = {"predictions": path, "score_column": "score_linear_probe", "draws": 200}
    first = defer(DeferConfig(**common, output=output))
    bytes_before = output.read_bytes()
    output.unlink()  # as a kill just before it was written would leave it
    again = defer(DeferConfig(**common, output=output))
    assert not first.done_before
    assert again.done_before
    assert output.read_bytes() == bytes_before
    with pytest.raises(BadInput, match="deferral_budget"):
        defer(DeferConfig(**common, output=output, deferral_budget=0.5))
    assert output.read_bytes() == bytes_before
    other = tmp_path / "notes.json"
    other.write_text("mine")
    with pytest.raises(BadInput, match="no run of `whence anchors defer`"):
        defer(DeferConfig(**common, output=other))
    assert other.read_text() == "mine"


def test_every_decision_is_written_down(run: Any, tmp_path: Path):
    frame = predictions()
    told = run(frame)
    decided = pd.read_parquet(tmp_path / "plan.defer" / "decisions.parquet")
    assert len(decided) == told["test"]["rows"]
    assert (decided["decision"] == "defer").sum() == told["test"]["deferred"]
    high = decided["score_linear_probe"] >= told["thresholds"]["t_pos"]
    assert (decided.loc[high, "decision"] == "anchor").all()


def test_the_page_is_whole_and_its_words_are_escaped(run: Any, tmp_path: Path):
    frame = predictions().rename(columns={"score_linear_probe": f"score_{SCRIPT}"})
    frame["function_tag"] = frame["function_tag"] + SCRIPT
    run(frame, score_column=f"score_{SCRIPT}", group_column="function_tag")
    html = (tmp_path / "plan.html").read_text("utf-8")
    assert html.count("<script>") == 1
    assert "alert(" in html  # escaped, but there
    assert "Below the dotted lines" in html
