"""The example of `whence anchors` runs as its README says, and finds what it says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from whence.__main__ import main
from whence.anchors.study import StudyConfig
from whence.runs.jsonfile import read_json
from whence.runs.settings_file import read_settings

ROOT = Path(__file__).parents[1]
HERE = ROOT / "examples" / "anchors"
TEXT = (HERE / "README.md").read_text()
COMMANDS = [
    shlex.split(line)[1:]
    for line in TEXT.split("```")[1].replace("\\\n", " ").splitlines()
    if line.strip()
]
ROW = re.compile(r"^\| `(\w+)` \| ([\d.]+) \[([\d.]+), ([\d.]+)\] \|", flags=re.MULTILINE)


def test_the_study_is_read(tmp_path: Path) -> None:
    config = StudyConfig(**read_settings(HERE / "study.yaml"), output_dir=tmp_path)
    assert config.split.strategy == "lopo_cv"
    assert config.activations.vertical_attention.mode == "full"
    assert [words[:2] for words in COMMANDS] == [
        ["anchors", "make"],
        ["anchors", "run"],
        ["anchors", "receivers"],
    ]


@pytest.mark.slow
def test_the_readme_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for words in COMMANDS:
        assert main(words) == 0, words
    metrics = read_json(Path("runs/study/cv/metrics.json"))
    rows = ROW.findall(TEXT)
    assert len(rows) == 5
    for probe, *numbers in rows:
        found = metrics["cv"][probe]["pr_auc"]
        told = [float(each) for each in numbers]
        assert [found["mean"], *found["interval"]] == pytest.approx(told, abs=6e-3), probe
    against = {(each["arm"], each["control"]): each for each in metrics["comparisons"][:9]}
    won = against["linear_probe", "position_untrained"]
    assert won["interval"][0] > 0.2
    assert won["seeds"] == 0
    assert against["linear_probe", "position_baseline"]["q"] > 0.05
    assert metrics["tripwires"]["passed"] is True
    heads = pd.read_parquet("runs/receivers/receivers.parquet")
    assert len(heads) == 24
