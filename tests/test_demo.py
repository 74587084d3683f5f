"""The demo: as it is designed, at a smaller size, and (slow) whole."""

from __future__ import annotations

from pathlib import Path

import pytest

import whence.demo
from whence.__main__ import main
from whence.demo import DemoConfig, demo, demo_experiment
from whence.runs.jsonfile import read_json

FILES = ("verdict.json", "items.parquet", "report.html", "whence.json")


def test_it_is_an_experiment_like_any_other() -> None:
    config = demo_experiment(DemoConfig(output_dir=Path("d"), seeds=4), Path("d/games"))
    assert config.seeds == (0, 1, 2, 3)
    assert config.judges == ("words", "loss")
    assert config.build is not None
    assert config.build.withhold == ("kind",)
    assert config.build.stratify_by == ()  # nothing that follows the kinds sorts the rows
    assert config.planted is not None
    assert config.planted.oracle == whence.demo.TOP
    assert config.match_on is None


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo with an eighth of the games and one seed, from the command line."""
    folder = tmp_path_factory.mktemp("demo") / "out"
    with pytest.MonkeyPatch.context() as patch:
        for name, size in (("POOL", 60), ("QUERY", 12), ("EVALUATION", 16), ("TOP", 12)):
            patch.setattr(whence.demo, name, size)
        assert main(["demo", "--output-dir", str(folder), "--seeds", "1"]) == 0
    return folder


def test_its_files_are_where_scripts_look_for_them(small: Path) -> None:
    for name in FILES:
        assert (small / name).is_file(), name
    verdict = read_json(small / "verdict.json")
    assert list(verdict["arms"]) == ["base", "top", "matched_random", "oracle"]
    assert verdict["comparisons"][0]["sentence"].startswith("one seed: not a finding")
    assert verdict["planted"]["useful_share"]["oracle"] == 1
    assert (small / "games/whence.json").is_file()
    assert (small / "data/manifest.json").is_file()


def test_again_it_says_so_and_with_other_seeds_it_refuses(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, size in (("POOL", 60), ("QUERY", 12), ("EVALUATION", 16), ("TOP", 12)):
        monkeypatch.setattr(whence.demo, name, size)
    monkeypatch.setattr("whence.models.load.load_model", None)
    found = demo(DemoConfig(output_dir=small, seeds=1)).finding()
    assert found.headline.startswith("Already done: one seed")
    assert "of the whole pool 20% do" in found.headline
    assert found.columns[-1] == "useful rows"
    assert main(["demo", "--output-dir", str(small), "--seeds", "2"]) == 2
    assert "seeds: [0] → [0, 1]" in capsys.readouterr().err


@pytest.mark.slow
def test_attribution_finds_the_useful_games(tmp_path: Path) -> None:
    """The whole demo, three minutes on two cores: its effect is there, and so are its bounds."""
    result = demo(DemoConfig(output_dir=tmp_path / "demo"))
    arms = {name: means["correct"] for name, means in result.verdict["arms"].items()}
    first = result.verdict["comparisons"][0]
    assert first["interval"][0] > 0.2
    assert first["q"] < 0.05
    assert arms["base"] < 0.05  # the model has never read about these words
    assert arms["matched_random"] < arms["top"] <= arms["oracle"] + 0.1
    precision = result.verdict["planted"]["precision_at_k"]
    assert precision["attribution"] > 2 * max(
        share for name, share in precision.items() if name != "attribution"
    )
