"""The examples of this part of sweeps plan as they stand, and say what their READMEs say."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from whence.__main__ import main
from whence.models.load import model_source
from whence.sweep.plan import PlanConfig, plan

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the examples in it, where their commands are given."""
    (tmp_path / "examples").symlink_to(EXAMPLES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def planned(name: str) -> Any:
    given = yaml.safe_load((EXAMPLES / name / "sweep.yaml").read_text())
    return plan(PlanConfig.model_validate({**given, "output_dir": "sweep", "trial": False})).facts


def test_experiments(here: Path) -> None:
    games = "tiny make --kind games --out runs/data-sweep/games --count 240 --query 48"
    assert f"whence {games} --evaluation 60" in (EXAMPLES / "data-sweep/README.md").read_text()
    assert main([*games.split(), "--evaluation", "60"]) == 0
    facts = planned("data-sweep")
    counts = {kind: each["tasks"] for kind, each in facts["kinds"].items()}
    assert counts == {"adapter": 1, "score": 1, "cell": 31, "verdict": 6}
    assert (facts["cost"]["trainings"], facts["cost"]["naive_trainings"]) == (31, 42)


def test_models_by_conditions(here: Path) -> None:
    assert main(["heads", "corpora", "make", "--output-dir", "runs/probes"]) == 0
    # Any model folder will do to plan: here an equal one, and equal models are one run.
    shutil.copytree(model_source("tiny"), "runs/heads-matrix/tuned")
    facts = planned("heads-matrix")
    assert (facts["configurations"], facts["runs"]) == (8, 4)
    assert facts["cost"]["naive_forwards"] == 17_920
