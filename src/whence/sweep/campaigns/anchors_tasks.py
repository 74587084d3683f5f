"""Work of many studies, shared: one pass over a text and model, then one evaluation a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.anchors.features.together import TogetherConfig, VerticalKind
from whence.anchors.features.wanted import POOLINGS, Pooling
from whence.anchors.spans.source import text_hash
from whence.anchors.study_steps import judging
from whence.anchors.traces import Trace, write_traces
from whence.runs.config import resolved
from whence.runs.fingerprint import fingerprint
from whence.sweep.campaigns.anchors_effect import layer_of, probes_of, seeds_of
from whence.sweep.campaigns.anchors_parts import Part, Texts
from whence.sweep.layout import TASKS
from whence.sweep.tasks import Task, read_tasks

if TYPE_CHECKING:
    from whence.anchors.study import StudyConfig

TOGETHER = "whence.anchors.features.together"
EVALUATE = "whence.anchors.evaluate"
SHUFFLES = 20
"""Refits of the shuffled-label check, as `ProbingConfig` has them."""


@dataclass(frozen=True)
class Run:
    """A configuration that is run: its data, and the fields of its features."""

    id: str
    config: StudyConfig
    part: Part

    @property
    def reads(self) -> set[str]:
        return {each for probe in probes_of(self.config) for each in probe.reads}

    @property
    def pooling(self) -> set[str]:
        return {"mean", "tokens"} if "tokens" in self.reads else {"mean"}

    @property
    def kind(self) -> VerticalKind:
        """Vertical attention that it reads, or none."""
        own = self.config.activations.vertical_attention
        return VerticalKind(**own.model_dump()) if "vertical" in self.reads else VerticalKind()

    @property
    def fits(self) -> int:
        """Fits of probes, those of the tripwires included."""
        return fits_of(self.config, self.part)


@dataclass
class Extraction:
    """One pass over the texts of some runs by one model. texts: of each data part."""

    key: str
    model: Mapping[str, Any]
    runs: list[Run] = field(default_factory=list)
    texts: list[Texts] = field(default_factory=list)
    traces: dict[str, Trace] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)

    def takes(self, texts: Texts) -> bool:
        """Whether every problem that both have is the same text in both."""
        return all(
            self.hashes.get(trace.problem_id, own) == own
            for trace in texts.source.traces
            for own in [text_hash(trace)]
        )

    def add(self, run: Run) -> None:
        self.runs.append(run)
        texts = run.part.texts
        if any(texts.content == each.content for each in self.texts):
            return
        self.texts.append(texts)
        for trace in texts.source.traces:
            self.traces[trace.problem_id] = trace
            self.hashes[trace.problem_id] = text_hash(trace)

    @property
    def layers(self) -> list[int]:
        return sorted({layer_of(run.config) for run in self.runs})

    @property
    def poolings(self) -> tuple[Pooling, ...]:
        return tuple(p for p in POOLINGS if any(p in run.pooling for run in self.runs))

    @property
    def kinds(self) -> dict[str, VerticalKind]:
        """Name → kind: those that are read; none at all only where none is."""
        read = {name_of(run.kind): run.kind for run in self.runs}
        if len(read) > 1:
            read.pop("off", None)
        return read

    @property
    def characters(self) -> int:
        return sum(len(trace.text) for trace in self.traces.values())

    @property
    def sentences(self) -> int:
        return sum(len(trace.sentences) for trace in self.traces.values())


def name_of(kind: VerticalKind) -> str:
    """Its folder."""
    if kind.mode == "off":
        return "off"
    return f"{kind.mode}-{fingerprint(kind.model_dump())[:8]}"


def extractions(runs: Sequence[Run], model_of: Mapping[str, str]) -> list[Extraction]:
    """Runs by the pass that serves them: one a model, dtype and BOS, unless a problem has two texts
    (as its right and its wrong solution)."""
    found: list[Extraction] = []
    for run in runs:
        key, model = _model(run.config, model_of)
        for each in found:
            if each.key == key and each.takes(run.part.texts):
                each.add(run)
                break
        else:
            found.append(Extraction(key, model))
            found[-1].add(run)
    return found


def tasks_of(found: Sequence[Extraction], home: Path) -> tuple[list[Task], list[bool]]:
    """An `extract` task for each, that of an earlier stage where it is done and has all that is
    wanted, and a `judge` task a run; and whether each extraction is such a one."""
    tasks: list[Task] = []
    done: list[bool] = []
    earlier = _done_before(home)
    first: dict[str, Task] = {}
    for each in found:
        before = _found_in(earlier, each)
        done.append(before is not None)
        extract = before or _extract(each, home, first.get(each.key))
        first.setdefault(each.key, extract)
        tasks.append(extract)
        tasks += [other for other in earlier if other.id in extract.needs]
        features = home / extract.output
        there = extract.settings["kinds"]
        for run in each.runs:
            own = name_of(run.kind)
            tasks.append(
                _judge(run, features / (own if own in there else min(there)), extract, home)
            )
    return list({task.id: task for task in tasks}.values()), done


def fits_of(config: StudyConfig, part: Part) -> int:
    """Fits that one configuration makes by itself."""
    trained = [probe for probe in probes_of(config) if probe.trained]
    count = sum(len(seeds_of(config)) if probe.seeded else 1 for probe in trained)
    if config.training.residualize_against != "none":
        count *= 2
    if config.split.strategy == "lopo_cv":
        count *= len(part.table.labelled)
    return count + (SHUFFLES + 1 if trained else 1)


def _model(config: StudyConfig, model_of: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """What must be equal to share a pass, and the settings that say it."""
    own = config.activations
    settings: dict[str, Any] = {
        "model": own.model_name_or_path,
        "dtype": own.dtype,
        "prepend_bos": own.prepend_bos,
        "storage_dtype": own.storage_dtype,
        "device": own.device,
        "skip_failed": config.skip_failed,
    }
    content = model_of[own.model_name_or_path]
    named = {k: v for k, v in settings.items() if k != "device" or own.dtype == "auto"}
    return fingerprint({**named, "model": content}), settings


def _extract(each: Extraction, home: Path, first: Task | None) -> Task:
    texts = fingerprint(sorted(each.hashes.items()))[:16]
    kinds = {name: kind.model_dump() for name, kind in sorted(each.kinds.items())}
    content = {
        "key": each.key,
        "texts": texts,
        "layers": each.layers,
        "pooling": each.poolings,
        "kinds": kinds,
    }
    name = fingerprint(content)[:16]
    # Where another pass has some of these very texts, they are copied and not read again.
    reused = first is not None and _overlap(each, first)
    config = TogetherConfig(
        **each.model,
        **_source(each, home / "shared" / f"texts-{texts}"),
        layers=[str(layer) for layer in each.layers],
        pooling=each.poolings,
        kinds=kinds,
        reuse=home / first.output if first is not None and reused else None,
        output_dir=home / "shared" / f"features-{name}",
    )
    layers = len(each.layers)
    settings = resolved(config)
    for given in ("vertical", "depth_control", "light_last_n_tokens", "full_max_seq_len"):
        del settings[given]
    del settings["per_head"]
    return Task(
        id=f"extract-{name}",
        label=f"{each.model['model']}: {len(each.traces)} traces, {layers} layers, "
        f"{'+'.join(each.poolings)}, vertical {'+'.join(kinds)}",
        kind="extract",
        config=f"{TOGETHER}:TogetherConfig",
        function=f"{TOGETHER}:extract_together",
        settings=settings,
        output=f"shared/features-{name}",
        needs=[first.id] if first is not None and reused else [],
        work=float(each.characters),
    )


def _source(each: Extraction, folder: Path) -> dict[str, Path]:
    """Flags that name the texts: those of the one data part, or all of several put together."""
    if len(each.texts) == 1:
        return {"metadata": each.texts[0].metadata, "traces": each.texts[0].path}
    path = folder / "traces.jsonl"
    if not path.is_file():
        write_traces(each.traces.values(), path)
    return {"traces": path}


def _overlap(each: Extraction, first: Task) -> bool:
    """Whether some text of `each` is among those of another pass, under the same name."""
    there = _hashes(first)
    return any(there.get(problem) == own for problem, own in each.hashes.items())


def _hashes(task: Task) -> dict[str, str]:
    """Problem → hash of its text, of an `extract` task; none where its texts are gone."""
    from whence.anchors.spans.source import read_source
    from whence.errors import BadInput

    places = [task.settings.get("metadata"), task.settings.get("traces")]
    try:
        source = read_source(*(None if place is None else Path(place) for place in places))
    except BadInput:
        return {}
    return {trace.problem_id: text_hash(trace) for trace in source.traces}


def _judge(run: Run, features: Path, extract: Task, home: Path) -> Task:
    config = run.config
    settings = judging(
        config,
        run.part.labels,
        features,
        config.output_dir,
        layer=layer_of(config),
        probes=tuple(probe.name for probe in probes_of(config)),
        page=False,
        shared=home / "shared" / "fits",
    )
    name = type(settings).__name__.removesuffix("Config").lower()
    target = config.labels.target_mode
    return Task(
        id=run.id,
        label=f"layer {layer_of(config)}, {target}, {len(probes_of(config))} probes",
        kind="judge",
        config=f"{EVALUATE}.{name}:{type(settings).__name__}",
        function=f"{EVALUATE}.{name}:{name}",
        settings=resolved(settings),
        output=f"runs/{run.id}",
        needs=[extract.id],
        work=float(run.fits),
    )


def _done_before(home: Path) -> list[Task]:
    """`extract` tasks of other plans whose folder is whole."""
    tasks: dict[str, Task] = {}
    for path in sorted(home.glob(f"plan/*/{TASKS}")):
        for task in read_tasks(path):
            if task.kind == "extract" and (home / task.output / "whence.json").is_file():
                tasks[task.id] = task
    return list(tasks.values())


def _found_in(earlier: Sequence[Task], each: Extraction) -> Task | None:
    """One that has all that is wanted, of these texts and perhaps others."""
    kinds = {name: kind.model_dump() for name, kind in each.kinds.items()}
    for task in earlier:
        own = task.settings
        same = all(own[name] == value for name, value in each.model.items() if name != "device")
        layers = {str(layer) for layer in each.layers} <= set(own["layers"])
        poolings = set(each.poolings) <= set(own["pooling"])
        held = own["kinds"]
        read = all(held.get(name) == kind for name, kind in kinds.items() if name != "off")
        if same and layers and poolings and read:
            there = _hashes(task)
            if all(there.get(problem) == text for problem, text in each.hashes.items()):
                return task
    return None
