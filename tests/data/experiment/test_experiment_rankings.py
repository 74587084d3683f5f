"""An experiment whose arms are drawn by several rankings of one pool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from whence.__main__ import main
from whence.data.experiment import ExperimentConfig, ExperimentResult, experiment
from whence.data.rankings import mean_similarity
from whence.errors import BadInput
from whence.runs.jsonfile import read_json
from whence.runs.manifest import write_split
from whence.text.bm25 import bm25_scores

K = 8


@pytest.fixture(scope="module")
def home(games: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`data/` and, of its pool, the scores of a predictor and of attribution."""
    home = tmp_path_factory.mktemp("rankings")
    files = ["--train-file", games / "games/pool.jsonl", "--test-file", games / "games/test.jsonl"]
    words = "--train-size 60 --query-size 12 --eval-size 6 --withhold kind".split()
    assert main(["data", "build", *map(str, files), *words, "--run-dir", f"{home}/data"]) == 0
    pool = pool_of(home)
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"row_id": pool["row_id"], "score": rng.permutation(60) / 7})
    write_split(
        table.assign(part=np.where(np.arange(60) % 2, "train", "test")),
        home / "predicted/scores.parquet",
    )
    (home / "predicted/row_scores.jsonl").write_text("{}\n")
    write_split(table.assign(score=rng.permutation(60)), home / "scored/scores.parquet")
    return home


def config(home: Path, out: str = "run", **settings: Any) -> ExperimentConfig:
    given: dict[str, Any] = {
        "manifest": home / "data/manifest.json",
        "scores": home / "predicted",
        "arms": (
            f"predictor=top:{K}",
            "chance=matched_random:of=predictor",
            f"length=top:{K}:by=length",
            f"bm25=top:{K}:by=bm25",
            f"embedding=top:{K}:by=embedding",
            f"attribution=top:{K}:by=attribution",
        ),
        "rankings": {"attribution": home / "scored"},
        "compare": ("predictor/bm25",),
        "seeds": (0, 1),
        "base_model": "tiny",
        "device": "cpu",
        "max_length": 128,
        "lora": {"lora_r": 4},
        "optim": {
            "learning_rate": 4e-3,
            "num_train_epochs": 1,
            "per_device_train_batch_size": 8,
            "gradient_accumulation_steps": 1,
        },
        "planted": {"file": home / "data/withheld.parquet"},
        "output_dir": home / out,
        **settings,
    }
    return ExperimentConfig.model_validate(given)


@pytest.fixture(scope="module")
def result(home: Path) -> ExperimentResult:
    return experiment(config(home))


def pool_of(home: Path) -> pd.DataFrame:
    manifest = read_json(home / "data/manifest.json")
    found: pd.DataFrame = pd.read_parquet(home / "data" / manifest["splits"]["score_pool"]["path"])
    return found


def texts_of(rows: pd.DataFrame) -> list[str]:
    return [f"{p}\n\n{c}" for p, c in zip(rows["prompt"], rows["completion"], strict=True)]


def test_every_arm_trained_on_the_top_of_its_own_ranking(
    home: Path, result: ExperimentResult
) -> None:
    from whence.models.alignment import align_rows
    from whence.models.load import load_tokenizer

    pool = pool_of(home)
    manifest = read_json(home / "data/manifest.json")
    query = pd.read_parquet(home / "data" / manifest["splits"]["attr_query"]["path"])
    texts, queries = texts_of(pool), texts_of(query)
    lengths = [len(row.input_ids) for row in align_rows(pool, load_tokenizer("tiny"), 128)]
    scores = {
        "predictor": pd.read_parquet(home / "predicted/scores.parquet")["score"].to_numpy(),
        "attribution": pd.read_parquet(home / "scored/scores.parquet")["score"].to_numpy(),
        "length": np.array(lengths),
        "bm25": bm25_scores(texts, queries),
        "embedding": np.asarray(mean_similarity(texts, queries, "tfidf")),
    }
    picks = {}
    for name, values in scores.items():
        order = sorted(range(60), key=lambda i, v=values: (-v[i], pool["row_id"][i]))
        picks[name] = [pool["row_id"][i] for i in order[:K]]
        for seed in (0, 1):
            cell = read_json(result.folder / f"arms/{name}/seed-{seed}/cell.json")
            assert cell["row_ids"] == picks[name], name
    assert len({tuple(rows) for rows in picks.values()}) == 5
    kept = pd.read_parquet(result.folder / "rankings.parquet")
    assert list(kept) == ["ranking", "row_id", "score", "rank"]
    assert kept["ranking"].value_counts().to_dict() == dict.fromkeys(
        ("length", "bm25", "embedding", "attribution"), 60
    )


def test_the_verdict_says_what_arms_were_drawn_by(home: Path, result: ExperimentResult) -> None:
    verdict = result.verdict
    assert verdict["ranked_by"] == {
        name: name for name in ("predictor", "length", "bm25", "embedding", "attribution")
    }
    pairs = [(c["arm"], c["control"]) for c in verdict["comparisons"]]
    assert pairs[:6] == [
        ("predictor", "bm25"),
        ("predictor", "chance"),
        *((name, "chance") for name in ("length", "bm25", "embedding", "attribution")),
    ]
    finding = result.finding()
    assert "ranked by" in finding.columns
    at = list(finding.columns).index("ranked by")
    assert {row[0]: row[at] for row in finding.rows}["chance"] == ""
    precision = verdict["planted"]["precision_at_k"]
    assert set(precision) >= {"predictor", "attribution", "length", "bm25", "embedding", "chance"}
    kinds = pd.read_parquet(home / "data/withheld.parquet").set_index("row_id")["kind"]
    scored = pd.read_parquet(home / "scored/scores.parquet").nlargest(
        verdict["planted"]["k"], "score"
    )
    share = (kinds.loc[scored["row_id"]] == "useful").mean()
    assert precision["attribution"] == pytest.approx(share)


def test_the_report_says_it_too(home: Path, result: ExperimentResult) -> None:
    page = (result.folder / "report.html").read_text()
    assert "what each arm was drawn by" in page
    table = pd.read_parquet(home / "predicted/scores.parquet")
    seen = (table.nlargest(K, "score")["part"] == "train").sum()
    after = page.split("what each arm was drawn by")[1]
    line = after.split("predictor</th>")[1].split("</tr>")[0]
    assert f">{seen}</td>" in line.replace("\n", "")


def test_killed_between_rankings_and_verdict_it_goes_on(
    home: Path, result: ExperimentResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    from whence.data.experiment import run as conducting

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(conducting, "run_cell", stop)
        with pytest.raises(KeyboardInterrupt):
            experiment(config(home, "killed"))
    assert (home / "killed.partial/rankings.parquet").is_file()

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr("whence.data.experiment.rank.make_rankings", never)
    experiment(config(home, "killed"))
    for name in ("verdict.json", "rankings.parquet", "items.parquet"):
        assert (home / "killed" / name).read_bytes() == (result.folder / name).read_bytes()


def test_the_same_again_is_done_and_another_table_is_another_run(
    home: Path, result: ExperimentResult
) -> None:
    assert experiment(config(home)).done_before
    other = config(home, rankings={"attribution": home / "predicted"})
    with pytest.raises(BadInput, match="input ranking attribution"):
        experiment(other)
