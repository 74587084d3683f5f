"""`whence anchors storage`: the bytes of an extraction, before it runs and without the weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from whence.anchors.features.plan import (
    Shape,
    Unfit,
    array_bytes,
    failures_of,
    free_bytes,
    index_bytes,
    longest_allowed,
    model_shape,
    readable,
)
from whence.anchors.features.settings import CaptureSettings
from whence.anchors.features.wanted import Wanted
from whence.anchors.spans.source import Source, read_source
from whence.anchors.spans.tokens import Placed, place
from whence.errors import BadInput
from whence.runs.finding import Finding
from whence.runs.progress import track

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class StorageConfig(CaptureSettings):
    """Say how many bytes an extraction with these settings would take."""

    output_dir: Path = Field(
        default=Path("runs/features"),
        description="Folder that the extraction would fill; its disk is looked at.",
    )


@dataclass(frozen=True)
class Plan:
    """What an extraction is going to do, all of it checked.

    placed: traces that can be captured. unfit: those that cannot, and are to be skipped.
    """

    source: Source
    placed: tuple[Placed, ...]
    unfit: tuple[Unfit, ...]
    shape: Shape
    wanted: Wanted
    tokenizer: PreTrainedTokenizerBase

    def arrays(self) -> dict[str, int]:
        """Bytes of each array, by name."""
        return array_bytes(self.placed, self.wanted, self.shape)

    def total(self) -> int:
        """Bytes of everything, at most."""
        return sum(self.arrays().values()) + index_bytes(self.placed, self.wanted)


@dataclass(frozen=True)
class StorageResult:
    """arrays: bytes of each, by name. index: of all else, at most. free: on the disk."""

    arrays: dict[str, int]
    index: int
    free: int
    output_dir: Path
    traces: int
    tokens: int
    unfit: int

    @property
    def total(self) -> int:
        return sum(self.arrays.values()) + self.index

    def finding(self) -> Finding:
        """Bytes of every array and in all, against what is free; failed where it does not fit."""
        fits = self.total <= self.free
        rows = [(name, f"{size:,}", readable(size)) for name, size in self.arrays.items()]
        rows.append(("index and headers (at most)", f"{self.index:,}", readable(self.index)))
        rows.append(("total", f"{self.total:,}", readable(self.total)))
        rows.append(("free on the disk", f"{self.free:,}", readable(self.free)))
        skipped = f" ({self.unfit} more are skipped)" if self.unfit else ""
        return Finding(
            headline=f"{readable(self.total)} for {self.traces:,} traces{skipped} of "
            f"{self.tokens:,} tokens: the disk of {self.output_dir} "
            f"{'holds' if fits else 'does not hold'} them.",
            columns=("array", "bytes", ""),
            rows=rows,
            failed=not fits,
        )


def storage(config: StorageConfig) -> StorageResult:
    """Count bytes from config.json, tokenizer and texts.

    Raises BadInput as `make_plan` does. Too little room is a result with exit code 1, not an error.
    """
    plan = make_plan(config, read_source(config.metadata, config.traces))
    return StorageResult(
        arrays=plan.arrays(),
        index=index_bytes(plan.placed, plan.wanted),
        free=free_bytes(config.output_dir),
        output_dir=config.output_dir,
        traces=len(plan.placed),
        tokens=sum(len(each.ids) for each in plan.placed),
        unfit=len(plan.unfit),
    )


def make_plan(config: CaptureSettings, source: Source) -> Plan:
    """Tokenize all traces and place their sentences; the model's weights are not needed.

    Raises BadInput naming the first trace that cannot be captured, unless `skip_failed`, and where
    none can.
    """
    from whence.models.load import load_tokenizer

    shape = model_shape(config.model, config.revision, config.trust_remote_code)
    wanted = config.wanted(shape)
    tokenizer = load_tokenizer(
        config.model, revision=config.revision, trust_remote_code=config.trust_remote_code
    )
    limit = longest_allowed(tokenizer, config.max_tokens)
    placed: list[Placed] = []
    unfit: list[Unfit] = []
    for trace in track(source.traces, label="placing sentences", unit="traces"):
        each = place(tokenizer, trace, config.prepend_bos)
        reasons = failures_of(each, tokenizer, limit)
        unfit += reasons
        placed += [] if reasons else [each]
    _accept(unfit, len(placed), config.skip_failed, source.path)
    return Plan(source, tuple(placed), tuple(unfit), shape, wanted, tokenizer)


def _accept(unfit: Sequence[Unfit], good: int, skip_failed: bool, path: Path) -> None:
    if not unfit or (skip_failed and good):
        return
    first = f"{path}: problem {unfit[0].problem_id}: {unfit[0].cause}"
    if skip_failed:
        raise BadInput(f"{first}; none of the {len(unfit)} traces can be captured")
    raise BadInput(
        f"{first} ({len(unfit)} of {len(unfit) + good} traces fail); {unfit[0].remedy}, or leave "
        "such traces out with --skip-failed"
    )
