"""The example of `whence sae` runs as its README says, and finds what it says."""

from __future__ import annotations

import re
import shlex
import time
from pathlib import Path

import pandas as pd
import pytest

from whence.__main__ import main
from whence.data.arms import parse_arms
from whence.data.experiment import ExperimentConfig
from whence.runs.jsonfile import read_json
from whence.runs.settings_file import read_settings

ROOT = Path(__file__).parents[1]
HERE = ROOT / "examples" / "sae-selects"
TEXT = (HERE / "README.md").read_text()
COMMANDS = [
    shlex.split(line)[1:]
    for line in TEXT.split("```")[1].replace("\\\n", " ").splitlines()
    if line.strip()
]
ARM = re.compile(r"^\| `(\w+)` \| ([\d.]+) \|", flags=re.MULTILINE)


def test_the_experiment_is_read() -> None:
    config = ExperimentConfig(**read_settings(HERE / "experiment.yaml"))
    arms = {arm.name: arm for arm in parse_arms(config.arms)}
    assert [arms[name].by for name in ("length", "bm25", "embedding", "attribution")] == [
        "length",
        "bm25",
        "embedding",
        "attribution",
    ]
    assert arms["matched_random"].of == "predictor"
    assert [words[1] for words in COMMANDS].count("extract") == 2
    assert COMMANDS[-1][:2] == ["data", "experiment"]


@pytest.mark.slow
def test_the_readme_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    started = time.monotonic()
    for words in COMMANDS:
        assert main(words) == 0, words
    assert time.monotonic() - started < 600
    home = tmp_path / "runs" / "sae-selects"
    predicted = read_json(home / "predictor" / "summary.json")
    assert predicted["test_metrics"]["intervals"]["spearman"][0] > 0.3
    better = {each["control"]: each for each in predicted["comparisons"]}
    assert better["length"]["interval"][0] > 0
    features = pd.read_parquet(home / "contrast" / "features.parquet")
    assert (features["q"] < 0.01).sum() >= 5
    verdict = read_json(home / "result" / "verdict.json")
    said = {(each["arm"], each["control"], each["metric"]): each for each in verdict["comparisons"]}
    picked = said["predictor", "matched_random", "correct"]
    assert picked["interval"][0] > 0
    items = pd.read_parquet(home / "result" / "items.parquet")
    means = items.groupby("arm")["correct"].mean()
    rows = ARM.findall(TEXT)
    assert len(rows) >= 6
    for arm, told in rows:
        assert means[arm] == pytest.approx(float(told), abs=0.12), arm
