"""The four files of examples/playpen: every figure of the notes has its arm, and they all run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from playpen_games import played, write_playpen

from whence.__main__ import main
from whence.data.arms import parse_arms
from whence.data.build import build
from whence.data.experiment.comparisons import comparisons_of
from whence.data.experiment.plan import make_plan
from whence.data.experiment.settings import ExperimentConfig
from whence.runs.jsonfile import read_json
from whence.runs.manifest import Manifest, load_manifest
from whence.runs.settings_file import read_settings
from whence.tiny.world import make_world

HERE = Path(__file__).parents[1] / "examples" / "playpen"
FILES = ("mean-300", "mean-500", "nearest-500", "rank-windows")
ARMS = {
    "mean-300": ["top:300", "matched_random:of=top"],
    "mean-500": ["top:500", "matched_random:of=top", "matched_random:of=top:overlap=yes"],
    "nearest-500": ["top:500", "matched_random:of=top", "matched_random:of=top:overlap=yes"],
    "rank-windows": ["top:300", "top:500", "window:301-500", "random:200:after=500"],
}
TABLE = re.compile(r"^\| (§\d) \| (.*?) \| (\d+/152 = 0\.\d{4}) \| (.*?) \| `(\w+)` \|$", re.M)


def example(name: str) -> ExperimentConfig:
    return ExperimentConfig.model_validate(read_settings(HERE / f"{name}.yaml"))


def playpen(folder: Path, words: int, models: int) -> Path:
    """The data set's layout on the hub; three of four games are played to their end."""
    world = make_world()
    names = [f"m{i}" for i in range(models)]
    splits = {
        "train": played(world, world.evaluated[:words], split="train", models=names),
        "validation": played(
            world, world.known[:words], split="validation", models=names[:6], first_task=words
        ),
    }
    return write_playpen(folder, splits, "hub")


@pytest.fixture(scope="module")
def pool_of_the_guide(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """A build of the examples' own settings, from 1,056 finished games to train on."""
    home = tmp_path_factory.mktemp("playpen")
    folder = playpen(home / "data", words=11, models=128)
    settings = example("mean-500").build
    assert settings
    update = {"dataset_name": str(folder), "run_dir": home / "built"}
    return build(settings.model_copy(update=update)).manifest


def test_all_files_share_one_build_of_the_earlier_splits(pool_of_the_guide: Manifest) -> None:
    settings = [example(name) for name in FILES]
    assert all(one.build == settings[0].build for one in settings)
    asked = settings[0].build
    assert asked
    assert (asked.dataset_name, asked.dataset_config) == (
        "colab-potsdam/playpen-data",
        "interactions",
    )
    assert (asked.game, asked.role, asked.query_fraction) == ("taboo", "WordGuesser", 0.4)
    rows = {name: split.rows for name, split in pool_of_the_guide.splits.items()}
    assert rows["score_pool"] == rows["train_base"] == 1056
    # Of the 66 games of 11 words every fourth is aborted, and 40 % of the words are query's.
    assert pool_of_the_guide.raw["split_policy"]["disjoint"] == {"groups_in_eval": 7, "groups": 11}
    assert rows["attr_query"] + rows["eval"] == 50
    stats = pool_of_the_guide.raw["filter_stats"]["train"]
    assert (stats["other_game_or_role"], stats["aborted"]) == (2 * 11 * 128, 11 * 32)


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_planned_as_it_is_written(name: str, pool_of_the_guide: Manifest) -> None:
    config = example(name)
    arms = parse_arms(config.arms)
    assert [arm.spec for arm in arms] == ARMS[name]
    assert config.base_model == "google/gemma-3-1b-it"
    assert config.judges == ("words", "loss")
    assert len(config.seeds) == 5
    assert config.score.score_mode == name.partition("-")[0].replace("rank", "mean")
    assert (config.score.preconditioning_mode, config.score.projection) == ("query", 32)
    assert (config.max_length, config.optim.learning_rate) == (2048, 1e-4)
    plan = make_plan(config, arms, pool_of_the_guide)
    assert plan.match_on == ("outcome",)
    assert plan.targets
    # The words are those of validation, also where the last guess is a wrong one.
    assert set(plan.targets) <= {thing.name for thing in make_world().known[:11]}
    first = comparisons_of(arms, config.compare, oracle=False)[0]
    assert first == (("tail", "random") if name == "rank-windows" else ("top", "random"))


def test_every_figure_of_the_notes_has_its_arm(shared_data: Path) -> None:
    rows = TABLE.findall((HERE / "README.md").read_text())
    notes = (shared_data.parent / "reference" / "data-attribution-notes.md").read_text()
    results = notes[notes.index("## 6)") : notes.index("## 8)")]
    figures = re.findall(r"`(\d+/152 = 0\.\d{4})`", results)
    assert [figure for _, _, figure, _, _ in rows] == figures
    assert len(rows) == 15
    for _, _, figure, file, arm in rows:
        correct, total, share = re.split(r"/| = ", figure)
        assert float(share) == round(int(correct) / int(total), 4)
        for name in FILES if file == "all four" else [file]:
            names = {one.name for one in parse_arms(example(name).arms)} | {"base"}
            assert arm in names, (file, arm)


def test_one_of_them_runs_on_the_tiny_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = playpen(tmp_path / "data", words=4, models=7)
    flags: Sequence[object] = (
        *("--dataset-name", folder, "--base-model", "tiny", "--device", "cpu", "--seeds", "0"),
        *("--arms", "top=top:6", "random=matched_random:of=top"),
        *("random_overlap=matched_random:of=top:overlap=yes", "--max-length", "256"),
        *("--num-train-epochs", "2", "--scoring-epochs", "1", "--projection-dim", "8"),
        *("--learning-rate", "4e-3", "--lora-alpha", "256", "--gradient-accumulation-steps", "1"),
    )
    assert main(["data", "experiment", str(HERE / "mean-500.yaml"), *map(str, flags)]) == 0
    verdict = read_json(tmp_path / "runs/playpen/mean-500/verdict.json")
    losses = {arm: values["loss"] for arm, values in verdict["arms"].items()}
    assert set(losses) == {"base", "top", "random", "random_overlap"}
    assert max(losses[arm] for arm in losses if arm != "base") < losses["base"] - 1
    pairs = list(dict.fromkeys((one["arm"], one["control"]) for one in verdict["comparisons"]))
    assert pairs[:2] == [("top", "random"), ("top", "random_overlap")]
    assert "not a finding" in verdict["comparisons"][0]["sentence"]
    manifest = load_manifest(tmp_path / "runs/playpen/data/manifest.json")
    assert manifest.raw["dataset"]["preset"] == "playpen"
