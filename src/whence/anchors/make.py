"""`whence anchors make`: reasoning traces of the tiny world, whose decisive sentences are planted.

A decisive sentence (the answer follows from it) is given a true importance of −`effect`: without it
the answer is right in 95 % − effect of rollouts, with it in 95 %. The label is measured as in the
field, by so many simulated rollouts of each kind, so that it has noise and a known standard error.
An effect of 0 gives labels of pure noise: nothing can predict them, and a probe that does is wrong.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from whence.runs.config import OutputConfig
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json, write_json
from whence.runs.store import open_run

if TYPE_CHECKING:
    from whence.anchors.traces import Trace
    from whence.tiny.traces import Trace as Planted

RIGHT = 0.95
"""Share of right answers with every sentence in place."""


class MakeConfig(OutputConfig):
    """Write traces of the tiny world, the planted importance of their sentences, and a split."""

    count: int = Field(default=60, ge=3, description="Traces, one of each problem.")
    seed: int = Field(default=0, description="Which draw of traces, of rollouts and of the split.")
    world_seed: int = Field(default=0, description="Which world; the shipped model knows world 0.")
    effect: float = Field(
        default=0.6,
        ge=0,
        le=RIGHT,
        description="Accuracy that is lost without a decisive sentence; 0: labels of pure noise.",
    )
    rollouts: int = Field(
        default=100,
        ge=0,
        description="Simulated rollouts with and without each sentence; 0: exact labels.",
    )


@dataclass(frozen=True)
class MakeResult:
    """about: what `summary.json` holds."""

    folder: Path
    about: Mapping[str, Any]
    done: bool

    def finding(self) -> Finding:
        """How much was made, and how noisy its labels are."""
        about = self.about
        return Finding(
            f"{'Already made: ' if self.done else ''}{about['problems']} traces of the tiny world, "
            f"{about['sentences']} sentences, {about['decisive']} of them decisive.",
            columns=("labels", ""),
            rows=[
                ("true importance of decisive sentences", f"{-about['effect']:.2f}"),
                ("rollouts of each kind", str(about["rollouts"] or "none: exact labels")),
                ("train / val / test", " / ".join(map(str, about["splits"].values()))),
            ],
            files={
                "sentences": self.folder / "sentence_metadata.parquet",
                "traces": self.folder / "traces.jsonl",
                "splits": self.folder / "splits.json",
            },
        )


def make(config: MakeConfig) -> MakeResult:
    """Write `traces.jsonl`, `sentence_metadata.parquet`, `splits.json`, `summary.json`.

    The same configuration gives the same bytes. The column `decisive` holds the planted truth; no
    probe reads it.
    """
    with open_run(
        config.output_dir,
        command="anchors make",
        config=config,
        overwrite=config.overwrite,
        seeds=[config.seed],
    ) as run:
        if not run.done:
            _write(config, run.folder)
    return MakeResult(config.output_dir, read_json(config.output_dir / "summary.json"), run.done)


def _write(config: MakeConfig, folder: Path) -> None:
    import pandas as pd

    from whence.anchors.sentences import problems_of, write_sentences
    from whence.anchors.spans.tokens import place
    from whence.anchors.splits import make_splits
    from whence.anchors.traces import Trace, reasoning_start, write_traces
    from whence.models.load import load_tokenizer
    from whence.tiny.traces import make_trace
    from whence.tiny.world import make_world

    world = make_world(config.world_seed)
    draw = random.Random(f"whence.anchors.make:{config.seed}")
    measure = random.Random(f"whence.anchors.make:rollouts:{config.seed}")
    tokenizer = load_tokenizer("tiny")
    traces: list[Trace] = []
    rows: list[dict[str, Any]] = []
    for index in range(config.count):
        planted = make_trace(world, draw)
        trace = Trace(
            f"trace-{index:05d}",
            planted.text,
            tuple(each.text for each in planted.sentences),
            reasoning_start(planted.text, planted.problem),
        )
        spans = place(tokenizer, trace, "default").tokens
        traces.append(trace)
        rows += _rows(trace, planted, spans, config, measure)
    frame = pd.DataFrame(rows)
    splits = make_splits(problems_of(frame), config.seed)
    write_traces(traces, folder / "traces.jsonl")
    write_sentences(frame, folder / "sentence_metadata.parquet")
    write_json(folder / "splits.json", splits)
    about = {
        "problems": len(traces),
        "sentences": len(frame),
        "decisive": int(frame["decisive"].sum()),
        "effect": config.effect,
        "rollouts": config.rollouts,
        "sign": "without the sentence minus with it: negative where it helps",
        "splits": {part: len(ids) for part, ids in splits.items()},
    }
    write_json(folder / "summary.json", about)


def _rows(
    trace: Trace,
    planted: Planted,
    spans: Sequence[Any],
    config: MakeConfig,
    measure: random.Random,
) -> list[dict[str, Any]]:
    rows = []
    last = max(len(trace.sentences) - 1, 1)
    for place, (sentence, span) in enumerate(zip(planted.sentences, spans, strict=True)):
        label, error = _measured(config.effect * sentence.decisive, config.rollouts, measure)
        rows.append(
            {
                "problem_id": trace.problem_id,
                "chunk_idx": place,
                "num_chunks": len(trace.sentences),
                "chunk_text": sentence.text,
                "function_tag": _tag(sentence.text),
                "importance_signed": label,
                "importance_se": error,
                "token_start": span.start,
                "token_end": span.end,
                "token_count": span.end - span.start,
                "relative_position": place / last,
                "decisive": sentence.decisive,
            }
        )
    return rows


def _measured(effect: float, rollouts: int, rng: random.Random) -> tuple[float, float]:
    """Accuracy without the sentence minus accuracy with it, and its standard error."""
    from whence.anchors.labels.accuracy import Tally, difference_error

    if not rollouts:
        return -effect, 0.0
    without, within = (
        Tally(sum(rng.random() < share for _ in range(rollouts)), rollouts)
        for share in (RIGHT - effect, RIGHT)
    )
    return without.accuracy - within.accuracy, difference_error(without, within)


def _tag(text: str) -> str:
    """What a tagger would say who sees the sentence alone."""
    if "+" in text:
        return "active_computation"
    return "fact_retrieval" if "shells." in text and " has " in text else "uncertainty_management"
