"""`whence heads run CONFIG`: a battery on one corpus, or on several under one name each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, field_validator

from whence.errors import BadInput, WhenceError
from whence.heads.battery import Positions
from whence.heads.conditions import (
    Source,
    Subject,
    is_finished,
    run_conditions,
    run_one,
)
from whence.heads.inputs import corpora_folder, inputs_of, repairable, run_id_of, sources_of
from whence.heads.outcome import RunResult
from whence.heads.plan import Plan, SplitName, read_plan
from whence.heads.prompts import MetricSpan, PrependBos
from whence.heads.repairs import partial_of, scratch_of, take_up_repairs
from whence.heads.stitch import stitch
from whence.runs.config import OutputConfig, Words
from whence.runs.jsonfile import read_json, write_json
from whence.runs.store import Run, open_run

if TYPE_CHECKING:
    from whence.models.load import Loaded

COMMAND = "heads run"
PARTIAL_SUMMARY = "partial_summary.json"

FLAGS = (
    "model", "revision", "dtype", "device", "trust_remote_code", "split", "seeds", "positions",
    "metrics", "metric_span", "batch_size", "max_seq_len", "prepend_bos", "subsample", "memory_gb",
)  # fmt: skip
"""Settings that win over the plan's file."""


class RunConfig(OutputConfig):
    """Ablate or patch as a configuration file says; flags win over the file."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"device", "memory_gb"})

    plan: Path = Field(
        description="JSON file with run_name, battery, shared and conditions, or of a single run. "
        "Batteries are looked for as named from here, then beside the file."
    )
    only: Words = Field(
        default=(), description="Tags of the conditions to run; default: all that the file has."
    )
    corpora: Path | None = Field(
        default=None,
        description="Folder of the corpora, <id>.jsonl; splits are in ../splits. Default: "
        "../corpora beside the file.",
    )
    model: str | None = Field(
        default=None, description="Model: a Hugging Face folder, a hub id, or tiny."
    )
    revision: str | None = Field(
        default=None, description="Branch, tag or commit of the model on the hub."
    )
    dtype: str | None = Field(
        default=None, description="float32, bfloat16, float16, stored or auto."
    )
    device: str | None = Field(default=None, description="cpu, cuda, cuda:N, mps or auto.")
    trust_remote_code: bool | None = Field(
        default=None, description="Run Python code that comes with the model."
    )
    split: SplitName | None = Field(default=None, description="Part of each corpus to take.")
    seeds: tuple[int, ...] | None = Field(
        default=None,
        min_length=1,
        description="Seeds of prompt subsamples and resample sources; what is deterministic runs "
        "once.",
    )
    positions: str | None = Field(
        default=None,
        description="all, last_token, first, final_K, or positions as 0,2,-1.",
    )
    metrics: tuple[str, ...] | None = Field(default=None, description="Metrics to write.")
    metric_span: MetricSpan | None = Field(
        default=None,
        description="first_token: what follows the prompt. full_target: all tokens of the target.",
    )
    batch_size: int | None = Field(default=None, ge=1, description="Prompts in a batch.")
    max_seq_len: int | None = Field(
        default=None, ge=2, description="Tokens a prompt may have; of longer ones the end is kept."
    )
    prepend_bos: PrependBos | None = Field(
        default=None,
        description="BOS before prompts: default as the tokenizer does by itself, always, never.",
    )
    subsample: int | None = Field(
        default=None, ge=1, description="Distinct prompts drawn for each seed."
    )
    memory_gb: float | None = Field(
        default=None, gt=0, description="Memory for one replayed batch beside the model, in GB."
    )

    @field_validator("positions")
    @classmethod
    def _one_spelling(cls, value: str | None) -> str | None:
        return None if value is None else str(Positions(value))


def plan_of(config: RunConfig) -> Plan:
    """The plan's file as the flags change it, and of its conditions those that are asked for."""
    plan = read_plan(config.plan, {name: getattr(config, name) for name in FLAGS})
    return plan.with_only(config.only) if config.only else plan


def run_plan(config: RunConfig, loaded: Loaded | None = None) -> RunResult:
    """Run every condition that is not finished, then put them together.

    A condition that fails does not stop the others; at the end WhenceError says which did and why,
    what is finished stays in the unfinished run's folder, and the same command, after a repair,
    runs only what is missing. Raises BadInput, before the model is loaded, for what is wrong with
    the file, its batteries or flags, and where no corpus is found.

    loaded: the plan's model, where it is at hand; it is given back as it was.
    """
    plan = plan_of(config)
    sources = sources_of(plan, corpora_folder(config.plan, config.corpora))
    seeds = plan.conditions[0].settings.get("seeds", (0,))
    inputs = inputs_of(plan, sources)
    scratch = scratch_of(config.output_dir)
    unfinished = [c.tag for c in plan.conditions if c.tag and not is_finished(scratch, c.tag)]
    take_up_repairs(
        config.output_dir, COMMAND, config, inputs, seeds, repairable(inputs, unfinished)
    )
    with open_run(
        config.output_dir,
        command=COMMAND,
        config=config,
        inputs=inputs,
        overwrite=config.overwrite,
        seeds=seeds,
    ) as run:
        if not run.done:
            _conduct(plan, sources, run, config.output_dir, inputs, loaded)
    summary = read_json(config.output_dir / "metrics" / "summary.json")
    return RunResult(config.output_dir, summary, run.done)


def _conduct(
    plan: Plan,
    sources: Mapping[str, Source | str],
    run: Run,
    output_dir: Path,
    inputs: Mapping[str, Any],
    loaded: Loaded | None,
) -> None:
    """Everything between loading the model and the summary, into the run's folder."""
    run_id = run_id_of(plan, inputs)
    subject = _subject(plan, loaded)
    if plan.single:
        (source,) = sources.values()
        assert isinstance(source, Source)
        run_one(subject, plan.conditions[0], source, run.folder, run.scratch / "one", run_id)
        return
    home = run.folder / "conditions"
    failed = run_conditions(subject, plan, sources, home, run.scratch, run_id)
    finished = {c.tag: home / c.tag for c in plan.conditions if c.tag and c.tag not in failed}
    about = {"run_name": plan.run_name, "model": subject.description}
    try:
        summary = stitch(
            run.folder, finished, run_id=run_id, about=about, title=plan.run_name, failed=failed
        )
    except BadInput as error:  # which would throw away what is finished
        raise WhenceError(f"the conditions are finished, but not put together: {error}") from error
    if failed:
        write_json(run.folder / PARTIAL_SUMMARY, summary)
        raise _incomplete(failed, finished, partial_of(output_dir) / "conditions")
    (run.folder / PARTIAL_SUMMARY).unlink(missing_ok=True)


def _incomplete(failed: Mapping[str, str], finished: Mapping[str, Path], home: Path) -> WhenceError:
    count = len(failed) + len(finished)
    told = "; ".join(f"{tag}: {line}" for tag, line in failed.items())
    if not finished:
        return WhenceError(f"all {count} conditions failed: {told}")
    return WhenceError(
        f"{len(failed)} of {count} conditions failed: {told}. The others ({', '.join(finished)}) "
        f"are whole in {home}; repair what is wrong and run the same command again to do only "
        "what is missing"
    )


def _subject(plan: Plan, loaded: Loaded | None) -> Subject:
    """The model, loaded. A device that is not here is answered with the flag that says another."""
    try:
        return Subject.of(plan, loaded)
    except BadInput as error:
        if str(error).startswith("device "):
            raise BadInput(f"{plan.file}: {error}; give --device, as --device auto") from None
        raise
