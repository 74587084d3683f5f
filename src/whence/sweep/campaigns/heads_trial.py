"""Small runs that stand for those of a sweep of `heads run`: few rows of each corpus."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from whence.heads.conditions import Source
from whence.heads.corpora import Fields, read_corpus, read_split
from whence.heads.inputs import corpora_folder, sources_of
from whence.heads.plan import Condition
from whence.heads.run import RunConfig, plan_of
from whence.sweep.campaigns.trial import Sample
from whence.sweep.tasks import Task

ROWS = 32
"""Of each condition in the largest small run; the others have a quarter of them, and the first of
those warms up."""
TWO = 2
"""Prompts that resampling needs at least."""


def samples_of(
    tasks: Sequence[Task], folder: Path, task_of: Callable[[str, RunConfig], Task]
) -> list[Sample]:
    """For each model its largest run, on a few rows of every corpus.

    task_of: the task of a configuration, by its name.
    """
    planned: dict[str, list[Task]] = {}
    for task in tasks:
        planned.setdefault(str(task.settings["model"]), []).append(task)
    samples = []
    for number, (model, own) in enumerate(planned.items()):
        at = folder / str(number)
        config = RunConfig.model_validate(max(own, key=lambda task: task.work).settings)
        plan = plan_of(config)
        sources = sources_of(plan, corpora_folder(config.plan, config.corpora))
        rows = {
            condition.dataset_id: _rows(condition, sources[condition.tag or ""])
            for condition in plan.conditions
        }
        drawn = [each.settings.get("subsample") for each in plan.conditions]
        subsample = min((each for each in drawn if each is not None), default=None)
        many = min(ROWS, subsample or max(map(len, rows.values())))
        few = min(many, max(TWO, many // 4))
        small = []
        for turn, count in enumerate((few, few, many)):
            update: dict[str, Any] = {"split": "all", "output_dir": at / "runs" / str(turn)}
            if subsample is None:
                update["corpora"] = _written(_cut(rows, count), at / f"corpora-{turn}")
            else:
                update["corpora"] = _written(rows, at / f"corpora-{turn}")
                update["subsample"] = count
            small.append(task_of(str(turn), config.model_copy(update=update)))
        samples.append(Sample(model, own, small, at))
    return samples


def _rows(condition: Condition, source: Source | str) -> list[dict[str, Any]]:
    """Lines of the condition's corpus and part."""
    assert isinstance(source, Source)  # the plan has made sure that it is there
    keys = condition.dataset
    fields = Fields(**{name: getattr(keys, name) for name in Fields.model_fields})
    rows = read_corpus(source.corpus, fields)
    if source.split is not None:
        part = read_split(source.split, len(rows), source.corpus).part(keys.split)
        rows = [rows[number] for number in sorted(part)]
    first = {row.clean: row for row in reversed(rows)}  # prompts that differ, as resampling needs
    return [row.as_json(fields) for row in rows if first[row.clean] is row]


def _cut(
    corpora: Mapping[str, list[dict[str, Any]]], count: int
) -> dict[str, list[dict[str, Any]]]:
    """Rows from all over each corpus, so that their lengths are those of all."""
    return {
        name: [rows[at] for at in np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)]
        for name, rows in corpora.items()
    }


def _written(corpora: Mapping[str, list[dict[str, Any]]], folder: Path) -> Path:
    for name, rows in corpora.items():
        file = folder / f"{name}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        file.write_text("".join(lines), encoding="utf-8")
    return folder
