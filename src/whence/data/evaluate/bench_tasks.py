"""Tasks of lm-evaluation-harness: found, loaded and checked before a model is.

A metric counts here if a task's value of it is the mean over its documents: only then can documents
be paired and resampled. What the harness sums up otherwise (perplexities, F1 over a corpus, the
instruction level of IFEval) is named and left out.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whence.errors import BadInput
from whence.models.adapters import first_line

INSTALL = "uv pip install 'whence[bench]'"
FEWSHOT_SEED = 1234
"""The harness's own default: the same examples as everybody's."""


@dataclass(frozen=True)
class BenchTask:
    """One task that was asked for. A group or tag (mmlu) is one task of all its parts' documents.

    parts: name → the harness's task. metrics: name → whether higher is better, the headline first.
    keys: name → (the harness's metric, its filter). left_out: metrics that are no mean over
    documents.
    """

    name: str
    parts: Mapping[str, Any]
    metrics: Mapping[str, bool]
    keys: Mapping[str, tuple[str, str]]
    left_out: Sequence[str]

    @property
    def headline(self) -> str:
        """The metric that comparisons are of: the task's own first."""
        return next(iter(self.metrics))


def need_harness() -> None:
    """Raise BadInput where lm-evaluation-harness is not installed; imports nothing."""
    if importlib.util.find_spec("lm_eval") is None:
        raise BadInput(f"benchmarks need lm-evaluation-harness: {INSTALL}")


def harness_version() -> str:
    """Which harness it is: tasks and how they are counted change with it."""
    from importlib.metadata import version

    return f"lm-eval {version('lm_eval')}"


def metric_column(task: BenchTask) -> str:
    """What a task's headline metric is called among the metrics of a verdict."""
    return f"{task.name} {task.headline}"


def open_tasks(
    names: Sequence[str], include_path: Path | None, num_fewshot: int | None = None
) -> list[BenchTask]:
    """Load tasks by name, with their data.

    include_path: folder of further task files (YAML); where it has all of them, the harness's own
    are not looked through. num_fewshot: worked examples before each question; tasks that fix 0 keep
    it, as in the harness.

    Raises BadInput for an unknown task, one whose data cannot be had or whose answers are run as
    code, and one without a metric that is a mean over documents.
    """
    need_harness()
    if include_path is not None and not include_path.is_dir():
        raise BadInput(f"{include_path}: no such folder of task files")
    with harness_kept_quiet():
        manager = _manager(names, include_path)
        known = list(manager.all_tasks)
        for name in names:
            if name not in known:
                raise BadInput(_unknown(name, known, include_path))
        return [_open(manager, name, num_fewshot) for name in names]


@contextlib.contextmanager
def harness_kept_quiet() -> Iterator[None]:
    """What the harness prints goes to stderr: stdout is for the finding."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def _manager(names: Sequence[str], include_path: Path | None) -> Any:
    from lm_eval.tasks import TaskManager

    if include_path is not None:
        own = TaskManager(include_path=str(include_path), include_defaults=False)
        if set(names) <= set(own.all_tasks):
            return own
    return TaskManager(include_path=include_path and str(include_path))


def _unknown(name: str, known: Sequence[str], include_path: Path | None) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    meant = f'; did you mean "{near[0]}"?' if near else ""
    # The harness passes over a file that it cannot read, and says nothing.
    own = include_path and f", and no readable file in {include_path} has one"
    return f'--tasks {name}: lm-evaluation-harness has no task "{name}"{own or ""}{meant}'


def _open(manager: Any, name: str, num_fewshot: int | None) -> BenchTask:
    try:
        parts: dict[str, Any] = manager.load([name])["tasks"]
    except Exception as error:  # whatever a task's file, its data or its own code raises
        raise BadInput(_not_loaded(name, error)) from error
    for part, task in parts.items():
        _refuse(name, part, task)
        fixed = task.get_config("num_fewshot")
        if num_fewshot is not None and fixed != 0:
            task.set_config(key="num_fewshot", value=num_fewshot)
        elif fixed is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=FEWSHOT_SEED)
    found = [_means(task) for task in parts.values()]
    keys = {metric: key for metric, key in found[0].items() if all(metric in f for f in found)}
    first = next(iter(parts.values()))
    every = dict.fromkeys(metric for task in parts.values() for metric in task.aggregation())
    left_out = [metric for metric in every if metric not in {key for key, _ in keys.values()}]
    if not keys:
        raise BadInput(
            f"--tasks {name}: none of its metrics ({', '.join(left_out)}) is a mean over "
            "documents, so documents cannot be paired; choose another task"
        )
    better = first.higher_is_better()
    return BenchTask(
        name=name,
        parts=parts,
        metrics={metric: bool(better.get(key, True)) for metric, (key, _) in keys.items()},
        keys=keys,
        left_out=left_out,
    )


def _means(task: Any) -> dict[str, tuple[str, str]]:
    """Metrics of a task that are means over documents: name → (metric, filter)."""
    filters = [each.name for each in getattr(task, "_filters", [])] or ["none"]
    return {
        metric if len(filters) == 1 else f"{metric} ({each})": (metric, each)
        for metric, gather in task.aggregation().items()
        if getattr(gather, "__name__", "") == "mean"
        for each in filters
    }


def _refuse(name: str, part: str, task: Any) -> None:
    if getattr(task, "UNSAFE_CODE", False):
        raise BadInput(
            f"--tasks {name}: {part} runs what the model writes as code on this machine, which "
            "Whence does not; choose another task"
        )
    if getattr(task, "MULTIMODAL", False):
        raise BadInput(f"--tasks {name}: {part} shows pictures, and the model reads text only")


def _not_loaded(name: str, error: Exception) -> str:
    seen: BaseException | None = error
    while seen is not None:
        if type(seen).__name__ in ("OfflineModeIsEnabled", "ConnectionError", "ConnectError"):
            return (
                f"--tasks {name}: its data set is not on this machine and the hub cannot be "
                "reached; load it once where there is a network, or give a folder of tasks of "
                "your own"
            )
        seen = seen.__cause__ or seen.__context__
    if isinstance(error, StopIteration):
        return f"--tasks {name}: its data set has no documents"
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"--tasks {name}: needs the Python package {error.name}: uv pip install {error.name}"
    return f"--tasks {name}: cannot be loaded ({type(error).__name__}: {first_line(error)})"
