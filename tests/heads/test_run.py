"""`whence heads run`: conditions, failures, repairs, and what is not done twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from lab import SUBSET, config, corpus, cross, put, single

from whence.errors import BadInput, WhenceError
from whence.heads import conditions as conditions_module
from whence.heads.run import RunConfig, run_plan
from whence.runs.record import read_record
from whence.runs.replay import ReplayConfig, replay

Folder = Callable[[str], Path]


@pytest.fixture
def model(zoo_folder: Folder) -> Path:
    return zoo_folder("gpt2")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    corpus(tmp_path, "facts", range(8))
    corpus(tmp_path, "negation", (0, 3, 4, 5, 6, 7))
    return tmp_path


def summary(folder: Path) -> Any:
    return json.loads((folder / "metrics" / "summary.json").read_text())


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tags whose prompts were prepared, in order, from now on."""
    ran: list[str] = []
    examples_of = conditions_module.examples_of

    def counting(subject: Any, condition: Any, source: Any, reading: Any) -> Any:
        ran.append(condition.tag)
        return examples_of(subject, condition, source, reading)

    monkeypatch.setattr(conditions_module, "examples_of", counting)
    return ran


def test_two_conditions(home: Path, model: Path) -> None:
    """Each fills a folder as its own run would; the stacked tables hold the same numbers."""
    result = run_plan(config(home, cross(model)))
    out = home / "out"
    assert not result.done_before
    told = summary(out)
    assert list(told["conditions"]) == ["facts", "neg"]
    assert told["failed"] == {}
    assert told["conditions"]["facts"]["n_prompts"] == 7
    assert told["conditions"]["neg"]["n_prompts"] == 5
    whole = pq.ParquetFile(out / "metrics/subset_impact.parquet").read().to_pylist()
    assert list(whole[0])[:2] == ["run_id", "condition"]
    for tag in ("facts", "neg"):
        own = pq.ParquetFile(out / f"conditions/{tag}/metrics/subset_impact.parquet").read()
        stacked = [{k: v for k, v in r.items() if k != "condition"} for r in whole
                   if r["condition"] == tag]  # fmt: skip
        assert stacked == own.to_pylist()
        assert {r["metric"] for r in stacked} == {"logit_diff", "delta_logit_diff", "kl_div"}
        assert {r["seed"] for r in stacked} == {0}  # deterministic: once, whatever the seeds
    assert (out / "artifacts/cross_condition/summary.json").is_file()
    assert not (out / "partial_summary.json").exists()
    finding = result.finding()
    assert [row[:2] for row in finding.rows] == [("facts", "7"), ("neg", "5")]
    effects = {r["condition"]: r for r in whole if r["metric"] == "delta_logit_diff"}
    for row in finding.rows:
        assert row[4] == "two"
        assert row[5] == f"{effects[row[0]]['delta']:+.4f}"
    assert not finding.failed


def test_one_load_of_the_model(home: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import whence.models.load as load

    loaded = []
    load_model = load.load_model

    def counting(*words: Any, **settings: Any) -> Any:
        loaded.append(settings)
        return load_model(*words, **settings)

    monkeypatch.setattr(load, "load_model", counting)
    run_plan(config(home, cross(model, verify_slice={"device": "cpu", "n_examples": 2})))
    assert [s["dtype"] for s in loaded] == ["float32", "float32"]  # the second one verifies


def test_a_single_run_fills_the_folder_itself(home: Path, model: Path) -> None:
    """And its numbers are those of a condition that asks for the same."""
    run_plan(config(home, single(model)))
    run_plan(config(home, cross(model), output_dir=home / "both"))
    one = pq.ParquetFile(home / "out/metrics/per_example.parquet").read()
    two = pq.ParquetFile(home / "both/conditions/facts/metrics/per_example.parquet").read()
    assert one.equals(two)
    assert summary(home / "out")["condition"] is None
    assert not (home / "out/conditions").exists()


def test_again_is_already_done_and_other_settings_are_refused(
    home: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_plan(config(home, cross(model)))
    ran = counted(monkeypatch)
    assert run_plan(config(home, cross(model), device="cpu", memory_gb=1.0)).done_before
    assert ran == []
    with pytest.raises(BadInput, match=r"out holds another run: .*batch_size"):
        run_plan(config(home, cross(model), batch_size=3))
    corpus(home, "facts", range(7))
    with pytest.raises(BadInput, match=r"input corpus facts: .* use --overwrite"):
        run_plan(config(home, cross(model)))
    run_plan(config(home, cross(model), overwrite=True))
    assert ran == ["facts", "neg"]
    assert summary(home / "out")["conditions"]["facts"]["n_prompts"] == 6


def test_a_failure_stops_no_other_condition(
    home: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The middle one has no corpus. What is finished is kept, and a rerun does only the rest."""
    plan = cross(model)
    plan["conditions"].insert(1, {"tag": "logic", "dataset": {"id": "negatoin"}})
    ran = counted(monkeypatch)
    with pytest.raises(WhenceError) as error:
        run_plan(config(home, plan))
    assert not isinstance(error.value, BadInput)
    told = str(error.value)
    assert told.startswith("1 of 3 conditions failed: logic: ")
    assert 'no corpus "negatoin"' in told
    assert "there are negation, facts" in told
    assert f"The others (facts, neg) are whole in {home}/out.partial/conditions" in told
    assert ran == ["facts", "neg"]
    partial = home / "out.partial"
    assert not (home / "out").exists()
    for name in ("metrics/summary.json", "partial_summary.json"):
        found = json.loads((partial / name).read_text())
        assert list(found["conditions"]) == ["facts", "neg"]
        assert 'no corpus "negatoin"' in found["failed"]["logic"]
    rows = pq.ParquetFile(partial / "metrics/subset_impact.parquet").read().to_pylist()
    assert {r["condition"] for r in rows} == {"facts", "neg"}

    with pytest.raises(WhenceError, match="1 of 3 conditions failed"):  # nothing was repaired
        run_plan(config(home, plan))
    assert ran == ["facts", "neg"]

    corpus(home, "negatoin", (1, 2, 3, 4, 5, 6))
    run_plan(config(home, plan))
    assert ran == ["facts", "neg", "logic"]
    found = summary(home / "out")
    assert list(found["conditions"]) == ["facts", "logic", "neg"]
    assert found["failed"] == {}
    assert not (home / "out/partial_summary.json").exists()
    assert not partial.exists()
    record = read_record(home / "out")
    assert record is not None
    assert record.inputs["corpus logic"]["path"] == str(home / "corpora/negatoin.jsonl")
    run_plan(config(home, plan, output_dir=home / "again"))
    rows = pq.ParquetFile(home / "out/metrics/subset_impact.parquet").read()
    assert rows.equals(pq.ParquetFile(home / "again/metrics/subset_impact.parquet").read())


def test_a_repaired_plan_goes_on(home: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistyped corpus, and a head that the model has not, are repaired in the file itself."""
    plan = cross(model)
    wrong = {"type": "heads_subset_zero", "groups": [{"heads": ["0:9"]}]}
    plan["conditions"] += [
        {"tag": "typo", "dataset": {"id": "fact"}},
        {"tag": "range", "battery": wrong},
    ]
    ran = counted(monkeypatch)
    with pytest.raises(WhenceError) as error:
        run_plan(config(home, plan))
    assert "2 of 4 conditions failed: typo: " in str(error.value)
    assert "range: head 0:9: head 9 is out of range" in str(error.value)
    plan["conditions"][2]["dataset"]["id"] = "facts"
    plan["conditions"][3]["battery"] = SUBSET
    ran.clear()
    run_plan(config(home, plan))
    assert ran == ["typo", "range"]


def test_what_a_finished_condition_rests_on_may_not_change(home: Path, model: Path) -> None:
    plan = cross(model)
    plan["conditions"].append({"tag": "typo", "dataset": {"id": "fact"}})
    with pytest.raises(WhenceError, match="1 of 3"):
        run_plan(config(home, plan))
    corpus(home, "facts", range(5))
    with pytest.raises(BadInput, match=r"out\.partial holds an unfinished run: input corpus facts"):
        run_plan(config(home, plan))


def test_a_condition_that_breaks_is_named_by_its_file(home: Path, model: Path) -> None:
    (home / "corpora/negation.jsonl").write_text('{"clean": "a", "target": " b"}\n')
    with pytest.raises(WhenceError, match=r'neg: .*negation.jsonl line 1: no key "foil"'):
        run_plan(config(home, cross(model)))


def test_no_corpus_at_all(home: Path, model: Path) -> None:
    """Then there is nothing to go on with: refused before the model is looked for."""
    plan = cross(Path("/nowhere"))
    for condition in plan["conditions"]:
        condition["dataset"] = {"id": "facts_balanced"}
    with pytest.raises(BadInput, match=r'no corpus "facts_balanced".* there are facts, negation'):
        run_plan(config(home, plan))
    with pytest.raises(BadInput, match=r"elsewhere: no such folder"):
        run_plan(config(home, plan, corpora=home / "elsewhere"))
    assert not (home / "out.partial").exists()


def test_where_corpora_are_looked_for(home: Path, model: Path, tmp_path: Path) -> None:
    run_plan(config(home, single(model), corpora=home / "corpora"))
    lonely = put(tmp_path / "far" / "away" / "run.json", single(model))
    with pytest.raises(BadInput, match="--corpora is required"):
        run_plan(RunConfig(plan=lonely, output_dir=tmp_path / "x"))


def test_a_device_that_is_not_here(home: Path, model: Path) -> None:
    with pytest.raises(BadInput, match=r'run.json: device "cuda:99" is not here.* give --device'):
        run_plan(config(home, cross(model, device="cuda:99")))
    run_plan(config(home, cross(model, device="cuda:99"), device="cpu"))


def test_flags_reach_the_run(home: Path, model: Path) -> None:
    run_plan(
        config(
            home,
            {**cross(Path("/nowhere")), "battery": {"type": "heads_zero", "layers": [1]}},
            model=str(model),
            split="all",
            positions="last_token",
            metrics=("p_drop",),
            dtype="bfloat16",
        )
    )
    found = summary(home / "out")["conditions"]["facts"]
    assert found["n_prompts"] == 8
    assert found["battery"]["positions"] == "last_token"
    assert found["model"]["dtype"] == "bfloat16"
    assert found["metrics"] == ["delta_logit_diff", "p_drop"]


def test_seeds_vary_subsamples_and_nothing_else(home: Path, model: Path) -> None:
    run_plan(config(home, single(model, subsample=5)))
    rows = pq.ParquetFile(home / "out/metrics/per_example.parquet").read().to_pylist()
    drawn = {s: {r["prompt"] for r in rows if r["seed"] == s} for s in (0, 1, 2)}
    assert all(len(prompts) == 5 for prompts in drawn.values())
    assert len({frozenset(prompts) for prompts in drawn.values()}) > 1
    assert summary(home / "out")["seeds"]["used"] == [0, 1, 2]


def test_a_run_can_be_replayed(home: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from whence.commands import COMMANDS, Command

    if "heads run" not in COMMANDS:  # until it is in the tree
        command = Command("whence.heads.run:RunConfig", "whence.heads.run:run_plan", "", "", "plan")
        monkeypatch.setitem(COMMANDS, "heads run", command)
    plan = cross(model, verify_slice={"device": "cpu", "n_examples": 2})
    run_plan(config(home, plan))
    result = replay(ReplayConfig(folder=home / "out"))
    assert result.same, [f for f in result.files if not f.same]
    names = {file.name for file in result.files}
    assert {"profile.json", "metrics/verify.json", "conditions/neg/metrics/summary.json"} <= names
