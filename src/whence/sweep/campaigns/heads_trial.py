"""Small runs that stand for those of a sweep of `heads run`: few rows of one corpus a model."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from whence.heads.conditions import Source
from whence.heads.corpora import Fields, read_corpus, read_split
from whence.heads.inputs import corpora_folder, sources_of
from whence.heads.plan import Condition, Plan
from whence.heads.run import RunConfig, plan_of
from whence.sweep.campaigns.trial import Sample
from whence.sweep.tasks import Task

ROWS = 32
"""Of the largest small run; the others have a quarter of them, and the first of those warms up."""


def samples_of(
    tasks: Sequence[Task], folder: Path, task_of: Callable[[str, RunConfig], Task]
) -> list[Sample]:
    """For each model its largest run, of one condition and a few rows.

    task_of: the task of a configuration, by its name.
    """
    planned: dict[str, list[Task]] = {}
    for task in tasks:
        planned.setdefault(str(task.settings["model"]), []).append(task)
    samples = []
    for number, own in enumerate(planned.values()):
        at = folder / str(number)
        config = RunConfig.model_validate(max(own, key=lambda task: task.work).settings)
        plan = plan_of(config)
        condition = plan.conditions[0]
        rows = _rows(condition, _source(plan, config))
        many = min(ROWS, len(rows))
        few = max(1, many // 4)
        small = [
            _cut(config, condition, rows, count, at / f"corpora-{turn}", at / f"runs/{turn}")
            for turn, count in enumerate((few, few, many))
        ]
        named = [task_of(each.output_dir.name, each) for each in small]
        samples.append(Sample(own, named, at))
    return samples


def _source(plan: Plan, config: RunConfig) -> Source:
    """Of the first condition; the plan has made sure that it is there."""
    found = sources_of(plan, corpora_folder(config.plan, config.corpora))
    source = found[plan.conditions[0].tag or ""]
    assert isinstance(source, Source)
    return source


def _rows(condition: Condition, source: Source) -> list[dict[str, Any]]:
    """Lines of the condition's corpus and part."""
    keys = condition.dataset
    fields = Fields(**{name: getattr(keys, name) for name in Fields.model_fields})
    rows = read_corpus(source.corpus, fields)
    if source.split is not None:
        part = read_split(source.split, len(rows), source.corpus).part(keys.split)
        rows = [rows[number] for number in sorted(part)]
    return [row.as_json(fields) for row in rows]


def _cut(
    config: RunConfig,
    condition: Condition,
    rows: Sequence[dict[str, Any]],
    count: int,
    corpora: Path,
    output: Path,
) -> RunConfig:
    """The same on rows from all over the corpus, so that their lengths are those of all."""
    chosen = [rows[number] for number in np.linspace(0, len(rows) - 1, count).astype(int)]
    file = corpora / f"{condition.dataset_id}.jsonl"
    file.parent.mkdir(parents=True)
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in chosen]
    file.write_text("".join(lines), encoding="utf-8")
    update: dict[str, Any] = {"corpora": corpora, "split": "all", "output_dir": output}
    if condition.settings.get("subsample") is not None:
        update["subsample"] = count
    if condition.tag:
        update["only"] = (condition.tag,)
    return config.model_copy(update=update)
