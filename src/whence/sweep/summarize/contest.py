"""Everything measured, as one table of numbers a question: settings × seeds × units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    """Settings that share their runs, hence their numbers: one line of every table.

    factors: those of the first of them. differing: factor → all values, where they differ.
    settings, configurations: how many it stands for, seeds counted in the second.
    """

    key: int
    factors: Mapping[str, Any]
    differing: Mapping[str, Sequence[Any]]
    settings: int
    configurations: int
    runs: Sequence[str]


@dataclass(frozen=True)
class Contest:
    """What can be ranked together: one question, one metric, one value of each factor of `per`.

    standing, series: of each row [rows]; role: what the row is in it. test: [rows, seeds, units],
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
        first = settings[0][0].factors
        values: dict[str, list[Any]] = {name: [value] for name, value in first.items()}
        for own in settings[1:]:
            for name, value in own[0].factors.items():
                if value not in values.setdefault(name, []):
                    values[name].append(value)
        found.append(
            Standing(
                key=key,
                factors=dict(first),
                differing={name: each for name, each in values.items() if len(each) > 1},
                settings=len(settings),
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
        [(run, line.key) for line in lines for run in line.runs], columns=["run", "standing"]
    )
    placed["tag"] = placed["run"].map(tags)
    groups = {line.key: fingerprint([line.factors.get(name) for name in per]) for line in lines}
    placed["group"] = placed["standing"].map(groups)
    table = measured.merge(placed, on="run", how="inner")
    table["baseline"] = _is_baseline(table, baselines)
    found = []
    by_key = {line.key: line for line in lines}
    for (_, question, metric), own in table.groupby(
        ["group", "question", "metric"], sort=False, observed=True
    ):
        first = by_key[int(own["standing"].iloc[0])]
        found.append(
            _contest(
                own,
                by_key,
                {name: first.factors.get(name) for name in per},
                str(question),
                str(metric),
                series,
            )
        )
    return found


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
    by_key: Mapping[int, Standing],
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
    return Contest(
        group=group,
        question=question,
        metric=metric,
        higher_is_better=bool(own["higher_is_better"].iloc[0]),
        standings=[by_key[int(key)] for key in keys],
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
