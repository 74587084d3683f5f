"""`whence anchors labels`: a table of sentences, each with its importance and standard error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from whence.anchors.labels.names import DEFAULT, Importance
from whence.anchors.labels.published import Zeros
from whence.anchors.labels.settings import NONE, RecomputeSettings
from whence.runs.config import OutputConfig
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json
from whence.runs.store import open_run

if TYPE_CHECKING:
    pass

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
        "command) to take labels from. Texts are those of traces.jsonl beside it, else its "
        "sentences joined by blanks.",
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
            raise ValueError("give one of --index, --from-metadata and --traces")
        if self.source == "rollouts" and self.index is None:
            raise ValueError("source rollouts needs index: a table or traces have no rollouts")
        if self.source == "rollouts" and self.zeros == "missing":
            raise ValueError("zeros missing: with source rollouts a 0 was measured; use auto")
        recomputed = self.source == "rollouts" and self.embedding_model == NONE
        if recomputed and self.importance.startswith("counterfactual"):
            raise ValueError(
                "embedding_model none leaves counterfactual importance out; choose another "
                "importance, or tfidf"
            )
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
        lost = about.get("tokens", {}).get("sentences_not_found", 0)
        if lost:
            rows.append(("without a place in the text", f"{lost:,} (see `whence anchors spans`)"))
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
            from whence.anchors.labels.write import write

            write(config, run)
    summary = read_json(config.output_dir / "summary.json")
    return LabelsResult(config.output_dir, summary, run.done)


def _inputs(config: LabelsConfig) -> dict[str, Any]:
    from whence.anchors.labels.given import traces_beside
    from whence.anchors.rollouts.opened import Index
    from whence.text.embedding import embedding_identity

    beside = None if config.from_metadata is None else traces_beside(config.from_metadata)
    inputs: dict[str, Any] = {
        "metadata": config.from_metadata,
        "traces": config.traces or beside,
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


def _tokenizer_identity(model: str) -> Any:
    from whence.models.load import model_source

    source = model_source(model)
    if not Path(source).is_dir():
        return source
    names = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
    return [Path(source) / name for name in names if (Path(source) / name).is_file()]
