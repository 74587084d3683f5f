"""The example of `whence heads` runs as its README says, and finds what it says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from whence.__main__ import main
from whence.heads.battery import ActivationPatch, HeadsZero
from whence.heads.plan import read_plan
from whence.runs.jsonfile import read_json

ROOT = Path(__file__).parents[1]
HERE = ROOT / "examples" / "heads"
TEXT = (HERE / "README.md").read_text()
COMMANDS = [
    shlex.split(line)[1:]
    for line in TEXT.split("```")[1].replace("\\\n", " ").splitlines()
    if line.strip()
]


def run_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's first block of commands."""
    monkeypatch.chdir(folder)
    (folder / "examples").symlink_to(ROOT / "examples")
    for words in COMMANDS:
        assert main(words) == 0, words


def table(path: str) -> pd.DataFrame:
    frame = pd.read_parquet(path)
    return frame[frame["metric"] == "delta_logit_diff"]


def heads_of(tag: str) -> pd.DataFrame:
    frame = table("runs/conditions/metrics/head_impact.parquet")
    frame = frame[frame["condition"] == tag]
    return frame.loc[frame["delta"].abs().sort_values(ascending=False).index]


def patches() -> pd.DataFrame:
    return table("runs/conditions-patch/metrics/layer_impact.parquet")


def test_plans_are_read_with_their_batteries() -> None:
    for name, battery in (("conditions", HeadsZero), ("conditions_patch", ActivationPatch)):
        plan = read_plan(HERE / f"{name}.json")
        assert plan.model_name == "tiny"
        assert [c.tag for c in plan.conditions] == ["facts", "negation", "counterfactual", "logic"]
        assert all(isinstance(c.battery, battery) for c in plan.conditions)
        assert all(c.dataset.split == "train" for c in plan.conditions)


@pytest.mark.slow
def test_the_readme_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_all(tmp_path, monkeypatch)
    rows = re.findall(r"^\| (\w+) \| (\d+) % \| (.*?) \| (.*?) \| (.*?) \| (.*?) \|$", TEXT, re.M)
    assert [row[0] for row in rows] == ["facts", "counterfactual", "negation", "logic"]
    for tag, accuracy, head, delta, patched, recovered in rows:
        clean = read_json(Path("runs/conditions/metrics/summary.json"))["conditions"][tag]["clean"]
        assert round(100 * clean["accuracy"]) == int(accuracy)
        if head.startswith("none"):
            assert heads_of(tag)["q"].min() > 0.05
        else:
            strongest = heads_of(tag).iloc[0]
            assert f"{strongest['layer']}:{strongest['head']}" == head
            assert numbers(delta) == pytest.approx(ends(strongest), abs=6e-4)
        own = patches()[(patches()["condition"] == tag) & (patches()["kind"] == "patch")]
        window = own.set_index("layers").loc["2-5"]
        assert numbers(patched) == pytest.approx(ends(window), abs=6e-4)
        if recovered != "nothing to recover":
            assert round(100 * window["recovered"]) == int(recovered.split()[0])

    invariants = read_json(Path("runs/conditions/artifacts/cross_condition/invariants.json"))
    assert invariants["heads"] == []
    shams = patches()[patches()["kind"] == "sham"]
    assert len(shams) == 4 * 5
    assert (shams["delta"] == 0).all()
    own = patches()[(patches()["condition"] == "facts") & (patches()["kind"] == "patch")]
    alone = own[own["layers"] != "2-5"]["recovered"].sum()
    (said,) = re.findall(r"the sum of\s+the four alone \((\d+) %\)", TEXT)
    assert round(100 * alone) == int(said)


def numbers(text: str) -> list[float]:
    return [float(word) for word in re.findall(r"[+-]?\d+\.\d+", text.replace("−", "-"))]


def ends(row: pd.Series) -> list[float]:
    return [row["delta"], row["ci_low"], row["ci_high"]]
