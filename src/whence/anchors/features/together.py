"""Several extractions of the same texts in one pass: one folder a kind of vertical attention.

    D/<name>/      a whole folder of features, as `whence anchors extract` makes one

Layers and poolings are the same in all; what differs is how much later tokens attend to a sentence,
of which a folder holds one kind. Activations are kept in each, so that every folder stands alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from whence.anchors.features.extract import facts
from whence.anchors.features.identity import (
    continue_reading_with,
    features_fingerprint,
    front_of,
    model_identity,
    recorded_model,
)
from whence.anchors.features.plan import need_room
from whence.anchors.features.settings import CaptureSettings
from whence.anchors.features.storage import Plan, make_plan
from whence.anchors.features.wanted import Vertical, Wanted
from whence.anchors.spans.source import Source, read_source
from whence.anchors.spans.tokens import Placed
from whence.models.settings import Holding
from whence.runs.config import Config, OutputConfig
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json, write_json
from whence.runs.progress import Progress
from whence.runs.store import Run, open_run

if TYPE_CHECKING:
    from whence.anchors.features.reuse import Reuse
    from whence.models.anatomy import Anatomy

_ONE = ("vertical", "depth_control", "light_last_n_tokens", "full_max_seq_len", "per_head")


class VerticalKind(Config):
    """One kind of vertical attention, or none."""

    mode: Literal["off", "light", "full"] = Field(default="off", description="As --vertical.")
    depth_control: bool = Field(default=True, description="As of `whence anchors extract`.")
    light_last_n_tokens: int = Field(default=1, ge=1, description="Likewise.")
    full_max_seq_len: int = Field(default=1024, ge=1, description="Likewise.")

    def vertical(self) -> Vertical | None:
        """As traces are captured with it."""
        if self.mode == "off":
            return None
        return Vertical(
            self.mode, self.depth_control, self.light_last_n_tokens, self.full_max_seq_len
        )


class TogetherConfig(CaptureSettings, Holding, OutputConfig):
    """Capture the activations of every sentence under several kinds of vertical attention."""

    read_by_content: ClassVar[frozenset[str]] = frozenset({"reuse"})

    kinds: dict[str, VerticalKind] = Field(
        min_length=1, description="Folder below --output-dir → vertical attention that it holds."
    )
    adapter: Path | None = Field(default=None, description="LoRA adapter to put on the model.")
    reuse: Path | None = Field(
        default=None,
        description="Another output of this; what it has of the same texts is copied.",
    )

    @field_validator("kinds")
    @classmethod
    def _folders(cls, kinds: dict[str, VerticalKind]) -> dict[str, VerticalKind]:
        for name in kinds:
            if not name.replace("-", "").replace("_", "").isalnum():
                raise ValueError(f"{name!r} names a folder: letters, digits, - and _ only")
        return kinds

    @model_validator(mode="after")
    def _said_in_kinds(self) -> Self:
        given = [name for name in _ONE if name in self.model_fields_set]
        if given:
            raise ValueError(f"{given[0]}: vertical attention is said in kinds")
        return self


@dataclass(frozen=True)
class TogetherResult:
    """facts: name → its features.json. failures: traces left out of all, with their causes."""

    folder: Path
    facts: Mapping[str, Mapping[str, Any]]
    failures: Sequence[Mapping[str, str]]
    done: bool

    def finding(self) -> Finding:
        """How many traces were read, and what is in each folder."""
        first = next(iter(self.facts.values()))
        left_out = f"; {len(self.failures)} traces were left out" if self.failures else ""
        return Finding(
            f"{'Already done: ' if self.done else ''}{first['problems']:,} traces of "
            f"{first['tokens']:,} tokens read once, for {len(self.facts)} folders of "
            f"{len(first['layers'])} layers{left_out}.",
            columns=("folder", "vertical attention", "bytes"),
            rows=[
                (name, "off" if not own["vertical"] else own["vertical"]["mode"], own["bytes"])
                for name, own in self.facts.items()
            ],
            files={"features": self.folder},
        )


def extract_together(config: TogetherConfig) -> TogetherResult:
    """Fill a folder for every kind; each trace is read once. Killed, it goes on with the next.

    Arrays equal those of `whence anchors extract` as `capture_several` says. Raises as `extract`.
    """
    source = read_source(config.metadata, config.traces)
    with open_run(
        config.output_dir,
        command="anchors extract together",
        config=config,
        inputs={
            "texts": source.identity(),
            "model": recorded_model(config.model, config.revision),
            "adapter": config.adapter,
        },
        overwrite=config.overwrite,
    ) as run:
        if not run.done:
            _fill(config, source, run)
    folders = {name: config.output_dir / name for name in config.kinds}
    return TogetherResult(
        config.output_dir,
        {name: read_json(folder / "features.json") for name, folder in folders.items()},
        read_json(next(iter(folders.values())) / "failures.json"),
        run.done,
    )


def _fill(config: TogetherConfig, source: Source, run: Run) -> None:
    from whence.anchors.features.open_model import open_model
    from whence.anchors.features.store import problem_file, write_arrays, write_index

    whole = make_plan(config, source)
    verticals = {name: kind.vertical() for name, kind in config.kinds.items()}
    plans = {
        name: replace(whole, wanted=replace(whole.wanted, vertical=vertical))
        for name, vertical in verticals.items()
    }
    there = sum(path.stat().st_size for path in run.folder.glob("*/problem_*.safetensors"))
    need_room(sum(plan.total() for plan in plans.values()) - there, config.output_dir)
    loaded, anatomy = open_model(
        config.model,
        whole.shape,
        patterns=any(verticals.values()),
        adapter=config.adapter,
        revision=config.revision,
        dtype=config.dtype,
        device=config.device,
        trust_remote_code=config.trust_remote_code,
    )
    front = front_of(loaded, config.prepend_bos)
    model = model_identity(loaded)
    continue_reading_with(model, run.scratch / "model.json")
    key = features_fingerprint(model, front, config.storage_dtype)
    reuse = {name: _reuse(config.reuse, key, plan.wanted) for name, plan in plans.items()}

    def files(placed: Placed) -> dict[str, Path]:
        own = problem_file(placed.trace.problem_id)
        return {name: run.folder / name / own for name in plans}

    todo = [p for p in whole.placed if not all(file.exists() for file in files(p).values())]
    done = len(whole.placed) - len(todo)
    with Progress("extract", len(whole.placed), "traces", done=done) as progress:
        for placed in todo:
            arrays = _arrays(anatomy, placed, plans, reuse)
            for name, file in files(placed).items():
                write_arrays(arrays[name], file)
            progress.advance()
    for name, plan in plans.items():
        folder = run.folder / name
        write_index(plan.placed, folder / "sentences.parquet")
        write_json(folder / "failures.json", [asdict(each) for each in plan.unfit])
        write_json(folder / "features.json", facts(config, plan, model, front, key, folder))


def _arrays(
    anatomy: Anatomy, placed: Placed, plans: Mapping[str, Plan], reuse: Mapping[str, Reuse | None]
) -> dict[str, dict[str, Any]]:
    """name → arrays of a trace: copied where another extraction has them, else from one pass."""
    from whence.anchors.features.capture_trace import capture_several
    from whence.anchors.features.plan import checked_spans

    arrays: dict[str, dict[str, Any]] = {}
    missing: dict[str, Wanted] = {}
    for name, plan in plans.items():
        other, layers = reuse[name], plan.wanted.layers
        arrays[name] = {}
        if other is not None:
            arrays[name], layers = other.arrays(placed.trace)
        if layers:
            missing[name] = replace(plan.wanted, layers=layers)
    if missing:
        what = f"problem {placed.trace.problem_id}"
        found = capture_several(
            anatomy, placed.ids, checked_spans(placed), list(missing.values()), what
        )
        for name, own in zip(missing, found, strict=True):
            arrays[name] |= own
    return arrays


def _reuse(folder: Path | None, key: str, wanted: Wanted) -> Reuse | None:
    """The folder of another extraction that has this kind, or any where no kind is wanted."""
    from whence.anchors.features.reuse import open_reuse
    from whence.anchors.features.store import load

    settings = None if wanted.vertical is None else wanted.vertical.settings()
    for facts_file in sorted(folder.glob("*/features.json")) if folder else ():
        if settings is None or load(facts_file.parent).vertical == settings:
            return open_reuse(facts_file.parent, key, wanted)
    return None
