"""Readers of finished runs against the instruments' own numbers, and summaries and gate on them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from made_sweeps import entry

from whence.anchors.evaluate.cv import CvConfig, cv
from whence.anchors.evaluate.train import TrainConfig, train
from whence.anchors.make import MakeConfig, make
from whence.errors import BadInput
from whence.runs.jsonfile import read_json, write_json
from whence.runs.tables import write_parquet
from whence.sweep.campaigns.checks_anchors import checks_anchors
from whence.sweep.campaigns.checks_heads import checks_heads
from whence.sweep.campaigns.measures_anchors import measured_anchors
from whence.sweep.campaigns.measures_data import measured_data
from whence.sweep.campaigns.measures_heads import measured_heads
from whence.sweep.campaigns.measures_table import measured_table
from whence.sweep.entries import write_manifest
from whence.sweep.gate import GateConfig, gate
from whence.sweep.settings import RankSettings
from whence.sweep.summarize import SummarizeConfig, summarize
from whence.sweep.tasks import Task, write_tasks

PRIMARY = RankSettings()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A planned sweep of two settings of probes, run by hand: one stage, whole."""
    home = tmp_path_factory.mktemp("sweep")
    make(MakeConfig(count=12, output_dir=home / "traces"))
    entries = [entry("a", {"penalty": 1}, run="a"), entry("b", {"penalty": 2}, run="b")]
    tasks = []
    for each in entries:
        config = CvConfig(
            metadata=home / "traces" / "sentence_metadata.parquet",
            probes=("position_untrained", "position_baseline"),
            folds="3",
            fixed=True,
            seeds=(0, 1),
            anchor_percentile=70,
            shared=home / "shared",
            draws=200,
            shuffles=5,
            page=False,
            output_dir=home / each.output,
        )
        cv(config)
        tasks.append(Task(each.run, each.run, "cv", "", "", {}, each.output))
    plan = home / "plan" / "one"
    write_manifest(plan / "manifest.jsonl", entries)
    write_tasks(plan / "tasks.jsonl", tasks)
    rank = RankSettings(series=("position_baseline",), baselines=("position_untrained",))
    facts = {"name": "made", "command": "anchors run", "stage": "one", "number": 1, "per": []}
    counts = {
        "configurations": 2,
        "tasks": 2,
        "rank": rank.model_dump(),
        "differ": {},
        "shared": None,
    }
    write_json(plan / "plan.json", facts | counts)
    return home


def test_cv_per_problem_and_seed(home: Path) -> None:
    found = measured_anchors(home / "runs" / "a", PRIMARY)
    metrics = read_json(home / "runs" / "a" / "metrics.json")
    assert set(found["metric"]) == {"pr_auc"}
    assert set(found["question"]) == {"anchor_binary, percentile 70"}
    for probe, by_seed in metrics["per_seed"].items():
        own = found[found["series"] == probe]
        seeds = [-1] if len(by_seed) == 1 else [int(seed) for seed in by_seed]
        assert sorted(set(own["seed"])) == seeds
        for seed, values in zip(seeds, by_seed.values(), strict=True):
            mean = own[own["seed"] == seed]["value"].mean()
            assert mean == pytest.approx(values["pr_auc"]), (probe, seed)
    baseline = dict(zip(found["series"], found["baseline"], strict=True))
    assert baseline == {name: facts["baseline"] for name, facts in metrics["probes"].items()}
    ranked = measured_anchors(home / "runs" / "a", RankSettings(metric="spearman"))
    assert set(ranked["question"]) == {"anchor_binary"}
    with pytest.raises(BadInput, match="did you mean pr_auc"):
        measured_anchors(home / "runs" / "a", RankSettings(metric="pr_au"))
    with pytest.raises(BadInput, match=r"no metrics.json in it"):
        measured_anchors(home, PRIMARY)


def test_train_has_parts(home: Path, tmp_path: Path) -> None:
    traces = home / "traces"
    config = TrainConfig(
        metadata=traces / "sentence_metadata.parquet",
        splits=traces / "splits.json",
        probes=("position_untrained", "position_baseline"),
        target="importance_abs",
        tripwires=False,
        page=False,
        output_dir=tmp_path / "train",
    )
    metrics = train(config).metrics
    found = measured_anchors(tmp_path / "train", PRIMARY)
    means = found.groupby(["part", "series"])["value"].mean()
    for part in ("val", "test"):
        for probe, values in metrics[part].items():
            assert means[part, probe] == pytest.approx(values["spearman_mean"])
    assert set(found["metric"]) == {"spearman"}
    off = {check.name: check for check in checks_anchors(tmp_path / "train")}
    assert not off["shuffled labels at chance"].passed
    assert "--no-tripwires" in off["shuffled labels at chance"].sentence
    assert off["no trace left out of the features"].passed


def test_summary_and_gate(home: Path, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    shutil.copytree(home, sweep)
    assert failed(sweep) == ["one: summarised from the present results", MEASURED]
    result = summarize(SummarizeConfig(sweep=sweep, draws=200))
    assert result.facts["groups"][0]["winner"]["series"] == "position_baseline"
    assert result.finding().headline.startswith("one: position_baseline")
    assert summarize(SummarizeConfig(sweep=sweep, draws=200)).done
    listed = read_json(sweep / "summary" / "one" / "shortlist.json")["settings"]
    # Both settings give the very same numbers: one entry, which says for which it stands.
    assert [each["factors"]["penalty"] for each in listed] == [1]
    assert listed[0]["any_of"] == {"penalty": [1, 2]}
    assert listed[0]["stands_for"] == 2
    assert failed(sweep) == []
    page = (sweep / "gate" / "gate.html").read_text()
    assert ">OK<" in page
    readme = tmp_path / "README.md"
    readme.write_text("# x\n")
    with pytest.raises(BadInput, match="SWEEP_RESULTS_START"):
        summarize(SummarizeConfig(sweep=sweep, draws=200, readme=readme))
    readme.write_text("a\n<!-- SWEEP_RESULTS_START -->\n<!-- SWEEP_RESULTS_END -->\nz\n")
    assert failed(sweep, readme) == ["README in step with the results"]
    assert summarize(SummarizeConfig(sweep=sweep, draws=200, readme=readme)).changed
    assert failed(sweep, readme) == []
    assert readme.read_text().startswith("a\n")
    assert readme.read_text().endswith("\nz\n")


MEASURED = "one: every ranked metric is there and finite"


def failed(sweep: Path, readme: Path | None = None) -> list[str]:
    result = gate(GateConfig(sweep=sweep, readme=readme))
    assert result.finding().failed == bool(result.facts["failed"])
    return list(result.facts["failed"])


def test_gate_names_what_is_wrong(home: Path, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    shutil.copytree(home, sweep)
    summarize(SummarizeConfig(sweep=sweep, draws=200))
    # A failed tripwire, though hand-made: the edit is found too.
    path = sweep / "runs" / "b" / "metrics.json"
    metrics = read_json(path)
    metrics["tripwires"]["memorisation"] |= {"passed": False, "sentence": "it is not memorised"}
    path.write_text(json.dumps(metrics))
    found = gate(GateConfig(sweep=sweep)).facts
    assert found["failed"] == [
        "one: results are as their runs left them",
        "one: one problem memorised",
    ]
    by_name = {each["name"]: each for each in found["criteria"]}
    assert by_name["one: one problem memorised"]["offenders"] == ["run b: it is not memorised"]
    assert by_name["one: shuffled labels at chance"]["sentence"] == "2/2 passed"
    # A run that is gone.
    shutil.rmtree(sweep / "runs" / "b")
    found = gate(GateConfig(sweep=sweep)).facts
    assert "one: every task finished" in found["failed"]
    assert "one: summarised from the present results" in found["failed"]
    with pytest.raises(BadInput, match=r"1 of 2 runs are not finished \(b\)"):
        summarize(SummarizeConfig(sweep=sweep, stage="one", draws=200, overwrite=True))
    partial = SummarizeConfig(sweep=sweep, stage="one", draws=200, overwrite=True, partial=True)
    assert "partial, 1 of 2 runs" in summarize(partial).finding().headline
    assert "one: summarised from the present results" in failed(sweep)
    with pytest.raises(BadInput, match="no stage is finished"):
        summarize(SummarizeConfig(sweep=sweep))
    with pytest.raises(BadInput, match="--stage two"):
        summarize(SummarizeConfig(sweep=sweep, stage="two"))


def test_gate_names_what_cannot_be_read_or_was_asked_otherwise(home: Path, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    shutil.copytree(home, sweep)
    summarize(SummarizeConfig(sweep=sweep, draws=200))
    assert failed(sweep) == []
    summarised = "one: summarised from the present results"

    def broken(file: str, text: str) -> list[str]:
        path = sweep / file
        before = path.read_text()
        path.write_text(text)
        try:
            return failed(sweep)
        finally:
            path.write_text(before)

    plan = json.loads((sweep / "plan" / "one" / "plan.json").read_text())
    other = plan | {"rank": plan["rank"] | {"metric": "spearman"}}
    assert broken("plan/one/plan.json", json.dumps(other)) == [summarised]
    assert broken("summary/one/summary.json", "{") == [summarised]
    assert broken("summary/one/whence.json", "{") == [summarised]
    assert broken("summary/one/results.jsonl", "") == [summarised]
    assert broken("runs/b/whence.json", "{") == ["one: every task finished", summarised]
    assert broken("plan/one/manifest.jsonl", "{") == ["one: can be read"]
    assert broken("plan/one/tasks.jsonl", "{}") == ["one: can be read"]
    assert broken("plan/one/tasks.jsonl", "") == ["one: every task finished"]
    unknown = json.dumps(plan | {"command": 5})
    assert broken("plan/one/plan.json", unknown) == ["one: can be read"]
    assert "one: can be read" in broken("plan/one/plan.json", '{"number": 1, "stage": "one"}')
    assert broken("summary/one/summary.json", "[]") == [summarised]
    with pytest.raises(BadInput, match=r"plan\.json: not a plan"):
        broken("plan/one/plan.json", "[]")
    assert failed(sweep) == []
    # A series that only the confirming part has was ranked by nothing.
    path = sweep / "summary" / "one" / "measured.parquet"
    measured = pd.read_parquet(path)
    measured["part"] = np.where(np.arange(len(measured)) % 2, "val", "test")
    lost = (measured["series"] == "position_baseline") & (measured["part"] == "val")
    measured[~(lost & (measured["run"] == "a"))].to_parquet(path)
    facts = gate(GateConfig(sweep=sweep)).facts
    (found,) = [each for each in facts["criteria"] if each["name"] == MEASURED]
    assert found["offenders"] == ["run a: position_baseline has no pr_auc on val"]
    readme = tmp_path / "README.md"
    readme.write_text("no markers\n")
    with pytest.raises(BadInput, match="SWEEP_RESULTS_START"):
        gate(GateConfig(sweep=sweep, readme=readme))


def _per_example(folder: Path, **changes: object) -> Path:
    """Two heads and a sham on three prompts, the first of them with two examples."""
    rows = [
        {"kind": kind, "label": label, "scale": 0.0, "seed": 0, "prompt": prompt}
        | {"target_id": 1, "clean_logit_diff": 2.0, "logit_diff": 2.0 - drop * (prompt + 1)}
        | {"clean_p_target": 0.9, "p_target": 0.8, "kl_div": drop, "predicted": 1}
        | {"clean_predicted": 1}
        for kind, label, drop in (("head", "0:0", 0.5), ("head", "1:1", 0.1), ("sham", "s", 0.0))
        for prompt in (0, 0, 1, 2)
    ]
    frame = pd.DataFrame(rows).assign(**changes)
    write_parquet(
        pa.Table.from_pandas(frame, preserve_index=False),
        folder / "metrics" / "per_example.parquet",
    )
    vary = "nothing: the battery is deterministic and ran once"
    write_json(folder / "metrics" / "summary.json", {"seeds": {"vary": vary}})
    return folder


def test_heads_per_prompt(tmp_path: Path) -> None:
    found = measured_heads(_per_example(tmp_path), PRIMARY)
    own = found[found["series"] == "0:0"]
    assert own["value"].tolist() == pytest.approx([-0.5, -1.0, -1.5])
    assert own["unit"].tolist() == ["0", "1", "2"]
    assert not found["higher_is_better"].any()
    assert set(found["seed"]) == {-1}
    assert set(found[found["baseline"]]["series"]) == {"sham s"}
    assert measured_heads(tmp_path, RankSettings(metric="kl_div"))["higher_is_better"].all()
    with pytest.raises(BadInput, match="did you mean kl_div"):
        measured_heads(tmp_path, RankSettings(metric="kl_dv"))
    assert all(check.passed for check in checks_heads(tmp_path))
    bad = checks_heads(_per_example(tmp_path / "bad", kl_div=np.nan))
    assert [check.passed for check in bad] == [False]


def test_a_sham_and_a_window_of_each_head_are_series_of_their_own(tmp_path: Path) -> None:
    """As `heads patch` names them: a sham as its patch, and a window of layers as of every head."""
    asked = (
        ("patch", "0:1", "0:1", 0.5),
        ("sham", "0:1", "0:1", 0.0),
        ("patch", "0-1", "0:0+1:0", 0.4),
        ("patch", "0-1", "0:1+1:1", 0.2),
    )
    rows = [
        {"kind": kind, "label": label, "heads": heads, "scale": None, "seed": 0, "prompt": prompt}
        | {"clean_logit_diff": 2.0, "logit_diff": 2.0 - drop}
        for kind, label, heads, drop in asked
        for prompt in (0, 1)
    ]
    table = pa.Table.from_pandas(pd.DataFrame(rows), preserve_index=False)
    write_parquet(table, tmp_path / "metrics" / "per_example.parquet")
    write_json(tmp_path / "metrics" / "summary.json", {"seeds": {"vary": "nothing: it ran once"}})
    found = measured_heads(tmp_path, PRIMARY)
    assert found.groupby("series", sort=False)["value"].agg(["size", "mean"]).to_dict("index") == {
        "0:1": {"size": 2, "mean": pytest.approx(-0.5)},
        "sham 0:1": {"size": 2, "mean": pytest.approx(0.0)},
        "0-1 (0:0+1:0)": {"size": 2, "mean": pytest.approx(-0.4)},
        "0-1 (0:1+1:1)": {"size": 2, "mean": pytest.approx(-0.2)},
    }
    assert set(found[found["baseline"]]["series"]) == {"sham 0:1"}


def test_data_per_item(tmp_path: Path) -> None:
    rows = [
        {"arm": arm, "seed": seed, "row_id": f"r{item}", "correct": float(item % 2), "loss": item}
        for arm, seeds in (("base", [None]), ("top", [0, 1]), ("mr", [0, 1]))
        for seed in seeds
        for item in range(4)
    ]
    table = pa.Table.from_pandas(pd.DataFrame(rows), preserve_index=False)
    write_parquet(table, tmp_path / "items.parquet")
    arms = ["top=top:2", "mr=matched_random:of=top"]
    write_json(tmp_path / "config.json", {"arms": arms, "eval_split": "eval", "manifest": "gone"})
    found = measured_data(tmp_path, PRIMARY)
    assert set(found["metric"]) == {"correct"}
    assert found["higher_is_better"].all()
    assert sorted(set(found[found["baseline"]]["series"])) == ["base", "mr"]
    assert set(found[found["series"] == "base"]["seed"]) == {-1}
    assert len(found[found["series"] == "top"]) == 8
    assert not measured_data(tmp_path, RankSettings(metric="loss"))["higher_is_better"].any()


def test_any_table_and_any_file(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"who": ["a", "a", "b", "b"], "item": [1, 2, 1, 2], "x": [0.1, 0.2, 0.3, None], "k": "y"}
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    rank = RankSettings(
        table="t.csv", value="x", unit="item", by="who", where={"k": "y"}, higher_is_better=True
    )
    found = measured_table(tmp_path, rank)
    assert found[["series", "unit", "value"]].values.tolist() == [
        ["a", "1", 0.1],
        ["a", "2", 0.2],
        ["b", "1", 0.3],
    ]
    for changes, said in (
        ({"by": "whom"}, "no column whom"),
        ({"where": {"k": "z"}}, "has no rows where"),
        ({"table": "u.csv"}, "no such file"),
        ({"value": "k"}, "not numbers"),
    ):
        with pytest.raises(BadInput, match=said):
            measured_table(tmp_path, rank.model_copy(update=changes))
    (tmp_path / "f.json").write_text('{"a": {"b": 0.5, "c": "no"}}')
    file = RankSettings(file="f.json", value="a.b", higher_is_better=False)
    assert measured_table(tmp_path, file)["value"].tolist() == [0.5]
    for value, said in (("a.x", r"no a\.x"), ("a.c", "a number was expected")):
        with pytest.raises(BadInput, match=said):
            measured_table(tmp_path, file.model_copy(update={"value": value}))
    with pytest.raises(BadInput, match="name table or file"):
        measured_table(tmp_path, PRIMARY)
