"""Sweeps over `whence heads run`: models × conditions × whatever the battery's flags are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from whence.errors import BadInput
from whence.heads.conditions import Source
from whence.heads.conditions import deciding as deciding_condition
from whence.heads.inputs import corpora_folder, sources_of
from whence.heads.outcome import RunResult
from whence.heads.plan import Condition, Plan
from whence.heads.run import RunConfig, plan_of, run_plan
from whence.models.settings import absolute_model
from whence.runs.config import resolved
from whence.runs.validation import nearest
from whence.sweep.campaigns.campaign import Check, Cost, Effect
from whence.sweep.campaigns.contents import Contents, settled
from whence.sweep.campaigns.trial import Sample
from whence.sweep.settings import RankSettings
from whence.sweep.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

ONLY = "only"


class HeadsRun:
    """The campaign of `heads run` (`whence.sweep.campaigns.campaign.Campaign`).

    One task a run, those of one model one after the other, so that a worker loads it once. Runs of
    one model can be put together by `whence heads rebuild`.
    """

    command: ClassVar[str] = "heads run"
    shape: ClassVar[type[RunConfig]] = RunConfig

    def __init__(self, rank: RankSettings) -> None:
        from whence.heads.metrics import METRICS

        if rank.metric not in ("primary", *METRICS):
            raise BadInput(
                f"rank.metric: no metric {rank.metric} of heads{nearest(rank.metric, [*METRICS])}"
            )
        self._contents = Contents()
        self._forwards: dict[str, int] = {}

    def values(self, key: str, word: str, base: Mapping[str, Any]) -> list[Any]:
        """`only: all` is every condition of the plan's file, each a run of its own."""
        if key != ONLY or word != "all":
            raise BadInput(f"{key}: {word!r} stands for no values; give a list (only knows all)")
        if base.get("plan") is None:
            raise BadInput("only: all: the base names no plan, of which these are the conditions")
        settings = {key: value for key, value in base.items() if key != ONLY}
        config = RunConfig.model_validate({**settings, "output_dir": Path("planned")})
        tags = [condition.tag for condition in plan_of(config).conditions]
        if tags == [None]:
            raise BadInput(f"only: all: {config.plan} is one run, without conditions")
        return list(tags)

    def expand(self, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        """A single seed under `seeds` is a list of one."""
        seeds = settings.get("seeds")
        alone = isinstance(seeds, int) and not isinstance(seeds, bool)
        return {**settings, "seeds": [seeds]} if alone else settings

    def share_problems(
        self, configs: Sequence[Any], home: Path, overwrite: bool
    ) -> tuple[list[Any], Mapping[str, Any]]:
        """Refused: corpora have prompts, not problems."""
        raise BadInput("share: `heads run` knows no problems that could be shared")

    def prepare(self, configs: Sequence[RunConfig], home: Path, overwrite: bool) -> None:
        """Nothing."""

    def effect(self, config: RunConfig) -> Effect:
        """Model, and each condition with its rows. Raises BadInput for a plan, a tag, a corpus, a
        split, a model, layers or heads that there are not."""
        from whence.models.load import model_source
        from whence.sweep.campaigns.heads_cost import forwards_of
        from whence.sweep.campaigns.models_at_hand import check_model

        plan = plan_of(config)
        sources = self._sources(plan, config)
        model, revision = plan.model_name, plan.model.revision
        shape = check_model(model, revision, plan.model.dtype, plan.model.trust_remote_code)
        source = model_source(model)
        folder = Path(source).is_dir()
        conditions = {}
        for tag, files in sources.items():
            condition = next(each for each in plan.conditions if (each.tag or "") == tag)
            key = f"{shape} {tag} {deciding_condition(condition)} {files}"
            if key not in self._forwards:
                self._forwards[key] = forwards_of(condition, files, shape)
            conditions[tag] = {
                "settings": _deciding(condition),
                "corpus": self._contents.of(files.corpus),
                "split": self._contents.of(files.split),
                "forwards": self._forwards[key],
            }
        decides = {
            "model": self._contents.of(Path(source)) if folder else f"{source}@{revision}",
            "dtype": plan.model.dtype,
            "conditions": conditions,
        }
        fixed = all(not _drawn(condition) for condition in plan.conditions)
        told = "nothing is drawn: no subsample, no resampling"
        idle = {"memory_gb": "it decides what is held at once"} | ({"seeds": told} if fixed else {})
        return Effect(decides, idle)

    def tasks(self, runs: Mapping[str, RunConfig], home: Path) -> list[Task]:
        """One a run, by model."""
        tasks = [self._task(name, config) for name, config in runs.items()]
        return settled(sorted(tasks, key=lambda task: str(task.settings["model"])), home)

    def cost(self, configs: Sequence[RunConfig], runs: Mapping[str, RunConfig]) -> Cost:
        """Forward passes of prompts, replays from block L on counted as (n − L)/n of one."""
        return Cost(
            forwards=sum(self._cost(config) for config in runs.values()),
            naive_forwards=sum(self._cost(config) for config in configs),
        )

    def samples(self, tasks: Sequence[Task], done: Set[str], folder: Path) -> list[Sample]:
        """See `whence.sweep.campaigns.heads_trial`."""
        from whence.sweep.campaigns.heads_trial import samples_of

        return samples_of(tasks, folder, self._task)

    def measured(self, output: Path, rank: RankSettings) -> pd.DataFrame:
        """The metric of every intervention, prompt by prompt."""
        from whence.sweep.campaigns.measures_heads import measured_heads

        return measured_heads(output, rank)

    def checks(self, output: Path) -> list[Check]:
        """What must hold of a finished run: shams, finite numbers, the slice verified elsewhere."""
        from whence.sweep.campaigns.checks_heads import checks_heads

        return checks_heads(output)

    def _sources(self, plan: Plan, config: RunConfig) -> dict[str, Source]:
        found = sources_of(plan, corpora_folder(config.plan, config.corpora))
        for source in found.values():
            if isinstance(source, str):
                raise BadInput(source)
        return {tag: source for tag, source in found.items() if isinstance(source, Source)}

    def _cost(self, config: RunConfig) -> int:
        conditions = self.effect(config).decides["conditions"]
        return sum(condition["forwards"] for condition in conditions.values())

    def _task(self, name: str, config: RunConfig) -> Task:
        plan = plan_of(config)
        # What the file says of a model is said again, so that it means the same from any folder.
        model = absolute_model(plan.model_name)
        own = config.model_copy(update={"model": model, "revision": plan.model.revision})
        tags = [condition.tag for condition in plan.conditions if condition.tag]
        return Task(
            id=name,
            label=f"{Path(model).name}: {', '.join(tags) or plan.run_name}",
            kind="run",
            config="whence.heads.run:RunConfig",
            function="whence.sweep.campaigns.heads_run:run_here",
            settings=resolved(own),
            output=f"runs/{name}",
            work=float(max(self._cost(config), 1)),
        )


def run_here(config: RunConfig) -> RunResult:
    """`run_plan` on the model of the worker's task before, where it is the same."""
    from whence.heads.conditions import load
    from whence.models.load import model_source
    from whence.sweep.campaigns.kept_model import kept_model

    if config.output_dir.is_dir():  # done, or refused, without a model
        return run_plan(config)
    plan = plan_of(config)
    device, keys = plan.device or "auto", plan.model
    held = {"revision": keys.revision, "dtype": keys.dtype, "device": device}
    with kept_model(
        model_source(plan.model_name),
        lambda: load(plan, device=device, dtype=keys.dtype),
        **held,
        trusted=keys.trust_remote_code,
    ) as loaded:
        return run_plan(config, loaded)


def _deciding(condition: Condition) -> dict[str, Any]:
    found = deciding_condition(condition)
    if not _drawn(condition):
        found["settings"] = {k: v for k, v in found["settings"].items() if k != "seeds"}
    return found


def _drawn(condition: Condition) -> bool:
    """Whether seeds change what a condition does."""
    resampled = getattr(condition.battery, "method", None) == "resample"
    return resampled or condition.settings.get("subsample") is not None
