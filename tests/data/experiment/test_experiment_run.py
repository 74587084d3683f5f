"""One small experiment, checked number by number."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from whence.__main__ import main
from whence.data.experiment import ExperimentConfig, ExperimentResult, experiment
from whence.runs.jsonfile import read_json, read_jsonl, write_jsonl

COMPARISON = {
    "arm", "control", "metric", "effect", "interval", "p", "q", "seeds", "items",
    "minimum_detectable_effect", "seeds_needed", "sentence",
}  # fmt: skip
CELLS = [
    ("base", None),
    *((arm, seed) for seed in (0, 1) for arm in ("top_12", "matched_random_of_top", "oracle")),
]


def rows_of(path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.ParquetFile(path).read().to_pylist()
    return rows


def place(folder: Path, arm: str, seed: int | None) -> Path:
    return folder / "arms" / arm / ("once" if seed is None else f"seed-{seed}")


@pytest.fixture(scope="module")
def verdict(study: Any) -> dict[str, Any]:
    found: dict[str, Any] = read_json(study.folder / "verdict.json")
    return found


@pytest.fixture(scope="module")
def items(study: Any) -> list[dict[str, Any]]:
    return rows_of(study.folder / "items.parquet")


@pytest.fixture(scope="module")
def kinds(study: Any) -> dict[str, str]:
    return {row["row_id"]: row["kind"] for row in rows_of(study.home / "data/withheld.parquet")}


@pytest.fixture(scope="module")
def config(study: Any) -> ExperimentConfig:
    """What the study was run with, as its folder says."""
    return ExperimentConfig.model_validate(read_json(study.folder / "config.json"))


def test_the_file_and_the_flags_made_the_settings(study: Any, config: ExperimentConfig) -> None:
    assert config.seeds == (0, 1)
    assert config.optim.learning_rate == 8e-3
    assert config.lora.lora_alpha == 128
    # Relative names start from where the command was given, in the file as on the command line.
    assert config.build is not None
    assert config.build.run_dir == study.home / "data"
    assert config.score.max_length == config.max_length == 128


def test_the_verdict_has_the_fixed_keys(verdict: dict[str, Any]) -> None:
    assert list(verdict) == ["comparisons", "arms", "planted"]
    assert all(set(comparison) == COMPARISON for comparison in verdict["comparisons"])
    pairs = [(c["arm"], c["control"]) for c in verdict["comparisons"][::2]]
    assert pairs == [
        ("top_12", "matched_random_of_top"),
        ("oracle", "matched_random_of_top"),
        *((arm, "base") for arm in ("top_12", "matched_random_of_top", "oracle")),
    ]
    assert [c["metric"] for c in verdict["comparisons"]] == ["correct", "loss"] * 5


def test_items_have_the_fixed_columns_and_the_base_is_judged_once(
    study: Any, items: list[dict[str, Any]]
) -> None:
    assert list(items[0]) == ["arm", "seed", "row_id", "correct", "loss"]
    counted: dict[Any, list[str]] = defaultdict(list)
    for item in items:
        counted[item["arm"], item["seed"]].append(item["row_id"])
    eval_ids = [row["row_id"] for row in rows_of(study.home / "data/data/eval.parquet")]
    assert counted == dict.fromkeys(CELLS, eval_ids)
    assert {type(item["correct"]) for item in items} == {bool}


def test_means_and_effects_are_those_of_a_pencil(
    verdict: dict[str, Any], items: list[dict[str, Any]]
) -> None:
    for arm, means in verdict["arms"].items():
        own = [item for item in items if item["arm"] == arm]
        for metric, mean in means.items():
            assert mean == pytest.approx(sum(item[metric] for item in own) / len(own))
    value = {(i["arm"], i["seed"], i["row_id"]): i for i in items}
    row_ids = {item["row_id"] for item in items}
    for c in verdict["comparisons"]:
        alone = None if c["control"] == "base" else "same"
        differences = [
            value[c["arm"], seed, row_id][c["metric"]]
            - value[c["control"], seed if alone else None, row_id][c["metric"]]
            for seed in (0, 1)
            for row_id in row_ids
        ]
        assert c["effect"] == pytest.approx(sum(differences) / len(differences))
        assert c["items"] == 16
    # Something was learned, or nothing above would have been put to the test.
    assert verdict["arms"]["oracle"]["loss"] < verdict["arms"]["base"]["loss"] / 2
    assert verdict["arms"]["oracle"]["correct"] > 0


def test_every_arm_trained_on_its_own_rows_of_the_ranking(
    study: Any, config: ExperimentConfig, kinds: dict[str, str]
) -> None:
    from whence.models.alignment import align_rows
    from whence.models.load import load_tokenizer

    ranking = sorted(rows_of(study.folder / "scores.parquet"), key=lambda row: -row["score"])
    top = [row["row_id"] for row in ranking[:12]]
    pool = {row["row_id"]: row for row in rows_of(study.home / "data/data/train_base.parquet")}
    tokenizer = load_tokenizer("tiny")
    drawn = {}
    for arm, seed in CELLS[1:]:
        cell = read_json(place(study.folder, arm, seed) / "cell.json")
        drawn[arm, seed] = cell["row_ids"]
        aligned = align_rows([pool[row_id] for row_id in cell["row_ids"]], tokenizer, 128)
        assert study.seen.trained[f"{arm}, seed {seed}"] == [row.input_ids for row in aligned]
        assert cell["training"]["rows_trained"] == cell["rows"] == 12
        assert cell["training"]["steps"] == 12
    for seed in (0, 1):
        assert drawn["top_12", seed] == top
        assert not set(drawn["matched_random_of_top", seed]) & set(top)
        assert {kinds[row_id] for row_id in drawn["oracle", seed]} == {"useful"}
    assert drawn["matched_random_of_top", 0] != drawn["matched_random_of_top", 1]
    budget = read_json(place(study.folder, *CELLS[2]) / "cell.json")["match"]["budget"]
    assert budget["chosen"] == sum(row["length_tokens"] for row in ranking[:12])


def test_planted_truth_is_summed_up_as_by_hand(
    study: Any, verdict: dict[str, Any], kinds: dict[str, str]
) -> None:
    planted = verdict["planted"]
    ranking = sorted(rows_of(study.folder / "scores.parquet"), key=lambda row: row["rank"])
    assert planted["k"] == 12
    found = [kinds[row["row_id"]] == "useful" for row in ranking[:12]]
    assert planted["precision_at_k"]["attribution"] == pytest.approx(sum(found) / 12)
    assert planted["precision_at_k"]["chance"] == 12 / 60
    assert planted["useful_share"]["oracle"] == 1
    for arm in ("top_12", "matched_random_of_top", "oracle"):
        rows = [
            row_id
            for seed in (0, 1)
            for row_id in read_json(place(study.folder, arm, seed) / "cell.json")["row_ids"]
        ]
        for kind, share in planted["composition"][arm].items():
            assert share == pytest.approx(sum(kinds[row_id] == kind for row_id in rows) / 24)


def test_no_method_sees_the_planted_kind(study: Any, tmp_path: Path) -> None:
    splits = list((study.home / "data/data").glob("*.parquet"))
    assert len(splits) == 3
    assert not any("kind" in rows_of(split)[0] for split in splits)
    assert len(study.seen.scored_columns) == 2
    assert not any("kind" in columns for columns in study.seen.scored_columns)
    # Kinds dealt out anew among the games: the very same splits, hence the very same scores.
    games = read_jsonl(study.home / "games/pool.jsonl")
    dealt = [row["kind"] for row in games]
    dealt = dealt[7:] + dealt[:7]
    assert dealt != [row["kind"] for row in games]
    write_jsonl(
        tmp_path / "pool.jsonl",
        [{**row, "kind": kind} for row, kind in zip(games, dealt, strict=True)],
    )
    words = "--train-size 60 --query-size 12 --eval-size 16 --withhold kind".split()
    files = ["--train-file", tmp_path / "pool.jsonl"]
    files += ["--test-file", study.home / "games/test.jsonl", "--run-dir", tmp_path / "data"]
    assert main(["data", "build", *map(str, files), *words]) == 0
    for split in splits:
        assert (tmp_path / "data/data" / split.name).read_bytes() == split.read_bytes()


def test_scores_are_those_of_the_command(study: Any, tmp_path: Path) -> None:
    words = ["--adapter-path", study.folder / "scoring_adapter", "--output-dir", tmp_path / "s"]
    words += ["--manifest", study.home / "data", "--max-length", 128, "--subset-k", 12]
    assert main(["data", "score", *map(str, words), "--device", "cpu"]) == 0
    alone, inside = (rows_of(f / "scores.parquet") for f in (tmp_path / "s", study.folder))
    assert [row["score"] for row in alone] == [row["score"] for row in inside]


def test_the_base_is_the_same_before_and_after_every_cell(study: Any, shipped_weights: str) -> None:
    assert study.seen.base_weights == {shipped_weights}


def test_a_cell_alone_gives_what_it_gave_among_the_others(
    study: Any, config: ExperimentConfig, tmp_path: Path
) -> None:
    """The last cell of the experiment, as the first and only one around a fresh base."""
    from whence.data.arms import parse_arms
    from whence.data.experiment.cells import Cell, Exam, run_cell
    from whence.data.experiment.plan import make_plan
    from whence.models.alignment import align_rows
    from whence.runs.manifest import load_manifest
    from whence.runs.store import Run

    arm, seed = CELLS[-1]
    there = place(study.folder, arm, seed)
    plan = make_plan(config, parse_arms(config.arms), load_manifest(study.home / "data"))
    base, rows = config.load(), plan.evaluation
    exam = Exam(
        rows["row_id"].tolist(),
        align_rows(rows, base.tokenizer, config.max_length),
        rows["prompt"].tolist(),
        plan.targets,
    )
    cell = Cell(arm, seed, read_json(there / "cell.json")["row_ids"])
    alone = Run(tmp_path, done=False, resumed=False)
    run_cell(cell, config, base, plan.pool.set_index("row_id"), exam, None, alone)
    here = place(tmp_path, arm, seed)
    for name in ("items.parquet", "adapter/adapter_model.safetensors"):
        assert (here / name).read_bytes() == (there / name).read_bytes(), name


def test_what_is_said_at_the_end(study: Any, verdict: dict[str, Any]) -> None:
    lines = study.printed.splitlines()
    assert lines[0] == verdict["comparisons"][0]["sentence"]
    table = {line.split()[0]: line.split() for line in lines[2:7]}
    assert list(table) == ["arm", "base", "top_12", "matched_random_of_top", "oracle"]
    assert table["oracle"][1] == f"{verdict['arms']['oracle']['correct']:.3f}"
    assert table["oracle"][-1] == "100%"
    for what, name in (("verdict", "verdict.json"), ("report", "report.html")):
        assert f"{what} " in study.printed
        assert f"run/{name}" in study.printed


def test_the_report_shows_trivial_rankings_beside_attribution(
    study: Any, verdict: dict[str, Any]
) -> None:
    page = (study.folder / "report.html").read_text()
    table = page[page.index("Trivial rankings") :]
    table = table[: table.index("</table>")]
    for name, share in verdict["planted"]["precision_at_k"].items():
        assert name.replace("_", " ") in table
        assert f"{share:.3f}" in table
    assert "Does attribution find the games" in page
    assert "Training-data experiment on tiny" in page


@pytest.fixture(scope="module")
def one_seed(study: Any, config: ExperimentConfig) -> ExperimentResult:
    """The same under one seed, over given scores that have neither lengths nor losses."""
    ranking = rows_of(study.folder / "scores.parquet")
    write_jsonl(
        study.home / "scores.jsonl",
        [{"row_id": row["row_id"], "score": row["score"]} for row in ranking],
    )
    quick = {"num_train_epochs": 1.0, "per_device_train_batch_size": 12}
    changed = {
        "output_dir": study.home / "one-seed",
        "scores": study.home / "scores.jsonl",
        "seeds": (3,),
        "judges": ("loss",),
        "planted": None,
        "optim": config.optim.model_copy(update=quick),
    }
    return experiment(config.model_copy(update=changed))


def test_one_seed_is_no_finding(one_seed: ExperimentResult) -> None:
    first = one_seed.verdict["comparisons"][0]
    assert first["sentence"].startswith("one seed: not a finding")
    assert (first["metric"], first["seeds"], first["seeds_needed"]) == ("loss", 1, None)


def test_given_scores_are_used_and_no_adapter_is_trained_to_make_any(
    study: Any, one_seed: ExperimentResult
) -> None:
    folder = one_seed.folder
    assert not (folder / "scoring_adapter").exists()
    assert not (folder / "scores.parquet").exists()
    best = sorted(rows_of(study.folder / "scores.parquet"), key=lambda row: -row["score"])[:12]
    cell = read_json(place(folder, "top_12", 3) / "cell.json")
    assert cell["row_ids"] == [row["row_id"] for row in best]
    assert one_seed.verdict["planted"] is None
    assert {item["correct"] for item in rows_of(folder / "items.parquet")} == {None}


def test_a_replay_gives_the_same_files(
    one_seed: ExperimentResult, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(one_seed.folder)]) == 0
    said = capsys.readouterr().out
    for name in ("verdict.json", "items.parquet", "config.json", "report.html"):
        (line,) = (line for line in said.splitlines() if line.startswith(f"{name} "))
        assert line.split()[1] == "identical"


def test_a_record_from_before_there_were_rankings_is_the_same_run(
    study: Any, config: ExperimentConfig
) -> None:
    """Neither keys nor files that an experiment without other rankings did not have."""
    assert "rankings.parquet" not in {path.name for path in study.folder.iterdir()}
    assert list(read_json(study.folder / "verdict.json")) == ["comparisons", "arms", "planted"]
    assert "what each arm was drawn by" not in (study.folder / "report.html").read_text()
    file = study.folder / "whence.json"
    before = file.read_text()
    record = json.loads(before)
    for name in ("rankings", "embedding_model"):
        del record["config"][name]
    assert not [name for name in record["inputs"] if name.startswith("ranking")]
    try:
        file.write_text(json.dumps(record))
        assert experiment(config).done_before
    finally:
        file.write_text(before)
