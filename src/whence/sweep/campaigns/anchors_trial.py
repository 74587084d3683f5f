"""How long a pass and an evaluation take here, from a few seconds of both.

    python -m whence.sweep.campaigns.anchors_trial TASKS FOLDER PARENT

as `whence.sweep.campaigns.trial_process`, of one `extract` and one `judge` task: the pass on a few
of the texts, the evaluation whole, on random activations of the shape that the model would give.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.runs.jsonfile import write_json
from whence.sweep.campaigns.trial import Sample
from whence.sweep.campaigns.trial_process import Timing, note, serve
from whence.sweep.tasks import Task, read_tasks

if TYPE_CHECKING:
    from whence.anchors.features.storage import Plan
    from whence.anchors.features.together import TogetherConfig

TRACES = 3
DONE = "done pass"
"""Kind of a pass that an earlier stage made: its texts are placed, and it is not made again."""
IMPORTED = ("scipy.stats", "sklearn.feature_extraction.text", "sklearn.neural_network")
"""What an evaluation imports, and what of it a worker pays for once."""


def samples_of(tasks: Sequence[Task], done: Set[str], folder: Path) -> list[Sample]:
    """For each model its first pass that an evaluation waits for, and that evaluation; the pass
    under another kind where every pass of the model is done."""
    passes = {task.id: task for task in tasks if task.kind == "extract"}
    planned: dict[str, list[Task]] = {}
    small: dict[str, list[Task]] = {}
    for task in tasks:
        extract = next((passes[need] for need in task.needs if need in passes), None)
        if task.kind == "judge" and extract is not None:
            model = str(extract.settings["model"])
            if model not in small or small[model][0].id in done:
                kind = DONE if extract.id in done else extract.kind
                small[model] = [replace(extract, kind=kind), task]
            planned.setdefault(model, []).append(task)
    for task in passes.values():
        planned.setdefault(str(task.settings["model"]), []).append(task)
    return [
        Sample(model, own, small.get(model, []), folder / str(number), __name__)
        for number, (model, own) in enumerate(planned.items())
    ]


def main(spec: Path, folder: Path) -> None:
    """Time the pass, then the evaluation."""
    extract, judged = read_tasks(spec)
    plan, config = _planned(extract.settings, Path(judged.settings["features"]).name)
    if extract.kind != DONE:
        start, pace = _pass(config, plan)
        note(folder, Timing(extract.kind, 1.0, start + pace, first=True))
        note(folder, Timing(extract.kind, 1.0, pace))
    note(folder, Timing(judged.kind, 1.0, _evaluation(judged, config, plan, folder)))


def _planned(settings: Mapping[str, Any], kind: str) -> tuple[Plan, TogetherConfig]:
    """The texts of an `extract` task placed, for one of its kinds, and its configuration."""
    from whence.anchors.features.storage import make_plan
    from whence.anchors.features.together import TogetherConfig
    from whence.anchors.spans.source import read_source

    config = TogetherConfig(**settings)
    plan = make_plan(config, read_source(config.metadata, config.traces))
    vertical = config.kinds[kind].vertical()
    return replace(plan, wanted=replace(plan.wanted, vertical=vertical)), config


def _pass(config: TogetherConfig, plan: Plan) -> tuple[float, float]:
    """Seconds until the first trace is read, and then a character, over traces of middling
    length."""
    began = time.monotonic()
    from whence.anchors.features.capture_trace import capture_several
    from whence.anchors.features.open_model import open_model
    from whence.anchors.features.plan import checked_spans

    kinds = [kind.vertical() for kind in config.kinds.values()]
    _, anatomy = open_model(
        config.model,
        plan.shape,
        patterns=any(kinds),
        dtype=config.dtype,
        device=config.device,
        revision=config.revision,
        trust_remote_code=config.trust_remote_code,
    )
    wanted = [replace(plan.wanted, vertical=vertical) for vertical in kinds]
    by_length = sorted(plan.placed, key=lambda each: len(each.ids))
    middle = by_length[len(by_length) // 2 :][: TRACES + 1]
    started, characters, start = began, 0, 0.0
    for number, each in enumerate(middle):
        if number == 1:
            started, characters = time.monotonic(), 0
            start = started - began
        capture_several(anatomy, each.ids, checked_spans(each), wanted, each.trace.problem_id)
        characters += len(each.trace.text)
    return start, (time.monotonic() - started) / characters


def _evaluation(task: Task, config: TogetherConfig, plan: Plan, folder: Path) -> float:
    """Seconds a fit of one evaluation; imports are loaded before the clock starts."""
    from whence.anchors.study_steps import judge
    from whence.commands import load

    _random_features(config, plan, folder / "features")
    shape = load(task.config)
    settings = {
        **task.settings,
        "features": folder / "features",
        "output_dir": folder / "judged",
        "shared": None,
        "layer": plan.wanted.layers[0],
    }
    for module in IMPORTED:
        importlib.import_module(module)
    started = time.monotonic()
    judge(shape(**settings))
    return (time.monotonic() - started) / task.work


def _random_features(config: TogetherConfig, plan: Plan, folder: Path) -> None:
    """A folder of features with random numbers in the arrays of one layer."""
    import numpy as np

    from whence.anchors.features.extract import facts
    from whence.anchors.features.plan import checked_spans
    from whence.anchors.features.store import problem_file, write_arrays, write_index

    layer = plan.wanted.layers[0]
    own = replace(plan, wanted=replace(plan.wanted, layers=(layer,)))
    rng = np.random.default_rng(0)
    for each in own.placed:
        tokens = sum(span.end - span.start for span in checked_spans(each))
        arrays = {}
        for name in own.wanted.names(layer):
            rows = tokens if name.endswith(".tokens") else len(each.tokens)
            size = (rows,) if name.endswith(".vertical") else (rows, plan.shape.d_model)
            arrays[name] = rng.normal(size=size).astype(np.float32)
        write_arrays(arrays, folder / problem_file(each.trace.problem_id))
    write_index(own.placed, folder / "sentences.parquet")
    write_json(folder / "failures.json", [asdict(each) for each in own.unfit])
    model = {"name": config.model, "content": "random", "adapter": None, "compute_dtype": "none"}
    write_json(folder / "features.json", facts(config, own, model, [], "random", folder))


if __name__ == "__main__":
    serve(main)
