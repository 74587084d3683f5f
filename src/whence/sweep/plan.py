"""`whence sweep plan`: what a stage will run, what it shares, and what that costs, before it runs.

Every configuration is checked here, so that none fails at hour nine for what could be known now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from whence.errors import BadInput
from whence.runs.config import OutputConfig
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json, write_json
from whence.runs.store import open_run
from whence.runs.validation import nearest
from whence.sweep.layout import MANIFEST, PLAN, TASKS, plan_folder
from whence.sweep.settings import CONFIG, StageSettings, Sweep

if TYPE_CHECKING:
    from whence.sweep.campaigns.campaign import Campaign
    from whence.sweep.campaigns.trial import Tried
    from whence.sweep.drafts import Draft
    from whence.sweep.entries import Entry
    from whence.sweep.tasks import Task


class PlanConfig(Sweep, OutputConfig):
    """Plan one stage of a sweep: manifest, tasks, cost. Nothing is run but a short trial."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"trial"})

    output_dir: Path = Field(description="Folder of the sweep, given to all its commands.")
    stage: str | None = Field(
        default=None, description="Which stage; default: the first. Later ones need its summary."
    )
    trial: bool = Field(
        default=True, description="Time a few pieces of work, to say how long the stage takes."
    )


@dataclass(frozen=True)
class PlanResult:
    """facts: what `plan.json` holds. home: the sweep's folder."""

    home: Path
    facts: Mapping[str, Any]
    done: bool

    def finding(self) -> Finding:
        """How many configurations, how many distinct runs, and what they cost."""
        from whence.sweep.told import headline, rows

        folder = plan_folder(self.home, self.facts["stage"])
        said = f"{'Already planned: ' if self.done else ''}{headline(self.facts)}"
        return Finding(
            f"{said} Next: whence sweep run {self.home}",
            columns=("", "", ""),
            rows=rows(self.facts),
            files={"plan": folder / "plan.md", "manifest": folder / MANIFEST},
        )


@dataclass(frozen=True)
class Planned:
    """Everything about a stage but its price in seconds."""

    stage: StageSettings
    entries: Sequence[Entry]
    tasks: Sequence[Task]
    facts: Mapping[str, Any]


def plan(config: PlanConfig) -> PlanResult:
    """Write `manifest.jsonl`, `tasks.jsonl`, `plan.json` and `plan.md` of a stage.

    Raises BadInput, naming factor values, where any configuration cannot run.
    """
    from whence.runs.fingerprint import fingerprint
    from whence.sweep.campaigns import of
    from whence.sweep.campaigns.trial import Tried
    from whence.sweep.entries import write_manifest
    from whence.sweep.price import priced
    from whence.sweep.summarize.finished import result_of
    from whence.sweep.tasks import write_tasks
    from whence.sweep.told import markdown

    order = [stage.name for stage in config.stages]
    config = _this_stage_alone(config)
    home = config.output_dir.absolute()
    campaign = of(config.command, config.rank)
    planned = _planned(config, campaign, home, order)
    with open_run(
        plan_folder(home, planned.stage.name),
        command="sweep plan",
        config=config,
        inputs={"configurations": fingerprint([entry.id for entry in planned.entries])[:16]},
        overwrite=config.overwrite,
    ) as run:
        if not run.done:
            done = {task.id for task in planned.tasks if result_of(home / task.output)}
            left = [task for task in planned.tasks if task.id not in done]
            wanted = config.trial and left
            found = _tried(campaign, planned.tasks, done) if wanted else Tried()
            facts = {**planned.facts, **priced(left, len(done), planned.facts["cost"], found)}
            write_manifest(run.folder / MANIFEST, planned.entries)
            write_tasks(run.folder / TASKS, planned.tasks)
            write_json(run.folder / PLAN, facts)
            (run.folder / "plan.md").write_text(markdown(facts), encoding="utf-8")
    facts = read_json(plan_folder(home, planned.stage.name) / PLAN)
    return PlanResult(config.output_dir, facts, run.done)


def _tried(campaign: Campaign, tasks: Sequence[Task], done: Set[str]) -> Tried:
    """What tasks that are not done cost."""
    from whence.sweep.campaigns.trial import tried

    with TemporaryDirectory(prefix="whence-trial-") as folder:
        samples = []
        for each in campaign.samples(tasks, done, Path(folder)):
            left = [task for task in each.planned if task.id not in done]
            samples += [replace(each, planned=left)] if left else []
        return tried(samples)


def _this_stage_alone(config: PlanConfig) -> PlanConfig:
    """Without stages that the planned one does not rest on: they may change without harm."""
    by_name = {stage.name: stage for stage in config.stages}
    name = config.stage or config.stages[0].name
    if name not in by_name:
        raise BadInput(f"--stage {name}: no such stage{nearest(name, list(by_name))}")
    needed: list[StageSettings] = []
    at: str | None = name
    while at is not None:
        needed.insert(0, by_name[at])
        refined = by_name[at].refine
        at = None if refined is None else refined.stage
    return config.model_copy(update={"stages": tuple(needed), "stage": name})


def _planned(config: PlanConfig, campaign: Campaign, home: Path, order: Sequence[str]) -> Planned:
    """order: names of all stages of the file."""
    from whence.sweep.bases import check_parity, read_bases, same_values
    from whence.sweep.collapse import collapsed, runs_of
    from whence.sweep.drafts import effects_of, entry_id, make_drafts
    from whence.sweep.entries import Entry
    from whence.sweep.factors import combinations
    from whence.sweep.inputs import inputs_of
    from whence.sweep.refine import best_of
    from whence.sweep.tasks import Resources, in_order

    stage = config.stages[-1]
    bases = read_bases(config.base, config.stages)
    starts: Sequence[Mapping[str, Any]] = ({},)
    if stage.refine is not None:
        starts = best_of(home, stage.refine)
    elif stage.configs:
        starts = [{CONFIG: name} for name in bases]

    def words(key: str, word: str) -> Sequence[Any]:
        return same_values(campaign, key, word, bases)

    drafts = make_drafts(campaign, bases, combinations(stage, words, starts), home)
    differ = check_parity(drafts, stage.may_differ) if stage.configs else {}
    shared: Mapping[str, Any] = {}
    if stage.share is not None:
        configs = [draft.config for draft in drafts]
        configs, shared = campaign.share_problems(configs, home, config.overwrite)
        drafts = [replace(draft, config=own) for draft, own in zip(drafts, configs, strict=True)]
    campaign.prepare([draft.config for draft in drafts], home, config.overwrite)
    effects = effects_of(campaign, drafts)
    names = runs_of(config.command, effects)
    ids = [
        entry_id(config.command, draft.config, effect.decides)
        for draft, effect in zip(drafts, effects, strict=True)
    ]
    entries = [
        Entry(
            id=name,
            stage=stage.name,
            setting=_setting_id(config.command, draft),
            factors=dict(draft.combination.factors),
            seed=dict(draft.combination.seed),
            run=run,
            output=f"runs/{run}",
            idle=dict(effect.idle),
        )
        for draft, name, effect, run in zip(drafts, ids, effects, names, strict=True)
    ]
    runs: dict[str, Any] = {}
    for draft, name in zip(drafts, names, strict=True):
        if name not in runs:
            output = home / "runs" / name
            runs[name] = draft.config.model_copy(update={"output_dir": output})
    tasks = campaign.tasks(runs, home)
    asked = {name: Resources(**found.model_dump()) for name, found in config.resources.items()}
    unknown = sorted(set(asked) - {task.kind for task in tasks})
    if unknown:
        kinds = sorted({task.kind for task in tasks})
        raise BadInput(f"resources: no task of kind {unknown[0]}; there are {', '.join(kinds)}")
    tasks = in_order([replace(t, resources=asked.get(t.kind, t.resources)) for t in tasks])
    cost = campaign.cost([draft.config for draft in drafts], runs)
    facts = {
        "name": config.name,
        "command": config.command,
        "stage": stage.name,
        "number": order.index(stage.name) + 1,
        "rank": config.rank.model_dump(),
        "per": _winners_per(stage),
        "differ": differ,
        "shared": dict(shared),
        "configurations": len(entries),
        "settings": len({entry.setting for entry in entries}),
        "runs": len(runs),
        "tasks": len(tasks),
        "kinds": _kinds(tasks),
        "inputs": inputs_of(tasks, home),
        "collapsed": [each.to_dict() for each in collapsed(drafts, ids, effects, names)],
        "cost": {**vars(cost), "notes": list(cost.notes)},
    }
    return Planned(stage, entries, tasks, facts)


def _winners_per(stage: StageSettings) -> list[str]:
    """Factors of which each value has a winner of its own: settings of several files, targets."""
    if stage.configs:
        return [CONFIG]
    return list(stage.refine.per) if stage.refine else []


def _setting_id(command: str, draft: Draft) -> str:
    from whence.runs.fingerprint import fingerprint

    settings = [draft.combination.factors, draft.without_seed]
    return fingerprint({"command": command, "settings": settings})[:16]


def _kinds(tasks: Sequence[Task]) -> dict[str, dict[str, float]]:
    """Kind → how many tasks, and how much work they are together."""
    found: dict[str, dict[str, float]] = {}
    for task in tasks:
        own = found.setdefault(task.kind, {"tasks": 0, "work": 0.0})
        own["tasks"] += 1
        own["work"] += task.work
    return found
