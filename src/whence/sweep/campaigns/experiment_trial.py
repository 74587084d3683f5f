"""Small experiments that stand for those of a sweep: few rows of each split, one arm, one seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.data.experiment.settings import ExperimentConfig
from whence.runs.manifest import (
    Split,
    load_manifest,
    read_split_table,
    write_manifest,
    write_split,
)
from whence.runs.ranking import read_ranking
from whence.sweep.campaigns.contents import Contents
from whence.sweep.campaigns.experiment_steps import ADAPTER, CELL, SCORE, VERDICT, Step, steps_of
from whence.sweep.campaigns.trial import Sample
from whence.sweep.tasks import Task

if TYPE_CHECKING:
    from whence.runs.manifest import Manifest

ROUNDS = (8, 16, 96)
"""Rows that a model reads in each task of a round; the first one warms up."""


@dataclass(frozen=True)
class Whole:
    """A planned experiment. made: kinds of the tasks that it waits for. trained, judged: rows that
    a cell of its model reads on average, in training and to be judged."""

    config: ExperimentConfig
    manifest: Manifest
    made: frozenset[str]
    trained: int
    judged: int


def samples_of(tasks: Sequence[Task], folder: Path, contents: Contents) -> list[Sample]:
    """For each model one of its experiments, in rounds of as few rows as `ROUNDS` says.

    contents: what is known of files, so that no model is hashed twice.
    """
    planned: dict[str, list[Task]] = {}
    for task in tasks:
        planned.setdefault(str(task.settings["base_model"]), []).append(task)
    samples = []
    for number, (model, own) in enumerate(planned.items()):
        at, whole = folder / str(number), _largest(own)
        small = [
            task
            for turn, rows in enumerate(ROUNDS)
            for task in _small(whole, rows, at, f"round-{turn}", contents)
        ]
        samples.append(Sample(model, own, small, at))
    return samples


def _largest(tasks: Sequence[Task]) -> Whole:
    """The experiment that waits for most kinds of tasks, and of those for most work; its adapters
    of the rank that those of all have on average."""
    known = {task.id: task for task in tasks}

    def size(verdict: Task) -> tuple[int, float]:
        needs = [known[need] for need in verdict.needs]
        return len({task.kind for task in needs}), sum(task.work for task in needs)

    verdict = max((task for task in tasks if task.kind == VERDICT), key=size)
    config = ExperimentConfig.model_validate(verdict.settings)
    assert config.manifest is not None  # `steps_of` has put it there
    manifest = load_manifest(config.manifest)
    cells = [task for task in tasks if task.kind == CELL]
    ranks = [t.settings["lora"]["lora_r"] for t in cells if t.settings["seed"] is not None]
    lora = config.lora.model_copy(update={"lora_r": round(np.mean(ranks))})
    judged = manifest.split(config.eval_split).rows * _times_judged(config)
    return Whole(
        config=config.model_copy(update={"lora": lora}),
        manifest=manifest,
        made=frozenset(known[need].kind for need in verdict.needs),
        trained=max(round(np.mean([task.work for task in cells])) - judged, 1),
        judged=judged,
    )


def _small(whole: Whole, rows: int, at: Path, turn: str, contents: Contents) -> list[Task]:
    """A round, in a folder of its own: of small splits all rounds are the same, and what is there
    already would be done at once."""
    config = whole.config
    trained, _ = _shares(rows, whole.trained, whole.judged)
    manifest = _cut(whole, rows, at / turn / "data")
    drawn = min(trained, manifest.split(config.pool_split).rows)
    # Few steps of a warm-up are steps of no size, and of gradients of nothing.
    unlike = {"max_steps", "warmup_ratio"}
    optim = {"max_steps": None, "warmup_ratio": 0.0, "num_train_epochs": trained / drawn}
    update: dict[str, Any] = {
        "arms": (f"random:{drawn}",),
        "seeds": config.seeds[:1],
        "compare": (),
        "rankings": {},
        "match_on": (),
        "planted": None,
        "cells": (),
        "judges": tuple(judge for judge in config.judges if judge != "bench") or ("loss",),
        "tasks": (),
        "optim": config.optim.model_copy(update=optim),
        "scoring_optim": {k: v for k, v in config.scoring_optim.items() if k not in unlike},
        "scoring_epochs": 1.0,
        "scores": None if SCORE in whole.made else _cut_scores(config, manifest),
    }
    if ADAPTER in whole.made:
        update["scoring_adapter"] = None
    small = config.model_copy(update=update)
    steps = steps_of("verdict", small, manifest, at / turn, contents)
    bench = "bench" in config.judges
    named = [
        replace(step.task, kind=_kind(step, bench), output=f"{turn}/{step.task.output}")
        for step in steps
    ]
    # Cells first, if they wait for nothing: they are most of what is planned.
    return sorted(named, key=lambda task: (bool(task.needs), task.kind != CELL))


def _kind(step: Step, bench: bool) -> str:
    """`cell` is one that trains, and is judged by nothing whose documents are not counted."""
    untold = step.task.kind == CELL and (bench or not step.trainings)
    return "untold cell" if untold else step.task.kind


def _shares(total: int, first: int, second: int) -> tuple[int, int]:
    """`total`, but no more than both, in two parts as `first` to `second`, neither of them 0."""
    total = min(total, first + second)
    part = min(max(round(total * first / (first + second)), 1), total - 1)
    return part, total - part


def _times_judged(config: ExperimentConfig) -> int:
    """How often a cell reads an eval row, as `steps_of` counts it."""
    return 1 + ("words" in config.judges)


def _cut(whole: Whole, rows: int, folder: Path) -> Manifest:
    """Data of which each task of a round reads about so many rows."""
    config = whole.config
    trained, judged = _shares(rows, whole.trained, whole.judged)
    wanted = {
        config.pool_split: trained,
        config.eval_split: math.ceil(judged / _times_judged(config)),
    }

    def want(split: str, count: int) -> None:
        wanted[split] = max(wanted.get(split, 0), count)

    if SCORE in whole.made:
        pool, query = (
            whole.manifest.split(n).rows for n in (config.pool_split, config.query_split)
        )
        ranked, asked = _shares(rows, pool, query)
        want(config.pool_split, ranked)
        want(config.query_split, asked)
    if ADAPTER in whole.made:
        want(config.scoring_split, rows)
    splits = {
        name: _cut_split(whole.manifest, name, count, folder) for name, count in wanted.items()
    }
    sections = {key: value for key, value in whole.manifest.raw.items() if key != "splits"}
    write_manifest(folder / "manifest.json", splits, sections)
    return load_manifest(folder / "manifest.json")


def _cut_split(manifest: Manifest, name: str, rows: int, folder: Path) -> Split:
    """Rows from all over the split, so that their lengths are typical."""
    table = read_split_table(manifest, name)
    chosen = np.linspace(0, table.num_rows - 1, min(rows, table.num_rows)).astype(int)
    path = folder / f"{name}.parquet"
    return Split(name, path, write_split(table.take(chosen), path))


def _cut_scores(config: ExperimentConfig, manifest: Manifest) -> Path:
    """Those of the given scores that are of the rows in `manifest`."""
    assert config.scores is not None  # for no task makes them
    ranking = read_ranking(config.scores)
    kept = set(read_split_table(manifest, config.pool_split)["row_id"].to_pylist())
    path = manifest.path.parent / "scores.parquet"
    write_split(ranking[ranking["row_id"].isin(kept)], path)
    return path
