"""`whence anchors labels`: a table of sentences, each with its importance and standard error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from whence.anchors.labels.names import DEFAULT, Importance
from whence.anchors.labels.published import Zeros
from whence.anchors.labels.settings import RecomputeSettings
from whence.errors import BadInput
from whence.runs.config import OutputConfig
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json, write_json, write_jsonl
from whence.runs.progress import track
from whence.runs.store import open_run

if TYPE_CHECKING:
    import pandas as pd

    from whence.anchors.labels.table import Kept
    from whence.anchors.traces import Trace
    from whence.runs.store import Run

Source = Literal["published", "rollouts"]


class LabelsConfig(RecomputeSettings, OutputConfig):
    """Label the sentences of an index, of an earlier table, or of traces that carry labels.

    Signs are the published ones and not one another's: a counterfactual accuracy is negative where
    the sentence helps the right answer, a resampling or forced accuracy is positive there, a KL has
    no direction. Nothing turns them round.
    """

    index: Path | None = Field(
        default=None, description="Folder of `whence anchors index`: label its problems."
    )
    from_metadata: Path | None = Field(
        default=None,
        description="Labelled table (sentence_metadata.parquet of the earlier study, or of this "
        "command) to take labels from; traces are its sentences joined by blanks.",
    )
    traces: Path | None = Field(
        default=None, description="traces.jsonl whose sentences may carry a label."
    )
    label_key: str | None = Field(
        default=None,
        description="Key of a sentence in --traces that holds its label; default importance. true "
        "and false are 1 and 0. <key>_se is its standard error.",
    )
    importance: Importance = Field(
        default=DEFAULT,
        description="Which importance is the label; the others are columns beside it. "
        "Counterfactual accuracy: without the sentence minus with it, negative where it helps. "
        "Resampling and forced: with minus without, positive where it helps.",
    )
    source: Source = Field(
        default="published",
        description="Of --index: read chunks_labeled.json, or recompute from the rollouts, which "
        "gives standard errors.",
    )
    zeros: Zeros = Field(
        default="auto",
        description="What an exact 0 means where rollouts are not at hand: auto takes it as "
        "missing where the published files show that nothing was compared, and as 0 elsewhere; "
        "keep as 0; missing as missing.",
    )
    drop_last_chunk: bool = Field(
        default=True,
        description="Of --index: leave out the last sentence of each trace, which none follows.",
    )
    tokenizer: str | None = Field(
        default=None,
        description="Model whose tokenizer places each sentence (token_start, token_end, "
        "token_count): a folder, a hub id, or tiny.",
    )
    splits: Path | None = Field(
        default=None,
        description="splits.json to keep beside the table; by default that of --index, else a "
        "draw with --seed.",
    )

    @model_validator(mode="after")
    def _one_input(self) -> Self:
        given = [name for name in ("index", "from_metadata", "traces") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError("give one of index, from_metadata and traces")
        if self.source == "rollouts" and self.index is None:
            raise ValueError("source rollouts needs index: a table or traces have no rollouts")
        if self.source == "rollouts" and self.zeros == "missing":
            raise ValueError("zeros missing: with source rollouts a 0 was measured; use auto")
        if self.label_key is not None and self.traces is None:
            raise ValueError("label_key is a key of sentences in traces; give traces")
        return self


@dataclass(frozen=True)
class LabelsResult:
    """summary: the content of `summary.json`."""

    folder: Path
    summary: Mapping[str, Any]
    done: bool

    def finding(self) -> Finding:
        """How many sentences have a label, why the others have none, and the sign."""
        about = self.summary
        name = about["importance"] or about["label_key"]
        headline = (
            f"{'Already labelled: ' if self.done else ''}{about['labelled']:,} of "
            f"{about['sentences']:,} sentences of {about['problems']} problems have a label "
            f"({name})."
        )
        share = about["zeros"]["share"]
        exact = "" if share is None else f" ({share:.1%} of labels)"
        rows = [
            *((f"missing: {cause}", f"{count:,}") for cause, count in about["missing"].items()),
            ("exactly 0", f"{about['zeros']['count']:,}{exact}"),
            ("with a standard error", f"{about['standard_errors']:,}"),
            ("sign", about["sign"]),
        ]
        if about["zeros"]["note"]:
            rows.append(("zeros", about["zeros"]["note"]))
        files = {
            "sentences": self.folder / "sentence_metadata.parquet",
            "traces": self.folder / "traces.jsonl",
            "summary": self.folder / "summary.json",
        }
        if about["splits"]:
            files["splits"] = self.folder / "splits.json"
        return Finding(headline, ("labels", ""), rows, files)


def labels(config: LabelsConfig) -> LabelsResult:
    """Write `sentence_metadata.parquet`, `traces.jsonl`, `splits.json` and `summary.json`.

    Recomputation keeps each problem as it is done; killed, it goes on with the next. Raises
    BadInput for inputs that are absent or of another shape, naming file and entry.
    """
    with open_run(
        config.output_dir,
        command="anchors labels",
        config=config,
        inputs=_inputs(config),
        overwrite=config.overwrite,
        seeds=[config.seed],
    ) as run:
        if not run.done:
            _write(config, run)
    summary = read_json(config.output_dir / "summary.json")
    return LabelsResult(config.output_dir, summary, run.done)


def _inputs(config: LabelsConfig) -> dict[str, Any]:
    from whence.anchors.labels.similarity import embedding_identity
    from whence.anchors.rollouts.opened import Index

    inputs: dict[str, Any] = {
        "metadata": config.from_metadata,
        "traces": config.traces,
        "splits": config.splits,
    }
    if config.index is not None:
        rollouts = config.source == "rollouts"
        index = Index.open(config.index)
        inputs |= {"index": index.path, "files": index.content(with_rollouts=rollouts)}
        if rollouts:
            inputs["embedding_model"] = embedding_identity(config.embedding_model)
    if config.tokenizer is not None:
        inputs["tokenizer"] = _tokenizer_identity(config.tokenizer)
    return inputs


def _write(config: LabelsConfig, run: Run) -> None:
    from whence.anchors.labels.summary import summarise, without_reasons
    from whence.anchors.sentences import ids_for_disk, problems_of, write_sentences
    from whence.anchors.traces import trace_line

    frame, traces, notes = _labelled(config, run)
    if config.tokenizer is not None:
        frame = _with_tokens(frame, traces, config.tokenizer)
    problems = problems_of(frame)
    splits = _splits(config, problems)
    importance = None if config.traces is not None else config.importance
    about = summarise(frame, importance)
    about["zeros"] |= {"policy": config.zeros, "note": _about_zeros(config, about)}
    write_sentences(without_reasons(frame), run.folder / "sentence_metadata.parquet")
    rows = zip(ids_for_disk([trace.problem_id for trace in traces]), traces, strict=True)
    text_from = {} if config.from_metadata is None else {"text_from": "sentences"}
    write_jsonl(
        run.folder / "traces.jsonl",
        ({"problem_id": each, **trace_line(trace), **text_from} for each, trace in rows),
    )
    if splits is not None:
        write_json(run.folder / "splits.json", splits)
    counts = {part: len(ids) for part, ids in splits.items()} if splits else None
    write_json(run.folder / "summary.json", {**about, **notes, "splits": counts})


def _labelled(config: LabelsConfig, run: Run) -> tuple[pd.DataFrame, list[Trace], dict[str, Any]]:
    """The table, its traces, and what else the summary says."""
    from whence.anchors.labels.given import from_metadata, from_traces
    from whence.anchors.labels.summary import NO_ERRORS

    zeros_missing = config.zeros == "missing"
    if config.index is not None:
        return _from_index(config, run)
    notes: dict[str, Any] = {"label_key": None, "standard_error_method": NO_ERRORS}
    if config.from_metadata is not None:
        notes |= {"source": "metadata", "text": "sentences joined by blanks, without the prompt"}
        notes["standard_error_method"] = "as in the table that was given"
        return *from_metadata(config.from_metadata, config.importance, zeros_missing), notes
    assert config.traces is not None
    key = config.label_key or "importance"
    notes |= {"source": "traces", "label_key": key}
    notes["standard_error_method"] = "as given"
    required = config.label_key is not None
    return *from_traces(config.traces, key, required, zeros_missing), notes


def _from_index(config: LabelsConfig, run: Run) -> tuple[pd.DataFrame, list[Trace], dict[str, Any]]:
    from whence.anchors.labels.measure import Recomputer
    from whence.anchors.labels.published import published
    from whence.anchors.labels.summary import ERRORS_BY_ROLLOUTS, NO_ERRORS
    from whence.anchors.labels.table import frame_of, rows_of
    from whence.anchors.rollouts.opened import Index

    assert config.index is not None
    index = Index.open(config.index)
    recompute = Recomputer(index, config, run.scratch / "problems")
    kept: list[Kept] = []
    left_out: list[Kept] = []
    for each in track(index.problem_ids, label=f"labels ({config.source})", unit="problems"):
        problem = index.problem(each)
        if config.source == "published":
            if not problem.labelled:
                raise BadInput(
                    f"{problem.place}: no chunks_labeled.json, so nothing is published of it; use "
                    "--source rollouts, or leave it out of the index with --problem-ids"
                )
            measured = published(problem, config.zeros)
        else:
            measured = recompute(problem)
        own = rows_of(problem, measured, config.importance, config.drop_last_chunk)
        (kept if own.rows else left_out).append(own)
    rows = [row for own in kept for row in own.rows]
    if not rows:
        raise BadInput(
            f"{config.index}: no sentence is left once the last of each trace is dropped; use "
            "--no-drop-last-chunk"
        )
    by_rollouts = config.source == "rollouts"
    notes = {
        "label_key": None,
        "source": config.source,
        "standard_error_method": ERRORS_BY_ROLLOUTS if by_rollouts else NO_ERRORS,
        "dropped_last": sum(own.dropped for own in (*kept, *left_out)),
        "left_out": [own.trace.problem_id for own in left_out],
    }
    if by_rollouts:
        names = ("embedding_model", "similarity_threshold", "kl", "laplace", "bootstrap_draws")
        notes |= {name: getattr(config, name) for name in names}
    return frame_of(rows, config.importance), [own.trace for own in kept], notes


def _about_zeros(config: LabelsConfig, about: Mapping[str, Any]) -> str | None:
    """What a reader of the zeros must know, or None where each was measured."""
    if config.source == "rollouts" or config.traces is not None or not about["zeros"]["count"]:
        return None
    if config.from_metadata is None and config.zeros == "auto":
        return None
    return (
        "the published analysis also wrote 0 where it had nothing to compare; which of these were "
        "measured cannot be told here"
    )


def _splits(config: LabelsConfig, problems: Sequence[str]) -> dict[str, list[Any]] | None:
    """Splits of the problems in the table; None where there are too few of them."""
    from whence.anchors.rollouts.opened import Index
    from whence.anchors.sentences import as_id, ids_for_disk
    from whence.anchors.splits import make_splits, read_splits

    if config.splits is not None:
        parts = read_splits(config.splits, problems)
    elif config.index is not None:
        found = Index.open(config.index).splits or {}
        there = set(problems)
        parts = {
            part: [each for each in map(as_id, ids) if each in there] for part, ids in found.items()
        }
    else:
        parts = make_splits(problems, config.seed) if len(problems) >= 3 else {}
    return {part: list(ids_for_disk(list(ids))) for part, ids in parts.items()} or None


def _with_tokens(frame: pd.DataFrame, traces: Sequence[Trace], model: str) -> pd.DataFrame:
    """`frame` with the token span of each sentence, missing where it is not found in its text."""
    import pandas as pd

    from whence.anchors.labels.table import ordered
    from whence.anchors.spans.tokens import place
    from whence.models.load import load_tokenizer

    tokenizer = load_tokenizer(model)
    spans = [
        span
        for trace in track(traces, label="placing sentences", unit="traces")
        for span in place(tokenizer, trace, "never").tokens
    ]
    starts = [None if span is None else span.start for span in spans]
    ends = [None if span is None else span.end for span in spans]
    frame = frame.assign(
        token_start=pd.array(starts, dtype="Int64"), token_end=pd.array(ends, dtype="Int64")
    )
    frame["token_count"] = frame["token_end"] - frame["token_start"]
    return ordered(frame)


def _tokenizer_identity(model: str) -> Any:
    from whence.models.load import model_source

    source = model_source(model)
    if not Path(source).is_dir():
        return source
    names = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
    return [Path(source) / name for name in names if (Path(source) / name).is_file()]
