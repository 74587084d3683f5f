"""The conditions of a plan, one after the other on one load of the model.

Each fills a folder as a run of its own would. One that fails is written down and does not stop the
others; one that is finished is never run again.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.errors import BadInput
from whence.heads.corpora import Fields, find_corpus, read_corpus, read_split
from whence.heads.metrics import requested
from whence.heads.plan import Condition, Plan
from whence.heads.profile import COSTS, Profile
from whence.heads.reading import Reading
from whence.runs.config import resolved
from whence.runs.fingerprint import fingerprint, hash_path
from whence.runs.jsonfile import plain, write_json

if TYPE_CHECKING:
    from whence.heads.prompts import Examples
    from whence.models.anatomy import Anatomy
    from whence.models.load import Loaded
    from whence.models.replay import Replay

logger = logging.getLogger(__name__)

NOT_DECIDING = ("memory_gb",)
"""Settings that change what a run costs and not what it computes."""


@dataclass(frozen=True)
class Source:
    """Where a condition's rows are. split: the split file, None where all rows are taken."""

    corpus: Path
    split: Path | None


@dataclass(frozen=True)
class Subject:
    """One load of the model, shared by all conditions, and its copies on other devices."""

    plan: Plan
    loaded: Loaded
    anatomy: Anatomy
    replay: Replay
    others: dict[str, Loaded] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: Plan, loaded: Loaded | None = None) -> Subject:
        """Load the plan's model, or take it as `loaded`. Raises BadInput where it, or its anatomy,
        cannot be had."""
        from whence.models.anatomy import find_anatomy
        from whence.models.replay import Replay, prove_replay

        if loaded is None:
            loaded = load(plan, device=plan.device or "auto", dtype=plan.model.dtype)
        anatomy = find_anatomy(loaded.model)
        prove_replay(anatomy)
        return cls(plan, loaded, anatomy, Replay(anatomy))

    def other(self, device: str) -> Loaded:
        """The same weights on another device, in float32. Raises BadInput where it is not here."""
        if device not in self.others:
            self.others[device] = load(self.plan, device=device, dtype="float32")
        return self.others[device]

    @property
    def description(self) -> dict[str, Any]:
        """What a summary says of the model."""
        from whence.heads.commands.single import model_line

        family = self.plan.model.family
        line = model_line(self.plan.model_name, self.loaded, self.anatomy)
        return {**line, **({"family": family} if family else {})}


def load(plan: Plan, *, device: str, dtype: str) -> Loaded:
    """The plan's model. Raises BadInput as `load_model` does."""
    from whence.models.load import load_model

    return load_model(
        plan.model_name,
        revision=plan.model.revision,
        dtype=dtype,
        device=device,
        trust_remote_code=plan.model.trust_remote_code,
    )


def find_source(corpora: Path, condition: Condition) -> Source:
    """The files of a condition. Raises BadInput naming the corpora that there are."""
    corpus, split = find_corpus(corpora, condition.dataset_id)
    if condition.dataset.split == "all":
        return Source(corpus, None)
    if split is None:
        raise BadInput(
            f"{corpus}: has no split file ({corpus.stem}.split.json in ../splits), and the config "
            f"asks for its {condition.dataset.split} part; make one with `whence heads corpora "
            "filter`, or use --split all"
        )
    return Source(corpus, split)


def deciding(condition: Condition) -> dict[str, Any]:
    """Everything about a condition that decides what is computed, its rows aside."""
    settings = {k: v for k, v in condition.settings.items() if k not in NOT_DECIDING}
    values: dict[str, Any] = plain(
        {
            "dataset": resolved(condition.dataset),
            "battery": resolved(condition.battery),
            "settings": settings,
            "verify_slice": condition.verify_slice and resolved(condition.verify_slice),
        }
    )
    return values


def run_conditions(
    subject: Subject,
    plan: Plan,
    sources: Mapping[str, Source | str],
    folder: Path,
    scratch: Path,
    run_id: str,
) -> dict[str, str]:
    """Run what is missing into `folder/<tag>`. Returns tag → one line, of those that failed.

    sources: tag → its files, or what is wrong with them.
    """
    failed = {}
    for condition in plan.conditions:
        assert condition.tag is not None  # a plan of one condition runs it by itself
        tag, source = condition.tag, sources[condition.tag]
        if is_finished(scratch, tag):
            continue
        try:
            if isinstance(source, str):
                raise BadInput(source)
            shutil.rmtree(folder / tag, ignore_errors=True)
            run_one(subject, condition, source, folder / tag, scratch / tag, run_id)
        except Exception as error:  # whatever it is, the other conditions are none the worse
            failed[tag] = one_line(error)
            logger.warning("condition %s failed: %s", tag, failed[tag])
            logger.debug("condition %s", tag, exc_info=True)
    return failed


def run_one(
    subject: Subject, condition: Condition, source: Source, folder: Path, scratch: Path, run_id: str
) -> None:
    """Run one condition and write `folder/{metrics,artifacts,profile.json}`.

    scratch: holds what is finished start layer by start layer, and at the end that all is.
    """
    from whence.heads.condition import run_condition
    from whence.heads.outputs import write_condition, write_report
    from whence.heads.verify import verify

    reading = reading_of(condition)
    profile = Profile(subject)
    with profile.phase("prompts"):
        examples = examples_of(subject, condition, source, reading)
    with profile.phase("interventions"):
        shards = scratch / _key(subject, condition, source)
        shards.mkdir(parents=True, exist_ok=True)
        result = run_condition(
            subject.loaded,
            subject.anatomy,
            examples,
            condition.battery,
            reading,
            shards,
            replay=subject.replay,
            label=condition.tag or "interventions",
        )
    if condition.verify_slice is not None:
        with profile.phase("verify"):
            checked = verify(subject, condition, examples, reading, result, scratch / "verify")
            write_json(folder / "metrics" / "verify.json", checked)
            if checked["passed"] is not True:
                logger.warning("%s: %s", condition.tag or source.corpus.stem, checked["sentence"])
    with profile.phase("tables"):
        notes = {k: v for k, v in result.notes.items() if k not in COSTS}
        tables = write_condition(
            folder,
            replace(result, notes=notes),
            run_id=run_id,
            condition=condition.tag,
            battery=resolved(condition.battery),
            model=subject.description,
            metrics=metrics_of(reading),
            corpus={
                "id": condition.dataset_id,
                "path": str(source.corpus.absolute()),
                "part": condition.dataset.split,
            },
        )
        if condition.tag is None:
            write_report(folder, {"": tables})
    write_json(folder / "profile.json", profile.summary(result.notes))
    write_json(_marker(scratch), {"finished": True})


def reading_of(condition: Condition) -> Reading:
    """How the condition's prompts are read. Each seed counts once."""
    settings = dict(condition.settings)
    if "seeds" in settings:
        settings["seeds"] = tuple(dict.fromkeys(settings["seeds"]))
    return Reading(**settings)


def metrics_of(reading: Reading) -> tuple[str, ...]:
    """The metrics that are written."""
    return requested(reading.metrics, full_target=reading.metric_span == "full_target")


def examples_of(
    subject: Subject, condition: Condition, source: Source, reading: Reading
) -> Examples:
    """The condition's rows as token ids. Raises BadInput naming the corpus file.

    Answers of several tokens under `first_token` are read by their first, as the earlier lab did;
    the summary counts them.
    """
    from whence.heads.prompts import prepare

    keys = condition.dataset
    fields = Fields(**{name: getattr(keys, name) for name in Fields.model_fields})
    rows = read_corpus(source.corpus, fields)
    if source.split is not None:
        split = read_split(source.split, len(rows), source.corpus)
        rows = [rows[number] for number in sorted(split.part(keys.split))]
    if not rows:
        raise BadInput(f"{source.split}: its {keys.split} part is empty")
    try:
        return prepare(
            rows,
            subject.loaded.tokenizer,
            prepend_bos=reading.prepend_bos,
            metric_span=reading.metric_span,
            max_seq_len=reading.max_seq_len,
            multi_token="first",
        )
    except BadInput as error:
        raise BadInput(f"{source.corpus}: {error}") from None


def is_finished(scratch: Path, tag: str) -> bool:
    """Whether an earlier attempt at the run brought this condition to its end."""
    return _marker(scratch / tag).is_file()


def one_line(error: Exception) -> str:
    """What a failure is called where it is written down."""
    text = " ".join(str(error).split())
    return text if isinstance(error, BadInput) else f"{type(error).__name__}: {text}"


def _marker(scratch: Path) -> Path:
    return scratch / "finished.json"


def _key(subject: Subject, condition: Condition, source: Source) -> str:
    """Names the folder of shards: other rows or other settings have other shards."""
    return fingerprint(
        {
            "condition": deciding(condition),
            "corpus": hash_path(source.corpus),
            "split": source.split and hash_path(source.split),
            "dtype": str(subject.loaded.dtype),
        }
    )[:16]
