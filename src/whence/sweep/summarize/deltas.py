"""Paired differences: every series against each baseline of its run, every setting against one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from whence.errors import BadInput
from whence.runs.fingerprint import fingerprint
from whence.stats.many import false_discovery
from whence.stats.many_over_seeds import ManyMeans, joined, many_over_seeds, within
from whence.sweep.summarize.board import label, telling
from whence.sweep.summarize.bounds import bounds
from whence.sweep.summarize.contest import Contest, Floats

if TYPE_CHECKING:
    import pandas as pd

    from whence.stats.verdict import Comparison

_PAIRS_AT_ONCE = 4_096


@dataclass(frozen=True)
class Pairs:
    """rows, controls: pairs of rows of a contest [pairs]. against: what kind of control each is
    ("baseline" of the same run, or the "reference" setting)."""

    rows: NDArray[np.int64]
    controls: NDArray[np.int64]
    against: Sequence[str]


def pairs_of(contest: Contest, against: Mapping[str, Any]) -> Pairs:
    """What is compared. against: factor values of the reference setting, or nothing.

    Raises BadInput for a factor that the stage has not.
    """
    rows, controls, kinds = [], [], []
    for row in contest.competing.tolist():
        for control in contest.baselines_of(row):
            rows.append(row)
            controls.append(control)
            kinds.append("baseline")
    if against:
        known = {name for line in contest.standings for name in line.factors}
        for name in against:
            if name not in known:
                told = ", ".join(sorted(known)) or "none"
                raise BadInput(f"rank.against: {name} is no factor of this stage; it has {told}")
        # A line that stands for several settings is found under the factors of each.
        at = {
            (contest.series[row], fingerprint(dict(factors))): row
            for row, line in enumerate(contest.standings)
            for factors in line.all_factors
        }
        for row in contest.competing.tolist():
            wanted = fingerprint({**contest.standings[row].factors, **against})
            control_row = at.get((contest.series[row], wanted))
            if control_row is not None and control_row != row:
                rows.append(row)
                controls.append(control_row)
                kinds.append("reference")
    return Pairs(np.array(rows, dtype=np.int64), np.array(controls, dtype=np.int64), kinds)


def compared(
    contest: Contest, values: Floats, pairs: Pairs, *, draws: int, seed: int, noun: str
) -> ManyMeans:
    """The mean difference of each pair on `values` (all test cells, or one side of them), with its
    interval and p; [pairs]."""
    parts = []
    size = max(1, len(contest.seeds) * values.shape[2])
    at_once = max(1, min(_PAIRS_AT_ONCE, (1 << 22) // size))
    for start in range(0, max(1, len(pairs.rows)), at_once):
        some = slice(start, start + at_once)
        difference = contest.differences(values, pairs.rows[some], pairs.controls[some])
        parts.append(many_over_seeds(difference, draws=draws, seed=seed, noun=noun))
    lowest, highest = bounds(contest.metric, contest.test)
    return within(joined(parts), lowest - highest, highest - lowest)


def delta_table(
    contest: Contest, pairs: Pairs, found: ManyMeans, rank: NDArray[np.int64]
) -> pd.DataFrame:
    """One row a pair, in the order of the ranking; `q` is not there yet, for it counts all tables.

    rank: place of each row of the contest among those that compete.
    """
    import pandas as pd

    names = telling(contest)
    # What is not ranked comes last.
    order = np.lexsort((rank[pairs.rows], rank[pairs.rows] == 0))
    lines = contest.standings

    def told(row: int) -> str:
        return label(lines[row], contest.series[row], names)

    rows, controls = pairs.rows[order], pairs.controls[order]
    return pd.DataFrame(
        {
            "group": contest.name,
            "rank": rank[rows],
            "arm": [told(row) for row in rows],
            "control": [
                control_name(contest, row, control)
                if pairs.against[at] == "baseline"
                else told(control)
                for at, row, control in zip(order, rows, controls, strict=True)
            ],
            "against": [pairs.against[at] for at in order],
            "metric": contest.metric,
            "higher_is_better": contest.higher_is_better,
            "effect": found.effect[order],
            "low": found.low[order],
            "high": found.high[order],
            "p": found.p[order],
            "seeds": np.where(
                contest.seeded[rows] | contest.seeded[controls], found.seeds[order], 0
            ),
            "items": found.units[order],
            "standard_error": found.standard_error[order],
            "no_interval": [found.reason[at] for at in order],
            "row": rows,
            "control_row": controls,
        }
    )


def control_name(contest: Contest, row: int, control: int) -> str:
    """What a baseline of a row's runs is called beside it: its series, with the factors where the
    row stands for runs whose baselines of that name differ."""
    name = contest.series[control]
    same = [at for at in contest.baselines_of(row) if contest.series[at] == name]
    return name if len(same) < 2 else label(contest.standings[control], name, telling(contest))


def with_q(table: pd.DataFrame) -> pd.DataFrame:
    """The table with q of each p over all its rows."""
    return table.assign(q=false_discovery(table["p"].to_numpy(dtype=np.float64)))


def comparison(
    contest: Contest, values: Floats, row: Mapping[str, Any], *, noun: str, confidence: float = 0.95
) -> Comparison:
    """A row of the table with all twelve keys, its power and its sentence."""
    from whence.stats.hierarchical import spread
    from whence.stats.power import (
        minimum_detectable_effect,
        minimum_detectable_over_seeds,
        seeds_needed,
    )
    from whence.stats.sentence import sentence
    from whence.stats.verdict import Comparison

    known = bool(np.isfinite(row["p"]))
    detectable = needed = None
    if known and row["seeds"] <= 1:
        detectable = minimum_detectable_effect(
            row["standard_error"], row["items"] - 1, confidence=confidence
        )
    elif known:
        both = np.array([row["row"]]), np.array([row["control_row"]])
        own = contest.differences(values, *both)[0]
        there = ~np.isnan(own)
        own, there = own[there.any(axis=1)], there[there.any(axis=1)]
        own, there = own[:, there.any(axis=0)], there[:, there.any(axis=0)]
        found = spread(np.where(there, own, 0.0), there.astype(float))
        detectable = minimum_detectable_over_seeds(found, confidence=confidence)
        needed = seeds_needed(row["effect"], found, confidence=confidence)
    made = Comparison(
        arm=str(row["arm"]),
        control=str(row["control"]),
        metric=str(row["metric"]),
        effect=float(row["effect"]),
        interval=(float(row["low"]), float(row["high"])) if known else None,
        p=float(row["p"]) if known else None,
        q=float(row["q"]) if known else None,
        seeds=int(row["seeds"]),
        items=int(row["items"]),
        minimum_detectable_effect=detectable,
        seeds_needed=needed,
        sentence="",
    )
    said = sentence(
        made,
        higher_is_better=bool(row["higher_is_better"]),
        alpha=1 - confidence,
        reason=row["no_interval"],
        noun=noun,
    )
    return Comparison(**{**vars(made), "sentence": said})
