"""Sweeps over `whence data experiment`: one scoring an adapter and pool, one training a cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from whence.data.arms import parse_arms
from whence.data.build import BuildConfig, build
from whence.data.experiment.settings import ExperimentConfig
from whence.errors import BadInput
from whence.runs.fingerprint import fingerprint
from whence.runs.manifest import load_manifest
from whence.sweep.campaigns.campaign import Check, Cost, Effect
from whence.sweep.campaigns.contents import Contents, deciding, settled
from whence.sweep.campaigns.experiment_effect import effect_of
from whence.sweep.campaigns.experiment_steps import Step, steps_of
from whence.sweep.campaigns.trial import Sample
from whence.sweep.settings import RankSettings
from whence.sweep.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

    from whence.runs.manifest import Manifest


class DataExperiment:
    """The campaign of `data experiment` (`whence.sweep.campaigns.campaign.Campaign`).

    Tasks: `adapter` and `score` of what ranks the pool, `cell` of an arm under a seed, `verdict` of
    an experiment, which takes its cells over. A cell that two experiments would both make is made
    once.
    """

    command: ClassVar[str] = "data experiment"
    shape: ClassVar[type[ExperimentConfig]] = ExperimentConfig

    def __init__(self, rank: RankSettings) -> None:
        self._metric = rank.metric
        self._contents = Contents()
        self._built: dict[str, Manifest] = {}
        self._planned: set[str] = set()
        self._steps: dict[str, list[Step]] = {}

    def values(self, key: str, word: str, base: Mapping[str, Any]) -> list[Any]:
        """No word stands for values here."""
        raise BadInput(f"{key}: {word!r} stands for no values; give a list")

    def expand(self, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        """A single seed under `seeds` is a list of one."""
        seeds = settings.get("seeds")
        alone = isinstance(seeds, int) and not isinstance(seeds, bool)
        return {**settings, "seeds": [seeds]} if alone else settings

    def share_problems(
        self, configs: Sequence[Any], home: Path, overwrite: bool
    ) -> tuple[list[Any], Mapping[str, Any]]:
        """Refused: an experiment has rows, not problems."""
        raise BadInput("share: `data experiment` knows no problems that could be shared")

    def prepare(self, configs: Sequence[ExperimentConfig], home: Path, overwrite: bool) -> None:
        """Build the data of configurations that say how, each once, into `home/shared`."""
        for config in configs:
            if config.build is None or (name := _build_id(config.build)) in self._built:
                continue
            folder = home / "shared" / f"build-{name}"
            own = config.build.model_copy(update={"run_dir": folder, "overwrite": overwrite})
            self._built[name] = build(own).manifest

    def effect(self, config: ExperimentConfig) -> Effect:
        """See `experiment_effect`. Raises BadInput for arms, splits, columns, a model that cannot
        be: all that the experiment itself would refuse before it loads a model."""
        manifest = self._manifest(config)
        config = self._at_home(config, manifest)
        self._check_metric(config)
        self._check(config, manifest)
        return effect_of(config, manifest, self._metric, self._contents)

    def tasks(self, runs: Mapping[str, ExperimentConfig], home: Path) -> list[Task]:
        """See the class; work that is equal is one task."""
        for name, config in runs.items():
            manifest = self._manifest(config)
            own = self._at_home(config, manifest)
            self._steps[name] = steps_of(name, own, manifest, home, self._contents)
        return settled(list({t.id: t for t in self._tasks()}.values()), home)

    def cost(
        self, configs: Sequence[ExperimentConfig], runs: Mapping[str, ExperimentConfig]
    ) -> Cost:
        """Rows that are trained on (passes counted), scored and judged; adapters trained."""
        distinct = {step.task.id: step for steps in self._steps.values() for step in steps}
        alone = [
            step
            for config in configs
            for step in steps_of(
                "alone",
                self._at_home(config, self._manifest(config)),
                self._manifest(config),
                Path("/"),
                self._contents,
            )
        ]
        bench = any("bench" in config.judges for config in configs)
        return Cost(
            forwards=sum(step.forwards for step in distinct.values()),
            trainings=sum(step.trainings for step in distinct.values()),
            naive_forwards=sum(step.forwards for step in alone),
            naive_trainings=sum(step.trainings for step in alone),
            notes=["documents of the tasks that judge"] if bench else [],
        )

    def samples(self, tasks: Sequence[Task], done: Set[str], folder: Path) -> list[Sample]:
        """See `whence.sweep.campaigns.experiment_trial`."""
        from whence.sweep.campaigns.experiment_trial import samples_of

        return samples_of(tasks, folder, self._contents)

    def measured(self, output: Path, rank: RankSettings) -> pd.DataFrame:
        """The metric of every arm on every eval item, seed by seed."""
        from whence.sweep.campaigns.measures_data import measured_data

        return measured_data(output, rank)

    def checks(self, output: Path) -> list[Check]:
        """What must hold of a finished experiment."""
        from whence.sweep.campaigns.checks_data import checks_data

        return checks_data(output)

    def _tasks(self) -> list[Task]:
        """Of all runs: what ranks first, then cells, then verdicts."""
        kinds = ("adapter", "score", "cell", "verdict")
        every = [step.task for steps in self._steps.values() for step in steps]
        return sorted(every, key=lambda task: kinds.index(task.kind))

    def _manifest(self, config: ExperimentConfig) -> Manifest:
        if config.build is not None:
            return self._built[_build_id(config.build)]
        assert config.manifest is not None  # the configuration's own check
        return load_manifest(config.manifest)

    def _at_home(self, config: ExperimentConfig, manifest: Manifest) -> ExperimentConfig:
        """Files of a build that a setting names are where the build was made now."""
        if config.build is None or config.planted is None:
            return config
        there = config.build.run_dir.absolute()
        file = config.planted.file.absolute()
        if not file.is_relative_to(there):
            return config
        moved = manifest.path.parent / file.relative_to(there)
        planted = config.planted.model_copy(update={"file": moved})
        return config.model_copy(update={"planted": planted})

    def _check_metric(self, config: ExperimentConfig) -> None:
        """Names of the tasks that bench judges by are known to the harness alone."""
        known = ["primary", "loss", *(["correct"] if "words" in config.judges else [])]
        if self._metric not in known and "bench" not in config.judges:
            judges = ", ".join(config.judges) or "none"
            raise BadInput(
                f"rank.metric {self._metric}: under judges {judges} there are {', '.join(known)}"
            )

    def _check(self, config: ExperimentConfig, manifest: Manifest) -> None:
        from whence.data.evaluate.bench_tasks import need_harness
        from whence.data.experiment.comparisons import comparisons_of
        from whence.data.experiment.plan import check_names, make_plan
        from whence.sweep.campaigns.models_at_hand import check_model

        apart = ["lora", "optim", "score", "seeds", "question", "output_dir"]
        name = fingerprint({"settings": deciding(config, apart), "manifest": str(manifest.path)})
        if name in self._planned:
            return
        arms = parse_arms(config.arms)
        check_names(arms)
        oracle = bool(config.planted and config.planted.oracle)
        comparisons_of(arms, config.compare, oracle=oracle)
        if "bench" in config.judges:
            need_harness()
        for split in (config.query_split, config.scoring_split) if config.scores is None else ():
            manifest.split(split)
        check_model(config.base_model, config.revision, config.dtype, config.trust_remote_code)
        make_plan(config, arms, manifest)
        self._planned.add(name)


def _build_id(config: BuildConfig) -> str:
    return fingerprint(deciding(config))[:16]
