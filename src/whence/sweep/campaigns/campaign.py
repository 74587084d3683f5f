"""What a sweep must know about a command to run many of its configurations as one piece of work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from whence.sweep.campaigns.trial import Sample
from whence.sweep.settings import RankSettings
from whence.sweep.tasks import Task

if TYPE_CHECKING:
    import pandas as pd
    from pydantic import BaseModel


@dataclass(frozen=True)
class Effect:
    """What can change the ranked number of one configuration.

    decides: JSON values; inputs by the hash of their content, never by their path. Two
    configurations with equal `decides` have equal results and are run once.
    idle: dotted setting → why it cannot change the ranked number here ("no probe reads it").
    """

    decides: Mapping[str, Any]
    idle: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cost:
    """What a stage costs, counted before it runs. forwards: texts read by a model. trainings: fits
    of probes or adapters. bytes: kept on disk; None where the trial must say it. naive_*: the same
    with every configuration by itself. notes: what could not be counted."""

    forwards: int | None = None
    trainings: int | None = None
    bytes: int | None = None
    naive_forwards: int | None = None
    naive_trainings: int | None = None
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Check:
    """Something that must hold of a finished run before it is released.

    proved: False where it could not be tested (then `passed` is True, for nothing speaks against
    the run; a release needs one run at least in which it was proved).
    """

    name: str
    passed: bool
    sentence: str
    proved: bool = True


class Campaign(Protocol):
    """One command, seen by the sweep.

    `whence.sweep.campaigns.of(command, rank)` makes it, anew for every plan, as `Class(rank)`: it
    may remember, and what is idle depends on the number that is ranked.

    Every method raises BadInput with one line that says what is wrong with a configuration; the
    plan adds its factor values. Nothing here loads a model's weights, except a trial.
    """

    command: str
    shape: type[BaseModel]

    def values(self, key: str, word: str, base: Mapping[str, Any]) -> list[Any]:
        """Values that `word` (as `all`) stands for under the factor `key`."""
        ...

    def expand(self, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        """Settings of the file put into the command's own, where the sweep knows more keys."""
        ...

    def share_problems(
        self, configs: Sequence[Any], home: Path, overwrite: bool
    ) -> tuple[list[Any], Mapping[str, Any]]:
        """The configurations, brought onto the problems that all have, and one split of them;
        and what to say of it: problems in common, and sizes of the parts.

        Raises BadInput where the command knows no problems, or they have too few in common.
        """
        ...

    def prepare(self, configs: Sequence[Any], home: Path, overwrite: bool) -> None:
        """Do what must be known to plan and needs no model: label, split, list. Below
        `home/shared`. May be empty."""
        ...

    def effect(self, config: Any) -> Effect:
        """What decides; also the place for checks that pydantic cannot make (layers, files)."""
        ...

    def tasks(self, runs: Mapping[str, Any], home: Path) -> list[Task]:
        """Shared tasks and one task per run, whose id is the key in `runs` and whose output is
        `runs/<id>`. runs: run id → its configuration."""
        ...

    def cost(self, configs: Sequence[Any], runs: Mapping[str, Any]) -> Cost:
        """configs: every entry's; runs: as `tasks` had it, which was called before."""
        ...

    def samples(self, tasks: Sequence[Task], done: Set[str], folder: Path) -> list[Sample]:
        """For each model small tasks that can be run before anything else is; none where a command
        cannot be tried in part. done: ids of tasks that are finished. folder: an empty one, and
        soon gone."""
        ...

    def measured(self, output: Path, rank: RankSettings) -> pd.DataFrame:
        """One row per series, part, unit and seed of a finished run, of the ranked metric:

        series (str), baseline (bool), part (str: "val", "test" or ""), unit (str), seed (int, −1
        where no seed changes it), value (float, finite), metric (str), higher_is_better (bool).
        A unit without the metric has no row.
        """
        ...

    def checks(self, output: Path) -> list[Check]:
        """What must hold of a finished run: tripwires, failures, finite numbers."""
        ...
