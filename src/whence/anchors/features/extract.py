"""`whence anchors extract`: one forward pass a trace, for all layers and poolings at once.

A trace is a file of its own, whole or not there, so a run that was killed goes on with the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from whence.anchors.features.identity import (
    continue_reading_with,
    features_fingerprint,
    front_of,
    model_identity,
    recorded_model,
)
from whence.anchors.features.plan import need_room, readable
from whence.anchors.features.settings import CaptureSettings
from whence.anchors.features.storage import Plan, make_plan
from whence.anchors.spans.source import Source, read_source, text_hash
from whence.anchors.spans.tokens import Placed
from whence.models.settings import Holding
from whence.runs.config import OutputConfig
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json, write_json
from whence.runs.progress import Progress
from whence.runs.store import Run, open_run

if TYPE_CHECKING:
    from whence.anchors.features.reuse import Reuse


class ExtractConfig(CaptureSettings, Holding, OutputConfig):
    """Capture the activations of every sentence, one forward pass a trace."""

    read_by_content: ClassVar[frozenset[str]] = frozenset({"reuse"})

    adapter: Path | None = Field(default=None, description="LoRA adapter to put on the model.")
    reuse: Path | None = Field(
        default=None,
        description="Another extraction; what it has of the same texts, model and dtypes is copied "
        "instead of computed.",
    )


@dataclass(frozen=True)
class ExtractResult:
    """A folder of features. facts: features.json. failures: traces left out, with their causes."""

    folder: Path
    facts: Mapping[str, Any]
    failures: list[dict[str, str]]
    caution: str | None
    done: bool

    def finding(self) -> Finding:
        """What was captured, how much it takes, and what to know about the texts."""
        facts = self.facts
        layers, poolings = facts["layers"], facts["poolings"]
        notes = [self.caution] if self.caution else []
        if self.failures:
            notes.append(f"{len(self.failures)} traces were left out (failures.json)")
        if fallen := facts["fallen_back_to_light"]:
            notes.append(
                f"{fallen} traces are longer than --full-max-seq-len, and their vertical attention "
                "is light"
            )
        rows = [
            ("layers", ", ".join(map(str, layers))),
            ("pooling", ", ".join(poolings)),
            ("vertical attention", "off" if not facts["vertical"] else facts["vertical"]["mode"]),
            ("tokens", f"{facts['tokens']:,}"),
            ("put in front of each text", facts["front"] or "nothing"),
            ("computed in, stored in", f"{facts['model']['compute_dtype']}, {facts['dtype']}"),
            ("on disk", readable(facts["bytes"])),
        ]
        if self.failures:
            rows.append(("first left out", "{problem_id}: {cause}".format(**self.failures[0])))
        done = "Already done: " if self.done else ""
        headline = (
            f"{done}{len(layers)} layers × {len(poolings)} poolings of {facts['sentences']:,} "
            f"sentences in {facts['problems']:,} traces"
        )
        return Finding(
            headline="; ".join([headline, *notes]) + ".",
            columns=("", "value"),
            rows=rows,
            files={"features": self.folder},
        )


def extract(config: ExtractConfig) -> ExtractResult:
    """Fill a folder that `whence.anchors.features.store.load` opens.

    All spans, lengths and bytes are checked before the model is loaded. Raises BadInput naming the
    trace that fails and the remedy, and where the disk cannot hold the result; WhenceError where
    activations are not finite or do not fit the storage type.
    """
    source = read_source(config.metadata, config.traces)
    with open_run(
        config.output_dir,
        command="anchors extract",
        config=config,
        inputs={
            "texts": source.identity(),
            "model": recorded_model(config.model, config.revision),
            "adapter": config.adapter,
        },
        overwrite=config.overwrite,
    ) as run:
        if not run.done:
            _extract(config, source, run)
    return ExtractResult(
        folder=config.output_dir,
        facts=read_json(config.output_dir / "features.json"),
        failures=read_json(config.output_dir / "failures.json"),
        caution=source.caution(),
        done=run.done,
    )


def _extract(config: ExtractConfig, source: Source, run: Run) -> None:
    from whence.anchors.features.capture_trace import capture_trace
    from whence.anchors.features.open_model import open_model
    from whence.anchors.features.plan import checked_spans
    from whence.anchors.features.reuse import open_reuse
    from whence.anchors.features.store import problem_file, write_arrays, write_index

    plan = make_plan(config, source)
    there = sum(path.stat().st_size for path in run.folder.glob("problem_*.safetensors"))
    need_room(plan.total() - there, config.output_dir)
    todo = [p for p in plan.placed if not (run.folder / problem_file(p.trace.problem_id)).exists()]
    loaded, anatomy = open_model(
        config.model,
        plan.shape,
        patterns=plan.wanted.vertical is not None,
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
    reuse = open_reuse(config.reuse, key, plan.wanted)
    done = len(plan.placed) - len(todo)
    with Progress("extract", len(plan.placed), "traces", done=done) as progress:
        for each in todo:
            arrays, wanted = _reused(reuse, each, plan)
            if wanted.layers:
                what = f"problem {each.trace.problem_id}"
                arrays |= capture_trace(anatomy, each.ids, checked_spans(each), wanted, what)
            write_arrays(arrays, run.folder / problem_file(each.trace.problem_id))
            progress.advance()
    write_index(plan.placed, run.folder / "sentences.parquet")
    write_json(run.folder / "failures.json", [asdict(each) for each in plan.unfit])
    write_json(run.folder / "features.json", facts(config, plan, model, front, key, run.folder))


def _reused(reuse: Reuse | None, placed: Placed, plan: Plan) -> tuple[dict[str, Any], Any]:
    """What another extraction has of a trace, and what is still to be captured."""
    from dataclasses import replace

    if reuse is None:
        return {}, plan.wanted
    arrays, missing = reuse.arrays(placed.trace)
    return arrays, replace(plan.wanted, layers=missing)


def facts(
    config: CaptureSettings,
    plan: Plan,
    model: dict[str, Any],
    front: list[int],
    key: str,
    folder: Path,
) -> dict[str, Any]:
    """The content of features.json, once the files of all traces are in `folder`."""
    vertical = plan.wanted.vertical
    fallen = 0
    if vertical is not None and vertical.mode == "full":
        fallen = sum(vertical.used(len(each.ids)) == "light" for each in plan.placed)
    return {
        "format": 1,
        "model": {**model, "revision": config.revision, **asdict(plan.shape)},
        "fingerprint": key,
        "prepend_bos": config.prepend_bos,
        "front": plan.tokenizer.decode(front) if front else "",
        "front_ids": front,
        "layers": plan.wanted.layers,
        "poolings": plan.wanted.poolings,
        "vertical": None if vertical is None else vertical.settings(),
        "per_head": bool(vertical and vertical.per_head),
        "fallen_back_to_light": fallen,
        "dtype": plan.wanted.storage_dtype,
        "text_from": plan.source.text_from,
        "problems": len(plan.placed),
        "sentences": sum(len(each.tokens) for each in plan.placed),
        "tokens": sum(len(each.ids) for each in plan.placed),
        "bytes": sum(path.stat().st_size for path in folder.glob("problem_*.safetensors")),
        "texts": {each.trace.problem_id: text_hash(each.trace) for each in plan.placed},
    }
