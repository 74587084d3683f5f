"""`report.html` and `report.md`: the verdict that the numbers carry, whatever was left behind."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from whence.anchors.report import write_report
from whence.errors import BadInput

SCRIPT = "<script>alert('x')</script>"
PROBES = {
    "position_untrained": {"seeded": False, "trained": False, "baseline": True},
    "text_only_baseline": {"seeded": False, "trained": True, "baseline": True},
    "linear_probe": {"seeded": False, "trained": True, "baseline": False},
    "mlp_probe": {"seeded": True, "trained": True, "baseline": False},
}
VALUES = {
    "position_untrained": 0.25, "text_only_baseline": 0.12, "linear_probe": 0.4, "mlp_probe": 0.3,
}  # fmt: skip


def a_comparison(arm: str, control: str, effect: float, **changes: Any) -> dict[str, Any]:
    return {
        "arm": arm, "control": control, "metric": "pr_auc", "effect": effect,
        "interval": [effect - 0.05, effect + 0.05], "p": 0.001, "q": 0.004, "seeds": 2, "items": 20,
        "minimum_detectable_effect": 0.06, "seeds_needed": None, "sentence": f"{arm} on {control}",
    } | changes  # fmt: skip


def comparisons(mlp: float = 0.02) -> list[dict[str, Any]]:
    return [
        a_comparison("linear_probe", "position_untrained", 0.15),
        a_comparison("linear_probe", "text_only_baseline", 0.28),
        a_comparison("mlp_probe", "position_untrained", mlp),
        a_comparison("mlp_probe", "text_only_baseline", 0.18),
    ]


def cv_metrics(**changes: Any) -> dict[str, Any]:
    levels = {
        probe: {
            "pr_auc": {"mean": value, "interval": [value - 0.05, value + 0.05],
                       "per_problem": {str(n): value for n in range(20)} | {"99": None},
                       "undefined": 1, "beyond_chance": 0.5},
            "spearman": {"mean": value / 2, "interval": None, "reason": "all alike",
                         "per_problem": {}},
        }
        for probe, value in VALUES.items()
    }  # fmt: skip
    return {
        "kind": "cv", "folds": "problems", "primary_metric": "pr_auc",
        "problems": [str(n) for n in range(20)], "probes": PROBES, "cv": levels,
        "chance": {"pr_auc": 0.1, "spearman": 0.0}, "comparisons": comparisons(),
        "noise_ceiling": {"reason": None, "mean": {"pr_auc": {"mean": 0.7}}},
        "tripwires": {
            "passed": True,
            "shuffled_labels": {"passed": True, "sentence": f"as chance would {SCRIPT}"},
        },
        "reasons": {},
    } | changes  # fmt: skip


def train_metrics(**changes: Any) -> dict[str, Any]:
    bins = [
        {"left": left / 5, "right": (left + 1) / 5, "count": 12, "prevalence": 0.1 * (left < 4),
         "pr_auc": 0.2 if left < 4 else None}
        for left in range(5)
    ]  # fmt: skip
    levels = {
        probe: {
            "pr_auc": value, "pr_auc_trapezoid": value - 0.01, "spearman_mean": value / 2,
            "top_5_recall": 0.2, "position_bins": bins,
            "calibration": {"brier": 0.2, "ece": 0.1, "bins": [
                {"left": 0.0, "right": 0.1, "count": 3, "mean_score": 0.05, "prevalence": 0.0},
                {"left": 0.1, "right": 0.2, "count": 0, "mean_score": None, "prevalence": None},
            ]},
            "per_problem": {"7": {"pr_auc": value, "spearman": None}},
        }
        for probe, value in VALUES.items()
    }  # fmt: skip
    return {
        "kind": "train", "primary_metric": "pr_auc", "target": "anchor_binary",
        "rows": {"train": 500, "val": 120, "test": 180, "unlabelled": 0},
        "splits": {"train": ["1"], "val": ["2"], "test": ["7", "8", "9"]}, "probes": PROBES,
        "selected": {"probe": "mlp_probe", "by": "val pr_auc", "val": 0.3, "test": 0.3},
        "chance": {"test": {"pr_auc": 0.11}}, "test": levels, "val": levels,
        "comparisons": [c | {"interval": None, "p": None, "q": None, "items": 3,
                             "sentence": f"no verdict: {c['sentence']}"} for c in comparisons()],
        "noise_ceiling": {"reason": "no standard errors"}, "tripwires": {}, "reasons": {"a": "b"},
    } | changes  # fmt: skip


def predictions() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {"problem_id": problem, "chunk_idx": at, "chunk_text": SCRIPT if at == 1 else f"S {at}.",
         "relative_position": at / 59, "importance_signed": rng.normal(), "split": split, "seed": 0,
         "anchor": int(rng.random() < 0.2), "score_mlp_probe": rng.random(),
         "score_position_untrained": -at / 59}
        for split, problems in (("val", (2, 3)), ("test", (7, 8, 9)))
        for problem in problems
        for at in range(60)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def write(folder: Path, metrics: dict[str, Any], table: pd.DataFrame | None = None) -> str:
    (folder / "metrics.json").write_text(json.dumps(metrics))
    if table is not None:
        table.to_parquet(folder / "predictions.parquet")
    assert write_report(folder) == folder / "report.html"
    return (folder / "report.html").read_text("utf-8")


def words(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def headline(html: str) -> str:
    found = re.search(r"<h1>(.*?)</h1>", html, re.S)
    assert found
    return words(found[1])


def titles(html: str) -> list[str]:
    return [words(title) for title in re.findall(r"<h2[^>]*>(.*?)</h2>", html)]


def test_a_probe_that_beats_every_baseline_is_named_first(tmp_path: Path):
    html = write(tmp_path, cv_metrics())
    assert headline(html) == "On PR-AUC, linear_probe beats each of 2 baselines."
    text = words(html)
    assert "PR-AUC, linear_probe − position_untrained (the strongest baseline) +0.150" in text
    assert "95 % interval [+0.100, +0.200]" in text
    assert "Noise ceiling 0.700" in text
    assert titles(html)[:3] == ["Probes", "Against the baselines", "Can it be trusted"]
    assert "20 problems" in text
    markdown = (tmp_path / "report.md").read_text("utf-8")
    assert markdown.splitlines()[2].startswith(
        "**On PR-AUC, linear_probe beats each of 2 baselines.**"
    )
    assert "| linear_probe | 0.400 [0.350, 0.450] | 0.200 |" in markdown


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        # q above 5 %: nothing may be claimed, whatever the interval says.
        ([c | {"q": 0.2} for c in comparisons()], "No probe beats each of 2 baselines on PR-AUC."),
        (
            comparisons()[2:],
            "No probe beats each of 2 baselines on PR-AUC; mlp_probe beats some of them.",
        ),
        (comparisons(mlp=0.1), "On PR-AUC, linear_probe and mlp_probe beat each of 2 baselines."),
        (comparisons()[::2][1:], "No probe beats position_untrained on PR-AUC."),
        ([], "With nothing to compare it with, linear_probe reaches a PR-AUC of 0.400."),
        (
            [a_comparison("text_only_baseline", "position_untrained", -0.1)],
            "No baseline beats position_untrained on PR-AUC.",
        ),
    ],
)
def test_the_headline_says_no_more_than_the_comparisons_do(
    changed: list[dict[str, Any]], expected: str
):
    from whence.report.anchors_headline import headline as answer
    from whence.report.anchors_told import read_told

    assert f"{answer(read_told(cv_metrics(comparisons=changed))).sentence}." == expected


def test_three_test_problems_settle_nothing(tmp_path: Path):
    html = write(tmp_path, train_metrics(), predictions())
    assert headline(html) == "Nothing is settled on PR-AUC: 3 problems cannot carry an interval."
    # The leading probe is the one chosen on validation, not the best on test.
    assert "PR-AUC, mlp_probe − position_untrained" in words(html)
    assert "chosen on validation" in words(html)
    assert titles(html) == [
        "Probes", "Against the baselines", "Where in the trace", "Calibration", "Deferral",
        "Can it be trusted", "One trace: problem 7", "Run it again",
    ]  # fmt: skip
    assert "no standard errors" in words(html)
    markdown = (tmp_path / "report.md").read_text("utf-8")
    assert "- On test, mlp_probe defers" in markdown


def test_the_deferral_of_the_report_is_that_of_the_command(tmp_path: Path):
    from whence.anchors.defer.command import DeferConfig, defer

    html = write(tmp_path, train_metrics(), predictions())
    config = DeferConfig(
        predictions=tmp_path / "predictions.parquet",
        score_column="score_mlp_probe",
        output=tmp_path / "plan.json",
    )
    defer(config)
    told = json.loads((tmp_path / "plan.json").read_text())
    written = f"{told['test']['deferral']:.1%}".replace("%", " %")
    assert f"test {written}" in words(html).replace("\N{NARROW NO-BREAK SPACE}", " ")


def test_text_of_models_and_files_is_escaped_in_both(tmp_path: Path):
    metrics = train_metrics(model={"name": SCRIPT}, reasons={SCRIPT: SCRIPT})
    metrics["comparisons"][0]["sentence"] = SCRIPT
    html = write(tmp_path, metrics, predictions())
    assert html.count("<script>") == 1
    assert SCRIPT not in html
    assert "&lt;script&gt;alert(" in html
    assert "<script" not in (tmp_path / "report.md").read_text("utf-8")


@pytest.mark.parametrize(
    "metrics",
    [
        {"test": {"linear_probe": {"pr_auc": 0.2}}},
        {"cv": {"linear_probe": {"pr_auc": {"mean": None, "interval": None, "per_problem": {}}}}},
        {"kind": "train", "test": {}},
        train_metrics(noise_ceiling=None, tripwires=None, reasons=None, chance=None, selected=None),
    ],
)
def test_what_is_absent_is_left_out(tmp_path: Path, metrics: dict[str, Any]):
    html = write(tmp_path, metrics)
    assert titles(html)[-1] == "Run it again"
    assert "Deferral" not in titles(html)
    assert "nan" not in words(html).lower().split()


def test_predictions_without_validation_rows_have_no_deferral_and_say_why(tmp_path: Path):
    html = write(tmp_path, train_metrics(), predictions().query("split == 'test'"))
    assert "Deferral" not in titles(html)
    assert "no row of split val" in (tmp_path / "report.md").read_text("utf-8")


def test_equal_numbers_give_equal_bytes(tmp_path: Path):
    first = write(tmp_path, train_metrics(), predictions())
    markdown = (tmp_path / "report.md").read_bytes()
    assert write(tmp_path, train_metrics(), predictions()) == first
    assert (tmp_path / "report.md").read_bytes() == markdown


def test_several_runs_stand_together(tmp_path: Path):
    rows = [
        {"probe": probe, "metric": "pr_auc", "primary": True, "mean": value, "sd": 0.01, "seeds": 3,
         "interval": None, "reason": "pooled"}
        for probe, value in VALUES.items()
    ]  # fmt: skip
    aggregate = {
        "kind": "aggregate",
        "runs": [{"name": "a", "target": "anchor_binary"}, {"name": SCRIPT}],
        "tables": [
            {"run": "a", "split": "test", "rows": rows},
            {"run": SCRIPT, "split": "test", "rows": rows},
        ],
        "comparisons": [c | {"run": run} for run in ("a", SCRIPT) for c in comparisons()],
        "selected": [{"run": "a", "probe": "mlp_probe", "by": "val pr_auc", "val": 0.3}],
        "tripwires": [{"run": "a", "check": "shuffled_labels", "passed": False, "sentence": "bad"}],
    }
    (tmp_path / "aggregate.json").write_text(json.dumps(aggregate))
    html = write_report(tmp_path).read_text("utf-8")
    assert headline(html) == (
        "In 2 runs, 6 of 8 comparisons with a baseline favour the probe, 0 the baseline, 2 are not "
        "settled."
    )
    text = words(html)
    assert "mlp_probe 0.300 ± 0.010 3" in text
    assert "FAILED : bad" in text
    assert "linear_probe (a)" in text
    assert SCRIPT not in html


def test_a_folder_without_results_is_refused(tmp_path: Path):
    with pytest.raises(BadInput, match=r"neither metrics\.json nor aggregate\.json"):
        write_report(tmp_path)
