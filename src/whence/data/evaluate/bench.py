"""Benchmarks of a base model and of adapters on it, document by document: `data eval-bench`.

Tasks, prompts and metrics are those of lm-evaluation-harness; the model is loaded once, and each
adapter is compared with the base on the same documents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from whence.data.evaluate.bench_tasks import (
    BenchTask,
    harness_version,
    metric_column,
    need_harness,
    open_tasks,
)
from whence.errors import BadInput
from whence.models.settings import ModelSettings
from whence.runs.atomic import whole_file
from whence.runs.config import OutputConfig, Words
from whence.runs.finding import Finding
from whence.runs.folder_names import told_apart
from whence.runs.jsonfile import read_json, write_json
from whence.runs.store import Run, open_run
from whence.runs.tables import write_parquet

if TYPE_CHECKING:
    import pandas as pd

BASE = "base"


class EvalBenchConfig(ModelSettings, OutputConfig):
    """Judge a base model and adapters on it by tasks of lm-evaluation-harness."""

    tasks: Words = Field(
        min_length=1,
        description="Tasks or groups of lm-evaluation-harness, as in ifeval,arc_easy.",
    )
    adapter_path: tuple[Path, ...] = Field(
        default=(), description="LoRA adapters to judge beside the base; an arm is named by folder."
    )
    include_path: Path | None = Field(
        default=None, description="Folder of further task files (YAML) in the harness's format."
    )
    limit: int | None = Field(
        default=None,
        ge=1,
        description="Documents of each task, from its first; for a trial, not for a result.",
    )
    num_fewshot: int | None = Field(
        default=None,
        ge=0,
        description="Worked examples before each question. Default: what each task says.",
    )
    apply_chat_template: bool = Field(
        default=False, description="Ask through the tokenizer's chat template."
    )
    batch_size: int = Field(default=8, ge=1, description="Requests answered at once.")


@dataclass(frozen=True)
class EvalBenchResult:
    """folder: where everything is. content: `bench.json`."""

    folder: Path
    content: Mapping[str, Any]
    done_before: bool

    def finding(self) -> Finding:
        """Each task's headline metric for every arm, and the first comparison in words."""
        tasks, comparisons = self.content["tasks"], self.content["comparisons"]
        arms = self.content["arms"]
        said = comparisons[0]["sentence"] if comparisons else "The base was measured"
        return Finding(
            headline=f"{'Already done: ' if self.done_before else ''}{said}",
            columns=("task", "metric", "documents", *arms),
            rows=[
                (
                    name,
                    task["headline"],
                    f"{task['documents']:,}",
                    *(_shown(task["metrics"][task["headline"]]["arms"][arm]) for arm in arms),
                )
                for name, task in tasks.items()
            ],
            files={
                "comparison": self.folder / "bench.json",
                "per document": self.folder / "items.parquet",
            },
        )


def eval_bench(config: EvalBenchConfig) -> EvalBenchResult:
    """Answer every task with the base and each adapter, on one loaded base, and compare.

    Killed and started again, tasks that an arm has finished are not answered again. Raises
    BadInput where the harness is not installed, for tasks as `open_tasks` does, and when the model
    or an adapter cannot be used.
    """
    need_harness()
    if len(set(config.tasks)) < len(config.tasks):
        raise BadInput("--tasks: one is given twice")
    arms = _arms(config.adapter_path)
    with open_run(
        config.output_dir,
        command="data eval-bench",
        config=config,
        inputs={
            "base_model": config.identity(),
            "tasks": config.include_path,
            "harness": harness_version(),
            **{f"adapter {name}": path for name, path in arms.items() if path},
        },
        overwrite=config.overwrite,
    ) as run:
        if not run.done:
            tasks = open_tasks(config.tasks, config.include_path, config.num_fewshot)
            items = _measure(config, arms, tasks, run)
            _write(config, list(arms), tasks, items, run)
    content = read_json(config.output_dir / "bench.json")
    return EvalBenchResult(config.output_dir, content, run.done)


def _arms(adapters: Sequence[Path]) -> dict[str, Path | None]:
    """Arm → adapter, the base first."""
    for at, adapter in enumerate(adapters):
        if adapter.resolve() in [other.resolve() for other in adapters[:at]]:
            raise BadInput(f"--adapter-path {adapter}: given twice")
        if not (adapter / "adapter_config.json").is_file():
            raise BadInput(f"{adapter}: no adapter_config.json; expected a LoRA adapter folder")
    names = told_apart(adapters)
    if BASE in names:
        raise BadInput(
            f'--adapter-path {adapters[names.index(BASE)]}: "{BASE}" is the name of the model '
            "without an adapter; rename the folder"
        )
    return {BASE: None, **dict(zip(names, adapters, strict=True))}


def _measure(
    config: EvalBenchConfig,
    arms: Mapping[str, Path | None],
    tasks: Sequence[BenchTask],
    run: Run,
) -> pd.DataFrame:
    """`task, doc_id, metric, arm, value` of all arms; what is there from before is read."""
    import pandas as pd
    import pyarrow as pa

    from whence.data.evaluate.bench_items import bench_items
    from whence.models.adapters import check_adapter, using_adapter

    places = {
        (arm, task.name): run.scratch / f"arm-{number}-task-{at}.parquet"
        for number, arm in enumerate(arms)
        for at, task in enumerate(tasks)
    }
    if not all(place.exists() for place in places.values()):
        base = config.load()
        for adapter in arms.values():
            if adapter is not None:
                check_adapter(base, adapter)
        for arm, adapter in arms.items():
            missing = [task for task in tasks if not places[arm, task.name].exists()]
            with using_adapter(base, adapter) as loaded:
                for task in missing:
                    items = bench_items(
                        loaded,
                        task,
                        limit=config.limit,
                        batch_size=config.batch_size,
                        apply_chat_template=config.apply_chat_template,
                    )
                    items.insert(3, "arm", arm)
                    with whole_file(places[arm, task.name]) as unfinished:
                        write_parquet(pa.Table.from_pandas(items, preserve_index=False), unfinished)
    return pd.concat([pd.read_parquet(place) for place in places.values()], ignore_index=True)


def _write(
    config: EvalBenchConfig,
    arms: Sequence[str],
    tasks: Sequence[BenchTask],
    items: pd.DataFrame,
    run: Run,
) -> None:
    import pyarrow as pa

    write_parquet(pa.Table.from_pandas(items, preserve_index=False), run.folder / "items.parquet")
    write_json(
        run.folder / "bench.json",
        {
            "base_model": config.base_model,
            "harness": harness_version(),
            "arms": list(arms),
            "tasks": {task.name: _task(task, items, arms) for task in tasks},
            "comparisons": compared(items, tasks, [(arm, BASE) for arm in arms if arm != BASE]),
        },
    )


def _task(task: BenchTask, items: pd.DataFrame, arms: Sequence[str]) -> dict[str, Any]:
    """Means of a task's metrics per arm, with intervals over documents."""
    own = items[items["task"] == task.name]
    first = next(iter(task.parts.values()))
    return {
        "headline": task.headline,
        "documents": int(own["doc_id"].nunique()),
        "version": (first.get_config("metadata") or {}).get("version"),
        "num_fewshot": first.get_config("num_fewshot"),
        "metrics": {
            metric: {
                "higher_is_better": better,
                "arms": {
                    arm: _mean(own[(own["metric"] == metric) & (own["arm"] == arm)]["value"])
                    for arm in arms
                },
            }
            for metric, better in task.metrics.items()
        },
        "left_out": list(task.left_out),
    }


def _mean(values: pd.Series) -> dict[str, Any]:
    from whence.stats import Interval, cluster_bootstrap

    found = cluster_bootstrap(values)
    value = float(values.mean())
    if isinstance(found, Interval):
        return {"value": value, "interval": [found.low, found.high]}
    return {"value": value, "interval": None, "reason": found.reason}


def compared(
    items: pd.DataFrame, tasks: Sequence[BenchTask], pairs: Sequence[tuple[str, str]]
) -> list[dict[str, Any]]:
    """The house's verdict on each task's headline metric for each (arm, control), q over all."""
    import pandas as pd

    from whence.stats.verdict import verdicts

    if not pairs:
        return []
    wide = pd.concat([headline_items(items, task).assign(seed=0) for task in tasks])
    metrics = {metric_column(task): task.metrics[task.headline] for task in tasks}
    found = verdicts(wide, pairs, metrics, leave_out_undefined=True)
    return [comparison.to_dict() for comparison in found]


def headline_items(items: pd.DataFrame, task: BenchTask) -> pd.DataFrame:
    """`row_id` (task and document), the headline metric as a column of its own, and the columns of
    `items` but `task, doc_id, metric, value`.
    """
    own = items[(items["task"] == task.name) & (items["metric"] == task.headline)]
    return own.assign(
        row_id=f"{task.name}/" + own["doc_id"], **{metric_column(task): own["value"]}
    ).drop(columns=["task", "doc_id", "metric", "value"])


def _shown(mean: Mapping[str, Any]) -> str:
    if mean["interval"] is None:
        return f"{mean['value']:.3f}"
    low, high = mean["interval"]
    return f"{mean['value']:.3f} [{low:.3f}, {high:.3f}]"
