"""A run's plan: the earlier lab's JSON, of one run or of several conditions, made whole.

    {"run_name": "h1", "battery": FILE or {…},
     "shared": {"seeds", "device", "model": {"family", "name", "dtype"},
                "dataset": {"id", "split", "clean_field", …}, "metrics", "batch_size", …},
     "conditions": [{"tag": "facts", "dataset": {"id": …}, "battery": FILE}, …]}

A run without conditions has the shared keys at its top level. The nearest word counts: a flag, then
a condition's key, its battery, a shared key, the shared battery.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from whence.errors import BadInput
from whence.heads.battery import Battery, Positions, VerifySlice, parse_battery
from whence.heads.checked import checked, nearest
from whence.heads.metrics import requested
from whence.heads.prompts import MetricSpan, PrependBos
from whence.runs.config import Config
from whence.runs.jsonfile import read_json

logger = logging.getLogger(__name__)

SplitName = Literal["train", "val", "test", "all"]

OF_BATTERY = ("positions", "batch_size", "max_seq_len", "metrics", "verify_slice")
"""What a battery may say as well as a run."""


class DatasetKeys(Config):
    """Which corpus, and which key of a row holds what."""

    id: str | None = Field(default=None, min_length=1)
    split: SplitName = "all"
    clean_field: str = "clean"
    corrupt_field: str = "corrupt"
    target_field: str = "target"
    foil_field: str = "foil"


class ModelKeys(Config):
    """Which model. `family` is recorded; nothing needs it."""

    family: str | None = None
    name: str | None = None
    revision: str | None = None
    dtype: str = "auto"
    trust_remote_code: bool = False


class _Keys(Config):
    """What may be said of one condition or of all; None is not said."""

    battery: Path | Mapping[str, Any] | None = None
    dataset: DatasetKeys | None = None
    seeds: tuple[int, ...] | None = Field(default=None, min_length=1)
    positions: Positions | None = None
    metrics: tuple[str, ...] | None = None
    metric_span: MetricSpan | None = None
    batch_size: int | None = Field(default=None, ge=1)
    max_seq_len: int | None = Field(default=None, ge=2)
    prepend_bos: PrependBos | None = None
    memory_gb: float | None = Field(default=None, gt=0)
    subsample: int | None = Field(default=None, ge=1)
    verify_slice: VerifySlice | None = None

    @field_validator("battery", mode="before")
    @classmethod
    def _path_or_object(cls, value: Any) -> Any:
        if value is None or isinstance(value, str | Mapping | Path):
            return Path(value) if isinstance(value, str) else value
        raise ValueError(f"a file or an object with a type was expected, got {value!r}")


class _Shared(_Keys):
    """What holds for a whole run."""

    device: str | None = None
    model: ModelKeys | None = None


class _Condition(_Keys):
    """What one condition changes."""

    tag: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")

    @model_validator(mode="before")
    @classmethod
    def _one_model(cls, value: Any) -> Any:
        for key in ("model", "device"):
            if isinstance(value, Mapping) and key in value:
                raise ValueError(
                    f"{key}: all conditions of a run share one; run each model by itself and "
                    "stitch them with `whence heads rebuild`"
                )
        return value


def _seen(value: Any) -> Any:
    if isinstance(value, list | tuple) and not value:
        raise ValueError("the list is empty: give at least one condition, or leave it out")
    return value


class _File(_Shared):
    """A whole configuration file."""

    run_name: str = Field(min_length=1)
    shared: _Shared | None = None
    conditions: Annotated[tuple[_Condition, ...] | None, BeforeValidator(_seen)] = None

    @field_validator("conditions")
    @classmethod
    def _tags_differ(cls, conditions: tuple[_Condition, ...] | None) -> Any:
        tags = [condition.tag for condition in conditions or ()]
        for tag in dict.fromkeys(tags):
            if tags.count(tag) > 1:
                raise ValueError(f"the tag {tag!r} is given twice")
        return conditions


@dataclass(frozen=True)
class Condition:
    """One condition with everything that decides it. tag: None in a run without conditions.

    settings: of seeds, metrics, metric_span, batch_size, max_seq_len, prepend_bos, memory_gb and
    subsample, those that are said. battery_file: where the battery came from, None if inline.
    """

    tag: str | None
    dataset: DatasetKeys
    battery: Battery
    battery_file: Path | None
    settings: Mapping[str, Any]
    verify_slice: VerifySlice | None

    @property
    def dataset_id(self) -> str:
        assert self.dataset.id is not None  # checked when the plan was read
        return self.dataset.id


@dataclass(frozen=True)
class Plan:
    """A run: one model, one or several conditions. device: None where nothing is said."""

    file: Path
    run_name: str
    model: ModelKeys
    model_name: str
    device: str | None
    conditions: tuple[Condition, ...]

    @property
    def single(self) -> bool:
        """Whether this is one run without conditions, which fills its folder itself."""
        return self.conditions[0].tag is None

    def with_only(self, tags: Sequence[str]) -> Plan:
        """The plan with the conditions of these tags alone, in its own order.

        Raises BadInput for a tag that it has not, with the nearest that it has.
        """
        known = [condition.tag for condition in self.conditions if condition.tag is not None]
        if not known:
            raise BadInput(f"{self.file}: --only {', '.join(tags)}: it is one run, without tags")
        for tag in tags:
            if tag not in known:
                raise BadInput(f"{self.file}: --only {tag}: no such condition{nearest(tag, known)}")
        kept = tuple(condition for condition in self.conditions if condition.tag in tags)
        return replace(self, conditions=kept)


def read_plan(file: Path, flags: Mapping[str, Any] | None = None) -> Plan:
    """Read a configuration file and the batteries it names.

    flags: keys of the file that win over it, with `model`, `revision`, `dtype` and `split` for the
    inner ones; None is not said. Raises BadInput naming file and key, and the nearest valid one.
    """
    said = {key: value for key, value in (flags or {}).items() if value is not None}
    raw = read_json(file)
    content = checked(_File, raw, str(file))
    top = _said(content, _Shared)
    shared = {**top, **(_said(content.shared, _Shared) if content.shared else {})}
    for key in ("dataset", "model"):
        shared[key] = _merged(top.get(key), content.shared and getattr(content.shared, key))
    model = _model(shared["model"], said, file)
    conditions = content.conditions or (None,)
    return Plan(
        file=file,
        run_name=content.run_name,
        model=model,
        model_name=str(model.name),
        device=said.get("device", shared.get("device")),
        conditions=tuple(_condition(file, shared, condition, said) for condition in conditions),
    )


def _condition(
    file: Path, shared: Mapping[str, Any], condition: _Condition | None, said: Mapping[str, Any]
) -> Condition:
    """Everything about one condition, each key from the nearest place that says it."""
    own = _said(condition, _Keys) if condition else {}
    tag = condition.tag if condition else None
    where = f"{file}: condition {tag}" if tag else str(file)
    written = own.get("battery", shared.get("battery"))
    if written is None:
        raise BadInput(f"{where}: battery is required: a file, or an object with a type")
    battery, battery_file = _battery(written, file, where)
    of_battery = {
        key: getattr(battery, key)
        for key in OF_BATTERY
        if key in battery.model_fields_set and getattr(battery, key) is not None
    }
    near, far = (of_battery, {}) if "battery" in own else ({}, of_battery)
    keys = {**far, **shared, **near, **own, **said}
    for key in sorted(of_battery):
        if keys[key] != of_battery[key]:
            source = battery_file or "the battery"
            logger.info(
                "%s: %s is %s, not %s of %s", where, key, keys[key], of_battery[key], source
            )
    dataset = _merged(shared.get("dataset"), own.get("dataset"))
    dataset.update({"split": said["split"]} if "split" in said else {})
    if dataset.get("id") is None:
        raise BadInput(f"{where}: dataset.id is required: the name of a corpus without .jsonl")
    settings = {
        key: keys[key]
        for key in (
            "seeds", "metrics", "metric_span", "batch_size", "max_seq_len", "prepend_bos",
            "memory_gb", "subsample",
        )
        if keys.get(key) is not None
    }  # fmt: skip
    full_target = settings.get("metric_span", "first_token") == "full_target"
    requested(settings.get("metrics"), full_target=full_target, where=f"{where}: metrics")
    if "positions" in keys:
        battery = battery.model_copy(update={"positions": Positions(keys["positions"])})
    return Condition(
        tag=tag,
        dataset=checked(DatasetKeys, dataset, where),
        battery=battery,
        battery_file=battery_file,
        settings=settings,
        verify_slice=keys.get("verify_slice"),
    )


def _battery(
    written: Path | Mapping[str, Any], file: Path, where: str
) -> tuple[Battery, Path | None]:
    """The battery, and the file it came from. Old paths are relative to another root."""
    if isinstance(written, Mapping):
        return parse_battery(written, f"{where}: battery"), None
    tried = [written, file.parent / written, file.parent / written.name]
    for path in tried:
        if path.is_file():
            return parse_battery(read_json(path), str(path)), path
    places = ", ".join(dict.fromkeys(map(str, tried)))
    raise BadInput(f"{where}: battery: no such file; looked for {places}")


def _model(keys: Mapping[str, Any], said: Mapping[str, Any], file: Path) -> ModelKeys:
    own = {"name": said["model"]} if "model" in said else {}
    own |= {key: said[key] for key in ("revision", "dtype", "trust_remote_code") if key in said}
    if "name" in own and "revision" not in own:
        keys = {key: value for key, value in keys.items() if key != "revision"}
    model = checked(ModelKeys, {**keys, **own}, f"{file}: model")
    if not model.name:
        raise BadInput(f"{file}: model.name is required, or --model")
    return model


def _said(keys: Config, of: type[Config]) -> dict[str, Any]:
    """The keys of `of` that were written down, with a value."""
    names = keys.model_fields_set & set(of.model_fields)
    return {n: getattr(keys, n) for n in sorted(names) if getattr(keys, n) is not None}


def _merged(*sections: object) -> dict[str, Any]:
    """Sections merged key by key, the later one winning."""
    merged: dict[str, Any] = {}
    for section in sections:
        if isinstance(section, Config):
            merged |= _said(section, type(section))
        elif isinstance(section, Mapping):
            merged |= section
    return merged
