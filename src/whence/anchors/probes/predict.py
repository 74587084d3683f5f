"""`whence anchors predict`: score the sentences of new traces with a saved probe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from whence.models.settings import Holding
from whence.runs.config import OutputConfig
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json, write_json
from whence.runs.store import open_run

if TYPE_CHECKING:
    import pandas as pd

    from whence.anchors.probes.reader import Reader
    from whence.anchors.probes.saved import SavedProbe
    from whence.anchors.traces import Trace
    from whence.runs.store import Run

TRACES_AT_ONCE = 8
"""A killed run loses these many at most; a model is taken apart once for them."""

_SHOWN = 10
_WIDTH = 60
COLUMNS = (
    "problem_id", "chunk_idx", "num_chunks", "chunk_text", "relative_position", "token_start",
    "token_end", "token_count",
)  # fmt: skip


class PredictConfig(Holding, OutputConfig):
    """Score every sentence of new traces with a probe that was trained before."""

    read_by_content: ClassVar[frozenset[str]] = frozenset({"input", "probe"})

    probe: Path = Field(
        description="Folder of a saved probe: <output-dir>/probes/<name> of `whence anchors train`."
    )
    input: Path = Field(description="Traces as JSONL: problem_id, text, sentences.")
    model: str | None = Field(
        default=None,
        description="Model that reads the traces: a folder, a hub id, or tiny. Needed by probes of "
        "activations, and by those that count tokens (its tokenizer alone).",
    )
    adapter: Path | None = Field(default=None, description="LoRA adapter to put on the model.")
    allow_other_model: bool = Field(
        default=False,
        description="Read with another model than the probe was trained on. Directions of one "
        "model mean nothing in another, unless it was made from it.",
    )
    top: int = Field(default=5, ge=1, description="Highest sentences to list of every trace.")


@dataclass(frozen=True)
class PredictResult:
    """top: the highest sentences of every trace. cautions: what a reader must know."""

    folder: Path
    summary: Mapping[str, Any]
    done: bool

    def finding(self) -> Finding:
        """How much was scored, and the highest sentence of the first traces."""
        said = self.summary
        headline = (
            f"{said['probe']} scored {said['sentences']:,} sentences of {said['traces']:,} traces"
        )
        cautions = "".join(f"; {each}" for each in said["cautions"])
        rows = [
            (
                trace["problem_id"],
                str(trace["top"][0]["chunk_idx"]),
                f"{trace['top'][0]['score']:.3f}",
                _short(trace["top"][0]["chunk_text"]),
            )
            for trace in said["highest"][:_SHOWN]
        ]
        return Finding(
            headline=f"{'Already done: ' if self.done else ''}{headline}{cautions}.",
            columns=("problem", "highest sentence", "score", "text"),
            rows=rows,
            files={
                "scores": self.folder / "predictions.parquet",
                "highest": self.folder / "top.json",
            },
        )


def predict(config: PredictConfig) -> PredictResult:
    """Write `predictions.parquet`, one row a sentence, and `top.json`.

    A killed run goes on with the traces that are missing. Raises BadInput where the probe, the
    traces or the model cannot be used, and where the model is not the one the probe was trained on.
    """
    from whence.anchors.features.identity import recorded_model

    model = None if config.model is None else recorded_model(config.model, config.revision)
    with open_run(
        config.output_dir,
        command="anchors predict",
        config=config,
        inputs={
            "probe": config.probe,
            "input": config.input,
            "model": model,
            "adapter": config.adapter,
        },
        overwrite=config.overwrite,
    ) as run:
        if not run.done:
            _predict(config, run)
    return PredictResult(config.output_dir, read_json(config.output_dir / "top.json"), run.done)


def _predict(config: PredictConfig, run: Run) -> None:
    import pandas as pd
    import pyarrow as pa

    from whence.anchors.features.identity import continue_reading_with
    from whence.anchors.probes.reader import reader_for
    from whence.anchors.probes.saved import load_probe
    from whence.anchors.sentences import ids_for_disk
    from whence.anchors.traces import read_traces
    from whence.runs.progress import track
    from whence.runs.tables import write_parquet

    saved = load_probe(config.probe)
    traces = read_traces(config.input)
    reader = reader_for(config, saved)
    if reader.model is not None:
        continue_reading_with(reader.model, run.scratch / "model.json")
    column = f"score_{saved.probe.name}"
    shards = [traces[i : i + TRACES_AT_ONCE] for i in range(0, len(traces), TRACES_AT_ONCE)]
    tables = [
        _scored(reader, saved, shard, column, run.scratch / "traces" / f"{index}.parquet")
        for index, shard in enumerate(track(shards, label="scoring", unit="batches of traces"))
    ]
    frame = pd.concat(tables, ignore_index=True)
    frame["problem_id"] = ids_for_disk(frame["problem_id"].tolist())
    write_parquet(
        pa.Table.from_pandas(frame, preserve_index=False), run.folder / "predictions.parquet"
    )
    write_json(run.folder / "top.json", _summary(saved, frame, column, config.top, reader))


def _scored(
    reader: Reader, saved: SavedProbe, traces: Sequence[Trace], column: str, path: Path
) -> pd.DataFrame:
    """The sentences of some traces with scores, computed or left by an earlier attempt."""
    import pandas as pd
    import pyarrow as pa

    from whence.runs.atomic import whole_file
    from whence.runs.tables import write_parquet

    if not path.exists():
        data = reader.read(traces)
        shown = [name for name in COLUMNS if name in data.frame.columns]
        frame = data.frame[shown].assign(**{column: saved.fitted.score(data)})
        with whole_file(path) as temporary:
            write_parquet(pa.Table.from_pandas(frame, preserve_index=False), temporary)
    return pd.read_parquet(path)


def _summary(
    saved: SavedProbe, frame: pd.DataFrame, column: str, top: int, reader: Reader
) -> dict[str, Any]:
    highest = []
    for problem, own in frame.groupby("problem_id", sort=False):
        best = own.sort_values(column, ascending=False, kind="stable").head(top)
        rows = zip(best["chunk_idx"], best["chunk_text"], best[column], strict=True)
        listed = [
            {"chunk_idx": int(index), "chunk_text": text, "score": float(score)}
            for index, text, score in rows
        ]
        highest.append({"problem_id": str(problem), "top": listed})
    return {
        "probe": saved.probe.name,
        "target": saved.about["target"],
        "residualize": saved.about["residualize"],
        "traces": len(highest),
        "sentences": len(frame),
        "cautions": list(reader.cautions),
        "highest": highest,
    }


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"
