"""Everything measured, as one table of numbers a question: settings × seeds × units."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from whence.runs.fingerprint import fingerprint
from whence.sweep.entries import Entry

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Role = Literal["competes", "baseline", "other"]
VALIDATION, TEST = "val", "test"


@dataclass(frozen=True)
class Standing:
    """Settings that have the same numbers: one line of every table.

    every: key → factors of each setting that has the same runs; several keys where other runs gave
    the very same numbers. configurations: how many it stands for, seeds counted. runs: all of them,
    those of the first setting first.
    """

    every: Mapping[int, Sequence[Mapping[str, Any]]]
    configurations: int
    runs: Sequence[str]

    @property
    def factors(self) -> Mapping[str, Any]:
        """Those of the first setting."""
        return next(iter(self.every.values()))[0]

    @property
    def all_factors(self) -> list[Mapping[str, Any]]:
        """Those of every setting."""
        return [factors for own in self.every.values() for factors in own]

    @cached_property
    def settings(self) -> int:
        """How many it stands for, seeds not counted."""
        return sum(map(len, self.every.values()))

    @cached_property
    def differing(self) -> Mapping[str, Sequence[Any]]:
        """Factor → all its values, where they differ."""
        return differing(self.all_factors)


def differing(every: Sequence[Mapping[str, Any]]) -> Mapping[str, Sequence[Any]]:
    """Factor → all its values, where settings differ in it."""
    if len(every) == 1:
        return {}
    values: dict[str, list[Any]] = {}
    for factors in every:
        for name, value in factors.items():
            if value not in values.setdefault(name, []):
                values[name].append(value)
    return {name: each for name, each in values.items() if len(each) > 1}


@dataclass(frozen=True)
class Contest:
    """What can be ranked together: one question, one metric, one value of each factor of `per`.

    standings, series: of each row [rows]; rows of one series that have the very same numbers are
    one. role: what the row is in it. test: [rows, seeds, units],
    NaN where nothing was measured; the test part where runs have one. val: the same of the
    validation part, or None. A row that no seed changes has its numbers in its first seed alone,
    and `seeded` [rows] is False. repeats: seeds of a row that only repeat another [rows].
    overlap: units that are validation under one seed and test under another.
    """

    group: Mapping[str, Any]
    question: str
    metric: str
    higher_is_better: bool
    standings: Sequence[Standing]
    series: Sequence[str]
    role: NDArray[np.object_]
    test: Floats
    val: Floats | None
    units: Sequence[str]
    val_units: Sequence[str]
    seeds: Sequence[str]
    seeded: NDArray[np.bool_]
    repeats: NDArray[np.int64]
    overlap: int

    def __len__(self) -> int:
        return len(self.series)

    @property
    def sign(self) -> float:
        """What values are multiplied by, so that more is better."""
        return 1.0 if self.higher_is_better else -1.0

    @property
    def competing(self) -> NDArray[np.int64]:
        """Rows that compete."""
        return np.flatnonzero(self.role == "competes")

    def baselines_of(self, row: int) -> list[int]:
        """Other rows that are baselines of the runs that a row stands for."""
        found = dict.fromkeys(
            at for key in self.standings[row].every for at in self._baselines.get(key, ())
        )
        return [at for at in found if at != row]

    @cached_property
    def _baselines(self) -> Mapping[int, list[int]]:
        found: dict[int, list[int]] = {}
        for row in np.flatnonzero(self.role == "baseline").tolist():
            for key in self.standings[row].every:
                found.setdefault(key, []).append(row)
        return found

    def differences(
        self, values: Floats, rows: NDArray[np.int64], others: NDArray[np.int64]
    ) -> Floats:
        """`values` of rows minus those of others, pair by pair [pairs, seeds, units].

        values: `test`, `val`, or some seeds or units of them. A row that no seed changes meets
        every seed of the other; two such meet once.
        """
        left, right = values[rows], values[others]
        for own, at in ((left, rows), (right, others)):
            still = ~self.seeded[at]
            own[still] = one_seed(own[still])[:, None, :]
        difference = left - right
        neither = ~(self.seeded[rows] | self.seeded[others])
        difference[neither, 1:] = np.nan
        return difference

    @property
    def name(self) -> str:
        """The question and the group, in words; empty where there is one of everything."""
        parts = [
            f"{key.rpartition('.')[2]} {value}"
            for key, value in self.group.items()
            if str(value) not in self.question.split(", ")  # it is the question already
        ]
        return ", ".join([*([self.question] if self.question else []), *parts])


def one_seed(values: Floats) -> Floats:
    """Mean over seeds [rows, units] of values [rows, seeds, units]; NaN where no seed has one."""
    there = ~np.isnan(values)
    count = there.sum(axis=1)
    total = np.where(there, values, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def standings(entries: Sequence[Entry], finished: Mapping[str, str]) -> list[Standing]:
    """Settings with at least one finished run, those with the very same runs together."""
    of_setting: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.run in finished:
            of_setting.setdefault(entry.setting, []).append(entry)
    shared: dict[frozenset[str], list[list[Entry]]] = {}
    for own in of_setting.values():
        shared.setdefault(frozenset(entry.run for entry in own), []).append(own)
    found = []
    for key, settings in enumerate(shared.values()):
        found.append(
            Standing(
                every={key: [own[0].factors for own in settings]},
                configurations=sum(map(len, settings)),
                runs=list(dict.fromkeys(entry.run for entry in settings[0])),
            )
        )
    return found


def contests(
    measured: pd.DataFrame,
    entries: Sequence[Entry],
    finished: Mapping[str, str],
    *,
    per: Sequence[str] = (),
    series: Sequence[str] = (),
    baselines: Sequence[str] = (),
) -> list[Contest]:
    """One a question, metric and value of `per`, in the order of the manifest.

    measured: rows of `Campaign.measured` of every finished run, with a column `run`. series: those
    that compete, default all but baselines; baselines: default those marked so.
    """
    import pandas as pd

    lines = standings(entries, finished)
    tags = _tags(entries, finished)
    placed = pd.DataFrame(
        [(run, key) for key, line in enumerate(lines) for run in line.runs],
        columns=["run", "standing"],
    )
    placed["tag"] = placed["run"].map(tags)
    groups = {
        key: fingerprint([line.factors.get(name) for name in per]) for key, line in enumerate(lines)
    }
    placed["group"] = placed["standing"].map(groups)
    table = measured.merge(placed, on="run", how="inner")
    table["baseline"] = _is_baseline(table, baselines)
    found = []
    for (_, question, metric), own in table.groupby(
        ["group", "question", "metric"], sort=False, observed=True
    ):
        first = lines[int(own["standing"].iloc[0])]
        found.append(
            _contest(
                own,
                lines,
                {name: first.factors.get(name) for name in per},
                str(question),
                str(metric),
                series,
            )
        )
    return _told_apart(found)


def _told_apart(found: list[Contest]) -> list[Contest]:
    """Where two have the same name, the metric is part of what each asks."""
    names = Counter(each.name for each in found)
    return [
        replace(each, question=", ".join(filter(None, (each.question, each.metric))))
        if names[each.name] > 1
        else each
        for each in found
    ]


def _is_baseline(table: pd.DataFrame, baselines: Sequence[str]) -> Any:
    return table["series"].isin(baselines) if baselines else table["baseline"]


def _tags(entries: Sequence[Entry], finished: Mapping[str, str]) -> dict[str, str]:
    """run → the seed that it stands for, "" where it stands for none or for several."""
    seeds: dict[str, set[str]] = {}
    for entry in entries:
        if entry.run in finished:
            values = dict.fromkeys(map(str, entry.seed.values()))
            seeds.setdefault(entry.run, set()).add(",".join(values))
    return {run: next(iter(own)) if len(own) == 1 else "" for run, own in seeds.items()}


def _contest(
    own: pd.DataFrame,
    lines: Sequence[Standing],
    group: Mapping[str, Any],
    question: str,
    metric: str,
    series: Sequence[str],
) -> Contest:
    import pandas as pd

    code, all_series = pd.factorize(own["series"])
    row, rows = pd.factorize(own["standing"].to_numpy() * len(all_series) + code)
    keys, names = rows // len(all_series), [str(all_series[at]) for at in rows % len(all_series)]
    # What no seed changes is −1; a run of one seed of the plan may still differ from another's.
    drawn_by = own["seed"].astype(str)
    own_name = (own["tag"] == "") | (own["tag"] == drawn_by)
    label = drawn_by.where(own_name, own["tag"] + "/" + drawn_by)
    label = own["tag"].where(own["seed"] < 0, label)
    seed, seeds = pd.factorize(label, sort=True)
    parts = set(own["part"].unique())
    tests = own["part"].to_numpy() != VALIDATION
    if not tests.any():  # runs that only validated: that is all there is
        tests = np.ones(len(own), dtype=bool)
    unit_names = own["unit"].to_numpy()
    test, units = _dense(own, tests, row, seed, unit_names, (len(rows), len(seeds)))
    val, val_units, overlap = None, np.array([], dtype=object), 0
    if VALIDATION in parts and not tests.all():
        val, val_units = _dense(own, ~tests, row, seed, unit_names, (len(rows), len(seeds)))
        overlap = len(np.intersect1d(units, val_units))
    first = pd.Series(own["baseline"].to_numpy()).groupby(row).first().to_numpy()
    role = np.where(first, "baseline", "competes").astype(object)
    if series:
        chosen = np.isin(names, list(series))
        role = np.where(chosen, "competes", np.where(first, "baseline", "other")).astype(object)
    drawn = pd.Series((own["seed"] >= 0).to_numpy()).groupby(row).any().to_numpy()
    repeats, counted = _drop_repeats(test, val)
    contest = Contest(
        group=group,
        question=question,
        metric=metric,
        higher_is_better=bool(own["higher_is_better"].iloc[0]),
        standings=[lines[int(key)] for key in keys],
        series=names,
        role=role,
        test=test,
        val=val,
        units=[str(name) for name in units],
        val_units=[str(name) for name in val_units],
        seeds=[str(name) for name in seeds],
        # One seed of something drawn is one seed; several that agree show that nothing is drawn.
        seeded=(counted > 1) | (drawn & (repeats == 0)),
        repeats=repeats,
        overlap=overlap,
    )
    return _equal_rows_once(contest)


def _equal_rows_once(contest: Contest) -> Contest:
    """Rows of one series with the very same numbers become one: what differs between their settings
    cannot touch the series (a linear probe and how attention was read), and two equal competitors
    would be one too many."""
    rows: dict[tuple[str, str, bool, bytes], list[int]] = {}
    for row in range(len(contest)):
        own = contest.test[row].tobytes()
        own += b"" if contest.val is None else contest.val[row].tobytes()
        digest = hashlib.blake2b(own, digest_size=16).digest()
        key = contest.series[row], contest.role[row], bool(contest.seeded[row]), digest
        rows.setdefault(key, []).append(row)
    if len(rows) == len(contest):
        return contest
    first = [same[0] for same in rows.values()]
    lines = contest.standings
    return replace(
        contest,
        standings=[_together([lines[row] for row in same]) for same in rows.values()],
        series=[contest.series[row] for row in first],
        role=contest.role[first],
        test=contest.test[first],
        val=None if contest.val is None else contest.val[first],
        seeded=contest.seeded[first],
        repeats=np.array([contest.repeats[same].max() for same in rows.values()]),
    )


def _together(lines: Sequence[Standing]) -> Standing:
    if len(lines) == 1:
        return lines[0]
    return Standing(
        every={key: own for line in lines for key, own in line.every.items()},
        configurations=sum(line.configurations for line in lines),
        runs=list(dict.fromkeys(run for line in lines for run in line.runs)),
    )


def _dense(
    own: pd.DataFrame,
    which: NDArray[np.bool_],
    row: NDArray[np.int64],
    seed: NDArray[np.int64],
    unit_names: NDArray[Any],
    shape: tuple[int, int],
) -> tuple[Floats, NDArray[Any]]:
    import pandas as pd

    unit, units = pd.factorize(unit_names[which], sort=True)
    values = np.full((*shape, len(units)), np.nan)
    values[row[which], seed[which], unit] = own["value"].to_numpy()[which]
    return values, units


def _drop_repeats(test: Floats, val: Floats | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Blank, in place, seeds that only repeat another's numbers; how many, and how many are left.

    Real numbers do not agree to the last bit by chance; right and wrong do, so of those seeds count
    once only where all of them agree (as `whence.stats.pairing` has it).
    """
    parts = [test] if val is None else [test, val]
    there = np.asarray(np.stack([~np.isnan(part).all(axis=2) for part in parts]).any(axis=0))
    counted = there.sum(axis=1)
    repeats = np.zeros(len(test), dtype=np.int64)
    for row in np.flatnonzero(counted > 1):
        at = np.flatnonzero(there[row]).tolist()
        seen: dict[bytes, int] = {}
        again = []
        for seed in at:
            key = b"".join(part[row, seed].tobytes() for part in parts)
            if key in seen:
                again.append(seed)
            seen.setdefault(key, seed)
        known = np.concatenate([part[row].ravel() for part in parts])
        known = known[~np.isnan(known)]
        if len(seen) > 1 and np.isin(known, (0.0, 1.0)).all():
            continue
        for part in parts:
            part[row, again] = np.nan
        repeats[row] = len(again)
    return repeats, counted - repeats
