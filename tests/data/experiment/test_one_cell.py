"""A cell made by itself, and experiments that take it over or refuse to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from whence.data.experiment import ExperimentConfig, experiment
from whence.data.experiment.one_cell import CellConfig, data_cell
from whence.errors import BadInput
from whence.runs.jsonfile import read_json


@pytest.fixture(scope="module")
def home(games: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, and scores that put the pool in an order of our own."""
    from whence.data.build import BuildConfig, build
    from whence.runs.manifest import read_split

    home = tmp_path_factory.mktemp("cells")
    sizes = {"train_size": 60, "query_size": 12, "eval_size": 6, "stratify_by": ()}
    files = {"train_file": games / "games/pool.jsonl", "test_file": games / "games/test.jsonl"}
    built = build(BuildConfig(run_dir=home / "data", **files, **sizes))  # type: ignore[arg-type]
    pool = read_split(built.manifest, "score_pool")
    scores = pool[["row_id"]].assign(score=range(len(pool)), length_tokens=40, loss=1.0)
    scores.to_parquet(home / "scores.parquet")
    return home


def settings(home: Path, **more: Any) -> dict[str, Any]:
    return {
        "manifest": home / "data",
        "scores": home / "scores.parquet",
        "base_model": "tiny",
        "device": "cpu",
        "max_length": 128,
        "lora": {"lora_r": 4, "lora_alpha": 64},
        "optim": {"learning_rate": 8e-3, "max_steps": 1},
        "arms": ["best=top:6"],
        "seeds": [0],
        **more,
    }


def cell(home: Path, output: Path, **more: Any) -> Any:
    return data_cell(CellConfig.model_validate(settings(home, output_dir=output, **more)))


def whole(home: Path, output: Path, **more: Any) -> Any:
    return experiment(ExperimentConfig.model_validate(settings(home, output_dir=output, **more)))


@pytest.fixture(scope="module")
def made(home: Path) -> Path:
    cell(home, home / "cells/top", arm="best", seed=0)
    return home / "cells/top"


def test_a_cell_taken_over_changes_nothing_and_is_not_trained(
    home: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = whole(home, home / "alone")
    cell(home, home / "cells/base", arm="base", compare=["best/base"])

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("whence.data.experiment.cells.train_adapter", never)
    monkeypatch.setattr("whence.models.load.load_model", never)
    taken = whole(home, home / "taken", cells=[made, home / "cells/base"])
    for name in ("items.parquet", "verdict.json"):
        assert (taken.folder / name).read_bytes() == (alone.folder / name).read_bytes()


def test_the_same_cell_of_another_experiment_is_done(home: Path, made: Path) -> None:
    """Under another arm's name, beside other arms, for another question."""
    others = {"arms": ["mine=top:6", "random:3"], "seeds": [3, 0], "question": "Else?"}
    again = cell(home, made, arm="mine", seed=0, **others)
    assert again.done_before


@pytest.mark.parametrize(
    ("more", "differs"),
    [
        ({"lora": {"lora_r": 8, "lora_alpha": 64}}, "lora.lora_r: 4 → 8"),
        ({"arms": ["best=top:7"]}, "arm"),
        ({"seeds": [1]}, "no cell has its seed"),
    ],
)
def test_a_cell_of_another_experiment_is_refused(
    home: Path, made: Path, tmp_path: Path, more: Any, differs: str
) -> None:
    with pytest.raises(BadInput, match="is of no cell of this experiment.*" + differs):
        whole(home, tmp_path / "run", cells=[made], **more)


def test_a_cell_drawn_from_other_scores_is_refused(home: Path, made: Path, tmp_path: Path) -> None:
    import pandas as pd

    scores = pd.read_parquet(home / "scores.parquet")
    scores.assign(score=-scores["score"]).to_parquet(tmp_path / "scores.parquet")
    with pytest.raises(BadInput, match="input scores"):
        whole(home, tmp_path / "run", cells=[made], scores=tmp_path / "scores.parquet")


def test_a_cell_whose_answers_were_edited_is_refused(
    home: Path, made: Path, tmp_path: Path
) -> None:
    import shutil

    copy = tmp_path / "cell"
    shutil.copytree(made, copy)
    file = copy / read_json(copy / "about.json")["place"] / "cell.json"
    found = read_json(file)
    file.write_text(json.dumps({**found, "row_ids": found["row_ids"][::-1]}))
    with pytest.raises(BadInput, match=r"cell\.json was changed after it was made"):
        whole(home, tmp_path / "run", cells=[copy])
    with pytest.raises(BadInput, match="a finished cell was expected, found no run"):
        whole(home, tmp_path / "run", cells=[tmp_path])


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"arm": "bset", "seed": 0}, "arm bset.*did you mean best"),
        ({"arm": "best"}, "seed: best needs one"),
        ({"arm": "base", "seed": 0}, "base is trained by none"),
        ({"arm": "oracle", "seed": 0}, "needs planted.oracle"),
        ({"arm": "best", "seed": 0, "scores": None}, "whence data score"),
        ({"arm": "best", "seed": 0, "start_from": "scoring_adapter"}, "--scoring-adapter"),
    ],
)
def test_what_no_cell_can_be_made_of(home: Path, tmp_path: Path, more: Any, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        cell(home, tmp_path / "cell", **more)
    assert not (tmp_path / "cell").exists()
