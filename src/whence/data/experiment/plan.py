"""What an experiment will do, settled and checked before a model is loaded.

Hours of training must not end in a mistake that could have been seen in the first second. So every
row that is needed is read here, and every arm drawn once from a stand-in ranking: how many rows an
arm takes, and from how many, does not depend on their order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whence.data.arms import Arm
from whence.data.draws import default_match_on, draw_arms
from whence.data.evaluate.bench_tasks import BenchTask, open_tasks
from whence.data.evaluate.guesses import target_words
from whence.data.experiment.comparisons import BASE, ORACLE
from whence.data.experiment.planted import Planted, read_planted
from whence.data.experiment.settings import ExperimentConfig
from whence.data.rankings import Sources, asked_rankings, check_rankings
from whence.errors import BadInput
from whence.runs.manifest import Manifest, read_split
from whence.runs.ranking import check_covers, read_ranking
from whence.text.embedding import TFIDF

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Plan:
    """pool, evaluation: rows of those splits. targets: the word each eval row asks for, if words
    are judged. given: the ranking that is not to be made, if one is given. asked: the rankings that
    arms name, and where. sources: what those are made from. bench: tasks that judge.
    """

    arms: Sequence[Arm]
    match_on: Sequence[str]
    pool: pd.DataFrame
    evaluation: pd.DataFrame
    targets: Sequence[str] | None
    given: pd.DataFrame | None
    asked: Mapping[str, str]
    sources: Sources
    planted: Planted | None
    bench: Sequence[BenchTask] = ()


def make_plan(config: ExperimentConfig, arms: Sequence[Arm], manifest: Manifest) -> Plan:
    """Read what the experiment needs. Raises BadInput for whatever could not be done with it."""
    pool, evaluation = (_read(manifest, split) for split in (config.pool_split, config.eval_split))
    match_on = config.match_on
    if match_on is None:
        match_on = default_match_on(manifest, pool.columns)
    given = None
    if config.scores is not None:
        given = read_ranking(config.scores)
        check_covers(given, pool, config.scores, manifest.split(config.pool_split))
    asked = asked_rankings(arms)
    sources = Sources(
        manifest=manifest,
        split=manifest.split(config.pool_split),
        pool=pool,
        scores=config.scores,
        given=config.rankings,
        query_split=config.query_split,
        embedding_model=config.embedding_model or TFIDF,
        device=config.device,
    )
    check_rankings(asked, sources, given)
    stand_in = pool[["row_id"]].assign(score=0.0) if given is None else given
    stand_ins = dict.fromkeys(asked, stand_in)
    draw_arms(arms, stand_in, pool, config.seeds[0], match_on=match_on, rankings=stand_ins)
    return Plan(
        arms=arms,
        match_on=match_on,
        pool=pool,
        evaluation=evaluation,
        targets=target_words(evaluation) if "words" in config.judges else None,
        given=given,
        asked=asked,
        sources=sources,
        planted=None if config.planted is None else read_planted(config.planted, pool),
        bench=_bench(config),
    )


def _bench(config: ExperimentConfig) -> list[BenchTask]:
    """The tasks that judge, loaded. Raises BadInput as `open_tasks` does."""
    if "bench" not in config.judges:
        return []
    tasks = open_tasks(config.tasks, config.task_include_path)
    for task in tasks:
        if not task.metrics[task.headline]:
            raise BadInput(
                f"tasks {task.name}: lower is better in its {task.headline}, which the report of "
                "an experiment cannot show; judge adapters by it with whence data eval-bench"
            )
    return tasks


def check_names(arms: Sequence[Arm]) -> None:
    """Raise BadInput for an arm whose name an experiment gives to an arm of its own."""
    for arm in arms:
        if arm.name in (BASE, ORACLE):
            raise BadInput(
                f'arms: "{arm.name}" is the name of an arm that every experiment has; '
                f"call yours otherwise, as in mine={arm.spec}"
            )


def _read(manifest: Manifest, split: str) -> pd.DataFrame:
    rows = read_split(manifest, split)
    if rows.empty:
        raise BadInput(f"{manifest.split(split).path}: the split {split} has no rows")
    return rows
