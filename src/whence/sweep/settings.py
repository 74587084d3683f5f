"""What a sweep file says: a command, its base configuration, and stages of what is varied."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from whence.runs.config import Config


def _list_or_word(value: Any) -> Any:
    if not isinstance(value, list | tuple | str):
        raise ValueError(f"a list of values was expected, or a word as all, got {value!r}")
    return list(value) if isinstance(value, tuple) else value


def _file_or_settings(value: Any) -> Any:
    if not isinstance(value, str | Path | Mapping):
        raise ValueError(f"a file or settings were expected, got {value!r}")
    return value


def _some(values: tuple[Any, ...]) -> tuple[Any, ...]:
    # Not `min_length`: pydantic would also complain of a list whose only item is wrong.
    if not values:
        raise ValueError("is empty: give one at least")
    return values


Values = Annotated[list[Any] | str, BeforeValidator(_list_or_word)]
"""Values of a factor, or a word that the command understands (`all` layers of the model)."""


class SeedSettings(Config):
    """Replications: each value is put under every key."""

    keys: Annotated[tuple[str, ...], AfterValidator(_some)] = Field(
        description="Settings that a seed sets, dotted."
    )
    values: Annotated[tuple[int, ...], AfterValidator(_some)] = Field(description="Seeds.")

    @field_validator("values")
    @classmethod
    def _distinct(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(values)) < len(values):
            raise ValueError("a seed is given twice; a repeated seed is no replication")
        return values


CONFIG = "config"
"""The factor that says which of several files a setting comes from."""


class RefineSettings(Config):
    """A later stage: the best settings of an earlier one, crossed with new factors."""

    stage: str = Field(description="The earlier stage, which must be summarised.")
    top: int = Field(ge=1, description="How many settings to take, of each group of `per`.")
    per: tuple[str, ...] = Field(
        default=(), description="Take the top of each value of these factors, as the target."
    )


class StageSettings(Config):
    """One stage: what is varied, and over which seeds."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", description="Names its folder.")
    set: dict[str, Any] = Field(
        default={}, description="Settings, dotted, that this stage changes in the base."
    )
    grid: dict[str, Values] = Field(
        default={}, description="Dotted setting → values; all combinations are taken."
    )
    zip: tuple[dict[str, list[Any]], ...] = Field(
        default=(), description="Settings that change together, value by value."
    )
    exclude: tuple[dict[str, Any], ...] = Field(
        default=(),
        description="Combinations to leave out: each names settings and a value or list of values.",
    )
    seeds: SeedSettings | None = Field(default=None, description="Replications.")
    configs: tuple[Path, ...] = Field(
        default=(),
        description="Configuration files, one a setting, each put on the base; the factor `config` "
        "is the file's name.",
    )
    may_differ: tuple[str, ...] = Field(
        default=(),
        description="Settings, dotted, in which those files may differ; any other difference is "
        "refused.",
    )
    share: Literal["problems"] | None = Field(
        default=None,
        description="problems: take those that every setting has, and one split of them for all.",
    )
    refine: RefineSettings | None = Field(
        default=None, description="Begin from the best of an earlier stage."
    )


class RankSettings(Config):
    """By which number configurations are ordered, and against what each is held.

    Commands of the instruments know their numbers by themselves; of any other command name a
    `table` (Parquet, CSV or JSONL in the run's folder) and its columns, or a JSON `file` and the
    dotted place of one number in it.
    """

    metric: str = Field(
        default="primary", description="Metric; primary: the one that the command goes by."
    )
    series: tuple[str, ...] = Field(
        default=(),
        description="What of a run competes (probes, arms, heads); default: all but baselines.",
    )
    baselines: tuple[str, ...] = Field(
        default=(),
        description="Series of the same run that each is compared with; default: those that the "
        "command marks as baselines.",
    )
    against: dict[str, Any] = Field(
        default={},
        description="Factor values of the configuration that others are compared with, its other "
        "factors equal.",
    )
    higher_is_better: bool | None = Field(
        default=None, description="Of `table` and `file`; commands know it of their own metrics."
    )
    confirm: Literal["auto", "units", "seeds", "parts"] = Field(
        default="auto",
        description="What the winner is estimated on anew: units (problems, items) or seeds not "
        "used to choose it, or the test part where validation chose; auto: parts where there are "
        "both, else units.",
    )
    confirm_share: float = Field(
        default=0.5, gt=0, lt=1, description="Share of units or seeds kept for that."
    )
    table: str | None = Field(default=None, description="A table in the run's folder.")
    value: str | None = Field(
        default=None, description="Its column of values, or the dotted place in `file`."
    )
    unit: str | None = Field(
        default=None, description="Its column of what was sampled: problem, prompt, item."
    )
    seed: str | None = Field(default=None, description="Its column of seeds.")
    by: str | None = Field(default=None, description="Its column of series.")
    where: dict[str, Any] = Field(default={}, description="Column → value of the rows to take.")
    file: str | None = Field(default=None, description="A JSON file in the run's folder.")

    @model_validator(mode="after")
    def _one_place(self) -> RankSettings:
        if self.table is not None and self.file is not None:
            raise ValueError("give table or file, not both")
        if (self.table or self.file) and self.value is None:
            raise ValueError(f"{'table' if self.table else 'file'} needs value")
        if (self.table or self.file) and self.higher_is_better is None:
            raise ValueError("say higher_is_better: true or false")
        return self


class TaskResources(Config):
    """What tasks of one kind need."""

    cpus: float = Field(default=1.0, gt=0, description="Cores.")
    gpus: float = Field(default=0.0, ge=0, description="GPUs; a part of one shares it, on Ray.")
    memory_gb: float | None = Field(default=None, gt=0, description="Memory in GB.")


class Sweep(Config):
    """A campaign over configurations of one command."""

    name: str = Field(default="sweep", description="What it is called in tables and pages.")
    command: str = Field(description="The command whose configurations are swept, as anchors run.")
    base: Annotated[Path | dict[str, Any], BeforeValidator(_file_or_settings)] = Field(
        default={}, description="Its configuration: a file, or settings."
    )
    stages: Annotated[tuple[StageSettings, ...], AfterValidator(_some)] = Field(
        description="What is varied, in order."
    )
    rank: RankSettings = Field(default=RankSettings(), description="How configurations are ranked.")
    resources: dict[str, TaskResources] = Field(
        default={}, description="Kind of task → what it needs; flags of `sweep run` win."
    )

    @model_validator(mode="after")
    def _stages_fit(self) -> Sweep:
        names: list[str] = []
        for stage in self.stages:
            if stage.name in names:
                raise ValueError(f"stages: two are called {stage.name}")
            if stage.may_differ and not stage.configs:
                raise ValueError(f"stages: {stage.name} has may_differ, and no configs")
            if stage.configs and stage.refine is not None:
                raise ValueError(f"stages: {stage.name}: configs or refine, not both")
            if stage.refine is not None and stage.refine.stage not in names:
                raise ValueError(
                    f"stages: {stage.name} refines {stage.refine.stage}, which is not before it"
                )
            names.append(stage.name)
        return self
