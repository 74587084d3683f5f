"""The example of generated games runs as its README says, and finds what it says."""

from __future__ import annotations

import re
import shlex
import time
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest

from whence.__main__ import main
from whence.cli.parse import Usage, parse
from whence.commands import COMMANDS as TREE
from whence.commands import load
from whence.data.arms import parse_arms
from whence.data.experiment import ExperimentConfig
from whence.runs.jsonfile import read_json
from whence.runs.settings_file import read_settings

ROOT = Path(__file__).parents[1]
HERE = ROOT / "examples" / "synthetic-vs-real"
TEXT = (HERE / "README.md").read_text()
COMMANDS = [
    shlex.split(line)[1:]
    for line in TEXT.split("```")[1].replace("\\\n", " ").splitlines()
    if line.strip()
]
OUTPUTS = ("--out", "--run-dir", "--output-dir")
ARM = re.compile(r"^\| `(\w+)` \| ([\d.]+) \|", flags=re.MULTILINE)


def test_every_command_is_one_and_reads_what_was_written() -> None:
    written = {"examples/synthetic-vs-real/experiment.yaml"}
    for words in COMMANDS:
        name = " ".join(words[:2])
        command = TREE[name]
        assert parse(load(command.config), words[2:], Usage(name, "", "", command.positional))
        outputs = {b for a, b in pairwise(words) if a in OUTPUTS}
        for place in re.findall(r"(?:runs|examples)/[\w/.-]+", " ".join(words[2:])):
            known = any(place == done or place.startswith(f"{done}/") for done in written)
            assert known or place in outputs, place
        written |= outputs
    assert name == "data experiment"


def test_the_experiment_is_read() -> None:
    config = ExperimentConfig(**read_settings(HERE / "experiment.yaml"))
    arms = {arm.name: arm for arm in parse_arms(config.arms)}
    assert arms["matched_random"].of == "attributed"
    assert {"attributed", "matched_random", "random", "length"} <= set(arms)
    assert len(config.seeds) == 5
    assert config.planted is not None
    assert config.planted.useful == ("useful",)


@pytest.mark.slow
def test_the_readme_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    started = time.process_time()
    for words in COMMANDS:
        assert main(words) == 0, words
    # Processor time: what else the machine does is not this example's.
    assert time.process_time() - started < 600
    home = tmp_path / "runs" / "synthetic-vs-real"
    games = read_json(home / "games" / "summary.json")
    strong, weak = (games["by_guesser"][name] for name in ("strong", "weak"))
    assert strong["success_rate_interval"][0] > weak["success_rate_interval"][1]
    verdict = read_json(home / "result" / "verdict.json")
    said = {(each["arm"], each["control"], each["metric"]): each for each in verdict["comparisons"]}
    assert said["attributed", "matched_random", "correct"]["interval"][0] > 0
    means = pd.read_parquet(home / "result" / "items.parquet").groupby("arm")["correct"].mean()
    rows = ARM.findall(TEXT)
    assert len(rows) >= 5
    for arm, told in rows:  # players that round otherwise play other games
        assert means[arm] == pytest.approx(float(told), abs=0.2), arm
