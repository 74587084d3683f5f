"""Experiments taken apart: the pool scored once, each cell trained once, each verdict drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.data.arms import parse_arms
from whence.data.experiment.comparisons import BASE, ORACLE
from whence.data.experiment.one_cell import (
    CellConfig,
    CellResult,
    cell_inputs,
    cell_settings,
    data_cell,
)
from whence.data.experiment.rank import needs_adapter
from whence.data.experiment.settings import ExperimentConfig
from whence.data.finetune import FinetuneConfig
from whence.data.score import ScoreConfig
from whence.data.train import OptimSettings
from whence.models.settings import absolute_model
from whence.runs.config import resolved
from whence.sweep.campaigns.contents import Contents, deciding, task_id
from whence.sweep.tasks import Task

if TYPE_CHECKING:
    from whence.runs.manifest import Manifest

ADAPTER, SCORE, CELL, VERDICT = "adapter", "score", "cell", "verdict"
HERE = "whence.sweep.campaigns.experiment_steps"


@dataclass(frozen=True)
class Step:
    """A task with what it costs: texts read by a model, and whether it trains."""

    task: Task
    forwards: int
    trainings: int


def steps_of(
    run: str, config: ExperimentConfig, manifest: Manifest, home: Path, contents: Contents
) -> list[Step]:
    """The tasks of one experiment, itself last; of two experiments, equal work has equal ids.

    run: id of the experiment. manifest: its data, built.
    """
    config = config.model_copy(
        update={
            "manifest": manifest.path,
            "build": None,
            "base_model": absolute_model(config.base_model),
        }
    )
    steps: list[Step] = []
    adapter, scores = config.scoring_adapter, config.scores
    if needs_adapter(config):
        steps.append(_adapter(config, manifest, home, contents))
        adapter = home / steps[-1].task.output
    if scores is None:
        assert adapter is not None  # given, or the one above
        before = [step.task.id for step in steps]
        steps.append(_score(config, manifest, adapter, home, contents, before))
        scores = home / steps[-1].task.output
    shared = {home / step.task.output: step.task.id for step in steps}
    cells = [
        _cell(config, manifest, arm, seed, scores, adapter, home, contents, shared)
        for arm, seed in _all_cells(config)
    ]
    distinct = list({step.task.id: step for step in cells}.values())
    whole = config.model_copy(
        update={
            "scores": scores,
            "scoring_adapter": adapter,
            "cells": tuple(home / step.task.output for step in distinct),
            "output_dir": home / "runs" / run,
        }
    )
    verdict = Task(
        id=run,
        label=f"verdict on {len(cells)} cells",
        kind=VERDICT,
        config="whence.data.experiment:ExperimentConfig",
        function="whence.data.experiment:experiment",
        settings=resolved(whole),
        output=f"runs/{run}",
        needs=[step.task.id for step in (*steps, *distinct)],
    )
    return [*steps, *distinct, Step(verdict, 0, 0)]


def run_cell_here(config: CellConfig) -> CellResult:
    """`data_cell` on the model of the worker's task before, where it is the same."""
    from whence.models.load import model_source
    from whence.sweep.campaigns.kept_model import kept_model

    if config.output_dir.is_dir():  # done, or refused, without a model
        return data_cell(config)
    held = {"revision": config.revision, "dtype": config.dtype, "device": config.device}
    trusted = config.trust_remote_code
    with kept_model(model_source(config.base_model), config.load, **held, trusted=trusted) as base:
        return data_cell(config, base)


def _all_cells(config: ExperimentConfig) -> list[tuple[str, int | None]]:
    names = [arm.name for arm in parse_arms(config.arms)]
    if config.planted and config.planted.oracle:
        names.append(ORACLE)
    return [(BASE, None), *((name, seed) for seed in config.seeds for name in names)]


def _adapter(config: ExperimentConfig, manifest: Manifest, home: Path, contents: Contents) -> Step:
    lora, optim, seed = config.scoring_training()
    train = manifest.split(config.scoring_split)
    own = FinetuneConfig(
        **dict(lora),
        **dict(optim),
        **_model(config),
        manifest=manifest.path,
        train_split=train.name,
        max_length=config.max_length,
        seed=seed,
        output_dir=home,
    )
    inputs = {"train": contents.of(train.path), "model": contents.of(config.identity())}
    decides = {"settings": deciding(own, ["manifest", "base_model"]), "inputs": inputs}
    passes = rows_read(train.rows, own)
    return _shared(
        ADAPTER, "scoring adapter", own, decides, home, passes, contents, trainings=1,
        function="whence.data.finetune:finetune",
    )  # fmt: skip


def _score(
    config: ExperimentConfig,
    manifest: Manifest,
    adapter: Path,
    home: Path,
    contents: Contents,
    needs: list[str],
) -> Step:
    pool, query = manifest.split(config.pool_split), manifest.split(config.query_split)
    own = ScoreConfig(
        **dict(config.score),
        **_model(config),
        manifest=manifest.path,
        adapter_path=adapter,
        pool_split=pool.name,
        query_split=query.name,
        # The experiment draws its own arms; the smallest subsets that the command can draw do.
        subset_k=1,
        allow_random_overlap=True,
        match_on=(),
        output_dir=home,
    )
    inputs = {
        "pool": contents.of(pool.path),
        "query": contents.of(query.path),
        "adapter": contents.of(adapter),
        "model": contents.of(config.identity()),
    }
    apart = ["manifest", "base_model", "adapter_path"]
    decides = {"settings": deciding(own, apart), "inputs": inputs}
    return _shared(
        SCORE, f"scores of {pool.rows:,} rows", own, decides, home, pool.rows + query.rows,
        contents, needs=needs, function="whence.data.score:score",
    )  # fmt: skip


def _cell(
    config: ExperimentConfig,
    manifest: Manifest,
    arm: str,
    seed: int | None,
    scores: Path,
    adapter: Path | None,
    home: Path,
    contents: Contents,
    made: Mapping[Path, str],
) -> Step:
    own = cell_settings(
        config, arm, seed, manifest, scores=scores, adapter=adapter, output_dir=home
    )
    asked = cell_inputs(own.model_copy(update={"scores": None}), manifest)
    inputs = {name: contents.of(value) for name, value in asked.items() if value is not None}
    if own.scores is not None:
        inputs["scores"] = contents.of(own.scores)
    apart = ["base_model", "task_include_path"]
    decides = {"settings": deciding(own, apart), "inputs": inputs}
    rows = _rows(config, arm, manifest)
    judged = manifest.split(config.eval_split).rows * (1 + ("words" in config.judges))
    under = "" if seed is None else f", seed {seed}"
    forwards = rows_read(rows, own.optim) + judged
    return _shared(
        CELL, f"{own.arm}{under}", own, decides, home, forwards, contents,
        trainings=int(seed is not None),
        needs=[made[path] for path in (own.scores, own.scoring_adapter) if path and path in made],
        function=f"{HERE}:run_cell_here",
    )  # fmt: skip


def _shared(
    kind: str,
    label: str,
    own: Any,
    decides: Mapping[str, Any],
    home: Path,
    forwards: int,
    contents: Contents,
    *,
    function: str,
    trainings: int = 0,
    needs: list[str] | None = None,
) -> Step:
    name = f"{kind}-{task_id(kind, decides)}"
    output = home / "shared" / name
    contents.promise(output, name)
    shape = type(own)
    return Step(
        Task(
            id=name,
            label=label,
            kind=kind,
            config=f"{shape.__module__}:{shape.__name__}",
            function=function,
            settings=resolved(own.model_copy(update={"output_dir": output})),
            output=f"shared/{name}",
            needs=needs or [],
            work=float(max(forwards, 1)),
        ),
        forwards,
        trainings,
    )


def _model(config: ExperimentConfig) -> dict[str, Any]:
    names = ("base_model", "revision", "dtype", "device", "trust_remote_code")
    return {name: getattr(config, name) for name in names}


def _rows(config: ExperimentConfig, name: str, manifest: Manifest) -> int:
    """How many rows an arm trains on."""
    from whence.data.arms import target_of

    if name == BASE:
        return 0
    if name == ORACLE:
        return (config.planted.oracle or 0) if config.planted else 0
    arms = {arm.name: arm for arm in parse_arms(config.arms)}
    arm = arms[name]
    if arm.kind == "matched_random":
        kinds = {a.name: a.kind for a in arms.values() if a.kind != "matched_random"}
        arm = arms[target_of(arm, kinds)]
    if arm.kind == "full":
        return manifest.split(config.pool_split).rows
    if arm.kind == "window":
        return (arm.last or 0) - (arm.first or 1) + 1
    return arm.size or 0


def rows_read(rows: int, optim: OptimSettings) -> int:
    """Rows that a training reads. An optimizer step reads as many as it accumulates, and no more
    than there are."""
    if optim.max_steps is None:
        return round(rows * optim.num_train_epochs)
    batches = math.ceil(rows / optim.per_device_train_batch_size)
    steps = max(math.ceil(batches / optim.gradient_accumulation_steps), 1)
    return round(optim.max_steps * rows / steps)
