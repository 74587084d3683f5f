"""`whence anchors spans`: locate every sentence in its trace, and check what was located."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from whence.anchors.spans.source import Source, read_source
from whence.anchors.spans.tokens import Failure, Placed, PrependBos, place
from whence.models.settings import Loading
from whence.runs.config import OutputConfig
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json, read_jsonl, write_json, write_jsonl
from whence.runs.progress import track
from whence.runs.store import open_run
from whence.runs.tables import write_parquet

_SHOWN = 5
_WIDTH = 60


class SpansConfig(Loading, OutputConfig):
    """Locate every sentence in its trace, in characters and tokens, and check it."""

    read_by_content = frozenset({"metadata", "traces"})

    metadata: Path | None = Field(
        default=None, description="Table of sentences (sentence_metadata.parquet)."
    )
    traces: Path | None = Field(
        default=None,
        description="Traces as JSONL; by default traces.jsonl beside --metadata where there is "
        "one, else its sentences joined by blanks.",
    )
    model: str = Field(
        description="Model whose tokenizer reads the texts: a folder, a hub id, or tiny. Its "
        "weights are not loaded."
    )
    prepend_bos: PrependBos = Field(
        default="default",
        description="BOS before texts: default as the tokenizer does by itself, always, never.",
    )
    check: bool = Field(
        default=False,
        description="Decode the tokens of every sentence and compare; exit code 1 if any differ.",
    )


@dataclass(frozen=True)
class SpansResult:
    """How many sentences have a span, and which fail."""

    folder: Path
    summary: dict[str, Any]
    failures: list[dict[str, Any]]
    caution: str | None

    def finding(self) -> Finding:
        """The pass rate and the first failures."""
        total, failed = self.summary["sentences"], self.summary["failed"]
        verb = "placed and decoded back" if self.summary["checked"] else "placed"
        headline = (
            f"{total - failed:,} of {total:,} sentences ({(total - failed) / total:.2%}) of "
            f"{self.summary['traces']:,} traces were {verb}"
        )
        rows = [
            (f["problem_id"], str(f["chunk_idx"]), _short(f["expected"]), f["cause"])
            for f in self.failures[:_SHOWN]
        ]
        return Finding(
            headline=f"{headline}; {self.caution}." if self.caution else f"{headline}.",
            columns=("problem", "sentence", "text", "fails because"),
            rows=rows,
            files={
                "spans": self.folder / "spans.parquet",
                "failures": self.folder / "failures.jsonl",
            },
            failed=bool(self.summary["checked"] and failed),
        )


def spans(config: SpansConfig) -> SpansResult:
    """Write `spans.parquet` (one row a sentence), `failures.jsonl` and `summary.json`.

    Raises BadInput for texts that cannot be read, and for a tokenizer without offsets.
    """
    from whence.models.load import load_tokenizer, model_source

    source = read_source(config.metadata, config.traces)
    where = model_source(config.model)
    with open_run(
        config.output_dir,
        command="anchors spans",
        config=config,
        inputs={"texts": source.identity(), "tokenizer": _tokenizer_identity(where, config)},
        overwrite=config.overwrite,
    ) as run:
        if not run.done:
            tokenizer = load_tokenizer(
                config.model,
                revision=config.revision,
                trust_remote_code=config.trust_remote_code,
            )
            placed = [
                place(tokenizer, trace, config.prepend_bos)
                for trace in track(source.traces, label="spans", unit="traces")
            ]
            failures = [f for each in placed for f in each.failures(tokenizer, config.check)]
            _write(run.folder, source, placed, failures, config.check)
    return SpansResult(
        config.output_dir,
        read_json(config.output_dir / "summary.json"),
        read_jsonl(config.output_dir / "failures.jsonl"),
        source.caution(),
    )


def _write(
    folder: Path,
    source: Source,
    placed: Sequence[Placed],
    failures: Sequence[Failure],
    checked: bool,
) -> None:
    import pyarrow as pa

    rows = [
        {
            "problem_id": each.trace.problem_id,
            "chunk_idx": index,
            "char_start": None if characters is None else characters.start,
            "char_end": None if characters is None else characters.end,
            "token_start": None if tokens is None else tokens.start,
            "token_end": None if tokens is None else tokens.end,
            "chunk_text": sentence,
        }
        for each in placed
        for index, (sentence, characters, tokens) in enumerate(
            zip(each.trace.sentences, each.characters, each.tokens, strict=True)
        )
    ]
    whole = pa.int64()
    schema = pa.schema(
        [
            ("problem_id", pa.string()),
            *((name, whole) for name in ("chunk_idx", "char_start", "char_end")),
            *((name, whole) for name in ("token_start", "token_end")),
            ("chunk_text", pa.string()),
        ]
    )
    write_parquet(pa.Table.from_pylist(rows, schema=schema), folder / "spans.parquet")
    write_jsonl(folder / "failures.jsonl", map(asdict, failures))
    write_json(
        folder / "summary.json",
        {
            "traces": len(placed),
            "sentences": len(rows),
            "failed": len(failures),
            "pass_rate": (len(rows) - len(failures)) / len(rows),
            "checked": checked,
            "text_from": source.text_from,
            "tokens": sum(len(each.ids) for each in placed),
            "longest_trace_tokens": max(len(each.ids) for each in placed),
            "tokens_in_front": placed[0].front,
        },
    )


def _tokenizer_identity(source: str, config: SpansConfig) -> Any:
    """The files that decide how a text becomes tokens, or the hub id."""
    folder = Path(source)
    if not folder.is_dir():
        return f"{source}@{config.revision or 'main'}"
    names = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
    return [folder / name for name in names if (folder / name).is_file()]


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 1]}…"
