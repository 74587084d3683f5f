"""`whence anchors aggregate`: seeds counted, figures carried over, a README's block replaced."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from whence.anchors.evaluate.aggregate import END, START, AggregateConfig, aggregate
from whence.anchors.evaluate.collected import collect
from whence.anchors.evaluate.cv import CvConfig, cv
from whence.anchors.evaluate.train import TrainConfig, train
from whence.anchors.probes.settings import ProbeSettings
from whence.errors import BadInput
from whence.runs.jsonfile import read_json, write_json
from whence.runs.marked_block import replace_block

MakeStudy = Callable[..., Any]
FAST = {"draws": 1000, "tripwires": False, "fixed": True}


def rows(found: Any, run: str, split: str, probe: str) -> dict[str, Any]:
    return {
        row["metric"]: row
        for table in found["tables"]
        if (table["run"], table["split"]) == (run, split)
        for row in table["rows"]
        if row["probe"] == probe
    }


def test_the_earlier_studys_files_keep_their_figures(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "thought-anchors"
    result = aggregate(
        AggregateConfig(
            runs=(folder / "llama_correct", folder / "qwen_correct" / "metrics_seed_0.json"),
            output_dir=tmp_path / "O",
        )
    )
    for run in ("llama_correct", "qwen_correct"):
        stored = read_json(folder / run / "metrics_seed_0.json")["test"]
        for probe, values in stored.items():
            found = rows(result.found, run, "test", probe)
            assert found["pr_auc_trapezoid"]["mean"] == values["pr_auc"]
            assert found["spearman_mean"]["mean"] == values["spearman_mean"]
            assert found["pr_auc_trapezoid"]["sd"] is None
    assert "0.1625" in (tmp_path / "O" / "aggregate.md").read_text()


def test_seeds_of_one_setting_are_one_run_and_repeats_count_once(
    shared_data: Path, tmp_path: Path
) -> None:
    stored = read_json(shared_data / "thought-anchors" / "llama_correct" / "metrics_seed_0.json")
    for seed, gain in ((0, 0.0), (1, 0.02), (2, 0.07)):
        changed = {**stored, "seed": seed, "test": {**stored["test"]}}
        mlp = stored["test"]["mlp_probe"]
        changed["test"]["mlp_probe"] = {**mlp, "pr_auc": mlp["pr_auc"] + gain}
        for unused in ("position_bin_metrics", "confidence_intervals", "tripwires"):
            changed.pop(unused)
        write_json(tmp_path / "runs" / f"metrics_seed_{seed}.json", _finite(changed))
    result = aggregate(AggregateConfig(runs=(tmp_path / "runs",), output_dir=tmp_path / "O"))
    assert [run["seeds"] for run in result.found["runs"]] == [[0, 1, 2]]
    linear = rows(result.found, "runs", "test", "linear_probe")["pr_auc_trapezoid"]
    assert (linear["seeds"], linear["repeats"], linear["sd"]) == (1, 2, None)
    mlp = rows(result.found, "runs", "test", "mlp_probe")["pr_auc_trapezoid"]
    assert (mlp["seeds"], mlp["repeats"]) == (3, 0)
    start = stored["test"]["mlp_probe"]["pr_auc"]
    assert mlp["mean"] == pytest.approx(start + 0.03)
    assert mlp["sd"] == pytest.approx(np.std([0, 0.02, 0.07], ddof=1))
    assert "± 0.0361 (3 seeds)" in (tmp_path / "O" / "aggregate.md").read_text()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def test_runs_of_whence_with_intervals_comparisons_and_a_readme(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    study = make_study(8, 20)
    given = {"metadata": study.metadata, **FAST}
    probes = ("position_untrained", "position_baseline")
    for seed in (0, 1):
        train(
            TrainConfig(
                **given,
                splits=study.splits,
                features=study.features,
                probes=(*probes, "mlp_probe"),
                seeds=(seed,),
                output_dir=tmp_path / f"train-{seed}",
            )
        )
    whole = cv(CvConfig(**given, probes=probes, output_dir=tmp_path / "cv")).metrics
    readme = tmp_path / "README.md"
    before, after = "# Mine\r\n\r\n", "\r\nthe end, without a newline"
    readme.write_bytes(f"{before}{START}\r\nold\r\n{END}{after}".encode())
    readme.chmod(0o664)
    config = AggregateConfig(
        runs=(tmp_path / "train-0", tmp_path / "train-1", tmp_path / "cv"),
        output_dir=tmp_path / "O",
        readme=readme,
        draws=1000,
    )
    result = aggregate(config)
    assert [run["name"] for run in result.found["runs"]] == ["train-0", "cv"]
    position = rows(result.found, "train-0", "test", "position_baseline")["pr_auc"]
    mlp = rows(result.found, "train-0", "test", "mlp_probe")["pr_auc"]
    assert (position["seeds"], mlp["seeds"]) == (1, 2)
    for metric, row in rows(result.found, "cv", "cv", "position_baseline").items():
        expected = whole["cv"]["position_baseline"][metric]
        assert row["mean"] == pytest.approx(expected["mean"])
        assert row["interval"] == expected["interval"]
    sentences = [each["sentence"] for each in result.found["comparisons"] if each["run"] == "cv"]
    assert sentences == [each["sentence"] for each in whole["comparisons"]]

    written = readme.read_bytes()
    text = (tmp_path / "O" / "aggregate.md").read_text()
    block = text.rstrip("\n").replace("\n", "\r\n")
    assert written.decode() == f"{before}{START}\r\n{block}\r\n{END}{after}"
    assert readme.stat().st_mode & 0o777 == 0o664
    assert result.changed
    again = aggregate(config)
    assert (again.done, again.changed) == (True, False)
    assert readme.read_bytes() == written
    shutil.rmtree(tmp_path / "O")
    aggregate(config)
    assert readme.read_bytes() == written


def test_markers_are_needed_before_anything_is_done(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    run = tmp_path / "runs"
    write_json(run / "metrics_seed_0.json", {"test": {"p": {"pr_auc": 0.5}}})
    config = AggregateConfig(runs=(run,), output_dir=tmp_path / "O", readme=readme)
    for content, said in (
        ("nothing", f"{START} is not in it"),
        (f"{START}\n{START}\n{END}", "2 times"),
        (f"{END}\n{START}", "stands before"),
        (START, f"{END} is not in it"),
    ):
        readme.write_text(content)
        with pytest.raises(BadInput, match=said):
            aggregate(config)
        assert readme.read_text() == content
    readme.unlink()
    with pytest.raises(BadInput, match=r"README.md: cannot be read"):
        aggregate(config)
    assert not (tmp_path / "O").exists()


def test_a_link_stays_a_link_and_other_markers_serve(tmp_path: Path) -> None:
    real, link = tmp_path / "real.md", tmp_path / "link.md"
    real.write_text("a\n<!--x-->\n<!--y-->\nb\n")
    link.symlink_to(real)
    assert replace_block(link, "<!--x-->", "<!--y-->", "new\n")
    assert link.is_symlink()
    assert real.read_text() == "a\n<!--x-->\nnew\n<!--y-->\nb\n"
    assert not replace_block(link, "<!--x-->", "<!--y-->", "new")


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write_json(tmp_path / "other" / "metrics.json", {"accuracy": 1})
    write_json(tmp_path / "list" / "metrics.json", [1])
    write_json(tmp_path / "bare" / "metrics_seed_0.json", {"val": {}})
    for name, said in (
        ("none", "no such file or folder"),
        ("empty", r"neither metrics.json nor metrics_seed_<n>.json"),
        ("other", "not metrics of"),
        ("list", "an object was expected"),
        ("bare", "no metrics of a test split"),
    ):
        with pytest.raises(BadInput, match=said):
            aggregate(AggregateConfig(runs=(tmp_path / name,), output_dir=tmp_path / "O"))
    values = {"test": {"p": {"pr_auc": 0.5}}}
    write_json(tmp_path / "a" / "metrics_seed_0.json", values)
    write_json(tmp_path / "b" / "metrics_seed_0.json", {"test": {"p": {"pr_auc": 0.6}}})
    with pytest.raises(BadInput, match="other numbers than an earlier run"):
        aggregate(AggregateConfig(runs=(tmp_path / "a", tmp_path / "b"), output_dir=tmp_path / "O"))
    assert not (tmp_path / "O").exists()


def test_names_and_probes_are_no_markup(tmp_path: Path) -> None:
    run = tmp_path / "a|b<i>"
    write_json(run / "metrics_seed_0.json", {"test": {"<script>|": {"pr_auc": 0.5}}})
    aggregate(AggregateConfig(runs=(run,), output_dir=tmp_path / "O"))
    text = (tmp_path / "O" / "aggregate.md").read_text()
    assert "<script>" not in text
    assert "a\\|b&lt;i&gt;" in text
    assert "<script>|" not in (tmp_path / "O" / "report.html").read_text()


def test_seeds_under_other_sizes_of_probes_are_another_setting(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    study = make_study(8, 20)
    for seed, width in ((0, 8), (1, 16)):
        train(
            TrainConfig(
                metadata=study.metadata,
                splits=study.splits,
                features=study.features,
                probes=("mlp_probe",),
                seeds=(seed,),
                settings=ProbeSettings(mlp_hidden_dim=width),
                output_dir=tmp_path / f"width-{width}",
                **FAST,
            )
        )
    found = collect([tmp_path / "width-8", tmp_path / "width-16"])
    assert [list(run.values["test"]["mlp_probe"]) for run in found] == [[0], [1]]
