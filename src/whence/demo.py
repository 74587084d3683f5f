"""`whence demo`: the whole training-data experiment, on a world where the truth is planted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from whence.data.build import BuildConfig
from whence.data.experiment import ExperimentConfig, ExperimentResult, PlantedSettings, experiment
from whence.data.score.settings import ScoreSettings
from whence.data.train import LoraSettings, OptimSettings
from whence.runs.config import Config
from whence.runs.finding import Finding
from whence.tiny.make import MakeConfig, make

POOL, QUERY, EVALUATION, TOP = 480, 96, 120, 96


class DemoConfig(Config):
    """Make word games, rank them by attribution, train on the best and on chance, and compare.

    A small model that ships with Whence has never read about some words. Games about those words
    are what it is tested on; one game in five of the pool teaches them, the others teach other
    words or are wrong. Can attribution, which never sees which is which, find them?
    """

    not_identity: ClassVar[frozenset[str]] = frozenset({"output_dir", "overwrite"})

    output_dir: Path = Field(default=Path("runs/demo"), description="Folder for everything.")
    seeds: int = Field(
        default=3, ge=1, description="How often every arm is drawn and trained. One is no finding."
    )
    overwrite: bool = Field(default=False, description="Replace an earlier demo in the folder.")


@dataclass(frozen=True)
class DemoResult:
    """The experiment; `verdict["planted"]` says how many of the useful rows it found."""

    experiment: ExperimentResult

    @property
    def verdict(self) -> Mapping[str, Any]:
        return self.experiment.verdict

    def finding(self) -> Finding:
        """The experiment's finding, and how many of the useful rows attribution found."""
        found = self.experiment.finding()
        planted = self.verdict["planted"]
        share, chance = planted["useful_share"]["top"], planted["precision_at_k"]["chance"]
        return Finding(
            headline=f"{found.headline}\nOf the rows that attribution put on top {share:.0%} teach "
            f"the tested words; of the whole pool {chance:.0%} do.",
            columns=found.columns,
            rows=found.rows,
            files=found.files,
        )


def demo(config: DemoConfig) -> DemoResult:
    """Run the demo; started again it goes on, and when it is done it only says so."""
    games = MakeConfig(
        kind="games",
        out=config.output_dir / "games",
        count=POOL,
        query=QUERY,
        evaluation=EVALUATION,
        overwrite=config.overwrite,
    )
    make(games)
    return DemoResult(experiment(demo_experiment(config, games.out)))


def demo_experiment(config: DemoConfig, games: Path) -> ExperimentConfig:
    """The experiment that the demo runs, as its `config.json` has it."""
    data = config.output_dir / "data"
    return ExperimentConfig(
        output_dir=config.output_dir,
        overwrite=config.overwrite,
        question="Can attribution find the games that teach the tested words?",
        build=BuildConfig(
            run_dir=data,
            train_file=games / "pool.jsonl",
            test_file=games / "test.jsonl",
            train_size=POOL,
            query_size=QUERY,
            eval_size=EVALUATION,
            stratify_by=(),
            withhold=("kind",),
            overwrite=config.overwrite,
        ),
        base_model="tiny",
        arms=(f"top=top:{TOP}", "matched_random=matched_random:of=top"),
        seeds=tuple(range(config.seeds)),
        judges=("words", "loss"),
        max_length=128,
        scoring_epochs=2,
        score=ScoreSettings(),
        lora=LoraSettings(lora_r=16, lora_alpha=256),
        optim=OptimSettings(
            learning_rate=4e-3,
            num_train_epochs=8,
            per_device_train_batch_size=8,
            gradient_accumulation_steps=1,
            warmup_ratio=0.1,
        ),
        planted=PlantedSettings(file=data / "withheld.parquet", oracle=TOP),
    )
