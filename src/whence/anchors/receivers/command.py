"""`whence anchors receivers`: rank attention heads by how much they narrow in on sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from whence.anchors.features.plan import Unfit, checked_spans
from whence.anchors.features.wanted import layers_of
from whence.anchors.spans.source import Source, read_source
from whence.anchors.spans.tokens import Placed, PrependBos
from whence.errors import BadInput
from whence.models.settings import Holding
from whence.runs.config import OutputConfig, Words
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json, write_json
from whence.runs.progress import track
from whence.runs.store import Run, open_run

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from whence.anchors.features.storage import Plan

LEAST_SCORED = 4
"""Fewest sentences with a score from which a kurtosis says anything."""
HALVINGS = 100


class ReceiversConfig(Holding, OutputConfig):
    """Rank attention heads by how much later sentences narrow in on single earlier ones."""

    read_by_content: ClassVar[frozenset[str]] = frozenset({"metadata", "traces"})

    metadata: Path | None = Field(default=None, description="Table of sentences.")
    traces: Path | None = Field(
        default=None,
        description="Traces as JSONL; by default traces.jsonl beside --metadata where there is "
        "one, else its sentences joined by blanks, without prompts.",
    )
    model: str = Field(description="Model: a Hugging Face folder, a hub id, or tiny.")
    adapter: Path | None = Field(default=None, description="LoRA adapter to put on the model.")
    prepend_bos: PrependBos = Field(
        default="default",
        description="BOS before texts: default as the tokenizer does by itself, always, never.",
    )
    max_tokens: int | None = Field(
        default=None, ge=1, description="Most tokens a trace may have; default: model's positions."
    )
    skip_failed: bool = Field(
        default=False, description="Go on without traces that are too long or lack a sentence."
    )
    layers: Words = Field(
        default=("all",), description="Layers: mid, quartiles, all, or numbers and ranges."
    )
    proximity: int = Field(
        default=4,
        ge=1,
        description="Nearest later sentence that counts: i for sentence j where i ≥ j + this.",
    )
    draws: int = Field(
        default=20, ge=1, description="Draws of the control, which keeps distances alone."
    )
    top: int = Field(default=10, ge=1, description="Heads to name in receivers.json.")
    seed: int = Field(default=0, description="Seed of control, halves and intervals.")


@dataclass(frozen=True)
class ReceiversResult:
    """What was found: receivers.json."""

    folder: Path
    facts: Mapping[str, Any]
    caution: str | None

    def finding(self) -> Finding:
        """The heads that narrow in most, against what distance alone gives."""
        facts = self.facts
        rows = [
            (
                f"{row['layer']}.{row['head']}",
                f"{row['kurtosis']:.2f}",
                _interval(row, "low", "high"),
                f"{row['by_distance']:.2f}",
                f"{row['excess']:+.2f} {_interval(row, 'excess_low', 'excess_high')}",
                f"{row['first_sentence_share']:.0%}",
            )
            for row in facts["top"][:5]
        ]
        reliability = facts["split_half"]
        told = (
            facts["split_half_reason"]
            if reliability is None
            else f"Spearman {reliability:.2f} between halves of the traces"
        )
        notes = [
            f"{facts['heads_above_distance']} of {facts['heads']} heads narrow in more than "
            f"distance alone explains (interval above 0); order of heads: {told}",
            *([f"{facts['left_out']} traces were left out"] if facts["left_out"] else []),
            *([self.caution] if self.caution else []),
        ]
        return Finding(
            headline=f"{facts['traces']} traces: " + "; ".join(notes) + ".",
            columns=("head", "kurtosis", "interval", "by distance", "excess", "peak is first"),
            rows=rows,
            files={"heads": self.folder / "receivers.parquet"},
        )


def receivers(config: ReceiversConfig) -> ReceiversResult:
    """Write `receivers.parquet` (one row a head) and `receivers.json`.

    A trace's numbers are kept as soon as they are there, so a killed run goes on with the next.
    Raises BadInput where no trace is long enough, and as `whence anchors extract` does.
    """
    from whence.anchors.features.identity import recorded_model

    source = read_source(config.metadata, config.traces)
    with open_run(
        config.output_dir,
        command="anchors receivers",
        config=config,
        inputs={
            "texts": source.identity(),
            "model": recorded_model(config.model, config.revision),
            "adapter": config.adapter,
        },
        overwrite=config.overwrite,
        seeds=(config.seed,),
    ) as run:
        if not run.done:
            _receivers(config, source, run)
    return ReceiversResult(
        config.output_dir, read_json(config.output_dir / "receivers.json"), source.caution()
    )


def _receivers(config: ReceiversConfig, source: Source, run: Run) -> None:
    from whence.anchors.features.settings import CaptureSettings
    from whence.anchors.features.storage import make_plan

    shared = set(CaptureSettings.model_fields) & set(ReceiversConfig.model_fields)
    plan = make_plan(CaptureSettings(**{n: getattr(config, n) for n in shared}), source)
    least = config.proximity + LEAST_SCORED
    long_enough = [each for each in plan.placed if len(each.tokens) >= least]
    short = [
        Unfit(
            each.trace.problem_id,
            f"{len(each.tokens)} sentences, fewer than {least}",
            "lower --proximity",
        )
        for each in plan.placed
        if len(each.tokens) < least
    ]
    if not long_enough:
        raise BadInput(
            f"{source.path}: no trace has {least} sentences, which --proximity {config.proximity} "
            f"asks for (the longest has {max(len(each.tokens) for each in plan.placed)}); lower "
            "--proximity"
        )
    layers = layers_of(config.layers, plan.shape.n_layers)
    numbers = _measured(config, plan, long_enough, layers, run)
    _write(config, source, layers, numbers, [*plan.unfit, *short], run.folder)


def _measured(
    config: ReceiversConfig,
    plan: Plan,
    placed: Sequence[Placed],
    layers: Sequence[int],
    run: Run,
) -> dict[str, NDArray[np.float64]]:
    """kurtosis, by_distance and first (whether the peak is the first sentence), all
    [traces, layers, heads]."""
    import numpy as np
    from safetensors.numpy import load_file

    from whence.anchors.features.store import problem_file, write_arrays
    from whence.anchors.receivers.kurtosis import by_distance_alone, kurtosis, received
    from whence.anchors.receivers.matrix import sentence_matrices

    files = [run.scratch / problem_file(each.trace.problem_id) for each in placed]
    anatomy = None
    for at, (each, file) in enumerate(
        track(list(zip(placed, files, strict=True)), label="receivers", unit="traces")
    ):
        if file.exists():
            continue
        anatomy = anatomy or _anatomy(config, plan, run)
        matrices = sentence_matrices(anatomy, each.ids, checked_spans(each), layers)
        scores = received(matrices, config.proximity)
        rng = np.random.default_rng([config.seed, at])
        control = by_distance_alone(matrices, config.proximity, config.draws, rng)
        write_arrays(
            {
                "kurtosis": kurtosis(scores),
                "by_distance": control,
                "first": (scores.argmax(axis=-1) == 0).astype(np.float64),
            },
            file,
        )
    read = [load_file(file) for file in files]
    return {name: np.stack([one[name] for one in read]) for name in read[0]}


def _anatomy(config: ReceiversConfig, plan: Plan, run: Run) -> Any:
    from whence.anchors.features.identity import continue_reading_with, model_identity
    from whence.anchors.features.open_model import open_model

    loaded, anatomy = open_model(
        config.model,
        plan.shape,
        patterns=True,
        adapter=config.adapter,
        revision=config.revision,
        dtype=config.dtype,
        device=config.device,
        trust_remote_code=config.trust_remote_code,
    )
    continue_reading_with(model_identity(loaded), run.scratch / "model.json")
    return anatomy


def _write(
    config: ReceiversConfig,
    source: Source,
    layers: Sequence[int],
    numbers: Mapping[str, NDArray[np.float64]],
    left_out: Sequence[Unfit],
    folder: Path,
) -> None:
    import numpy as np
    import pyarrow as pa

    from whence.anchors.receivers.kurtosis import split_half
    from whence.anchors.receivers.table import heads_table
    from whence.runs.tables import write_parquet

    rows = heads_table(numbers, layers, config.seed)
    write_parquet(pa.Table.from_pylist(rows), folder / "receivers.parquet")
    traces = len(numbers["kurtosis"])
    known = [row for row in rows if row["kurtosis"] is not None]
    ranked = sorted(known, key=lambda row: -row["kurtosis"])
    reliability = split_half(
        numbers["kurtosis"].reshape(traces, -1), np.random.default_rng(config.seed), HALVINGS
    )
    reason = None
    if reliability is None:
        reason = f"{traces} traces and {len(known)} heads: too few to compare halves"
    above = [row for row in rows if row["excess_low"] is not None and row["excess_low"] > 0]
    write_json(
        folder / "receivers.json",
        {
            "traces": traces,
            "left_out": len(left_out),
            "left_out_because": [asdict(each) for each in left_out],
            "text_from": source.text_from,
            "proximity": config.proximity,
            "heads": len(rows),
            "heads_undefined": len(rows) - len(known),
            "heads_above_distance": len(above),
            "split_half": reliability,
            "split_half_reason": reason,
            "control": "values of equal distance between sentences change places",
            "top": ranked[: config.top],
        },
    )


def _interval(row: Mapping[str, Any], low: str, high: str) -> str:
    return "–" if row[low] is None else f"[{row[low]:.2f}, {row[high]:.2f}]"
