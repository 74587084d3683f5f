"""On the tiny world the truth is planted: what a contrast finds there must be what was put in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from whence.runs.jsonfile import read_json, write_jsonl
from whence.sae.contrast import ContrastConfig, contrast
from whence.sae.extract import ExtractConfig, extract
from whence.sae.localize import LocalizeConfig, localize
from whence.tiny.games import Mix, make_games
from whence.tiny.world import make_world

VALUE = "forest"
ROWS = 160


@pytest.fixture(scope="module")
def games(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Games with one clue each, features of them, and scores that one planted concept decides."""
    home = tmp_path_factory.mktemp("games")
    mix = Mix(useful=ROWS // 5, other=3 * ROWS // 5, wrong=ROWS // 5)
    pool, _ = make_games(make_world(), mix=mix, query=1, evaluation=1, seed=5)
    rng = np.random.default_rng(0)
    rows, scores = [], []
    for row in pool:
        *before, last = row["messages"]
        prompt = "\n\n".join(f"{m['role'].upper()}: {m['content']}" for m in before)
        if rng.random() < 0.3 and VALUE not in prompt:
            prompt += f", it is in the {VALUE}"
        rows.append({"row_id": row["row_id"], "prompt": prompt, "completion": last["content"]})
        scores.append(
            {"row_id": row["row_id"], "score": float(VALUE in prompt) + 0.1 * rng.normal()}
        )
    write_jsonl(home / "rows.jsonl", rows)
    write_jsonl(home / "scores.jsonl", scores)
    extract(
        ExtractConfig(
            model_name="tiny",
            sae_path=("tiny",),
            dataset_path=home / "rows.jsonl",
            output_dir=home / "features",
        )
    )
    return home


def test_a_planted_concept_is_found_and_located(games: Path, tmp_path: Path) -> None:
    scores = pd.read_json(games / "scores.jsonl", lines=True)["score"]
    planted = int((scores > 0.5).sum())
    assert 30 < planted < 100
    config = ContrastConfig(
        scores=games / "scores.jsonl",
        sae_dir=games / "features",
        top_k=planted,
        output_dir=tmp_path / "contrast",
    )
    contrast(config)
    table = pd.read_parquet(tmp_path / "contrast" / "features.parquet")
    summary = read_json(games / "features" / "summary.json")
    for layer in summary["layers"]:
        recovery = read_json(Path(layer["path"]) / "recovery.json")["concepts"]
        truth = next(
            each for each in recovery if (each["group"], each["name"]) == ("value named", VALUE)
        )
        own = table[table["sae_id"] == layer["sae_id"]].set_index("feature")
        found = own.loc[truth["feature"]]
        assert found["q"] < 0.01
        assert found["odds_ratio"] > 20
        assert found["heldout_delta_rate"] > 0.5
        assert own["q"].rank(method="min")[truth["feature"]] <= 3  # it may share with another
    (shown,) = localize(
        LocalizeConfig(
            sae_dir=games / "features",
            contrast=tmp_path / "contrast",
            top=1,
            output_dir=tmp_path / "localized",
        )
    ).features
    assert shown["pieces"][0]["piece"].strip() == VALUE


def test_shuffled_scores_find_nothing(games: Path, tmp_path: Path) -> None:
    scores = pd.read_json(games / "scores.jsonl", lines=True)
    mixed = scores["score"].sample(frac=1, random_state=3).to_numpy()
    scores.assign(score=mixed).to_parquet(tmp_path / "scores.parquet")
    contrast(
        ContrastConfig(
            scores=tmp_path / "scores.parquet",
            sae_dir=games / "features",
            top_k=40,
            output_dir=tmp_path / "contrast",
        )
    )
    table = pd.read_parquet(tmp_path / "contrast" / "features.parquet")
    assert len(table) > 100
    assert (table["q"] > 0.05).all()
