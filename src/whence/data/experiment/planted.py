"""Against planted truth: how many of the rows that a ranking chose are worth training on."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from whence.data.experiment.comparisons import ORACLE
from whence.data.experiment.settings import PlantedSettings
from whence.data.splits import seeded
from whence.errors import BadInput
from whence.runs.tables import read_table
from whence.stats.ranking import precision_at_k

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Planted:
    """kinds: row_id → kind, for every row of the pool. useful: kinds worth training on.

    oracle: rows of the arm that trains on useful rows alone, or None without such an arm.
    """

    kinds: Mapping[str, str]
    useful: Sequence[str]
    oracle: int | None

    def draw(self, seed: int) -> list[str]:
        """The oracle's rows under a seed: useful ones at random, ids ascending."""
        useful = self._useful_rows()
        picks = seeded(seed, ORACLE).choice(len(useful), size=self.oracle, replace=False)
        return sorted(useful[pick] for pick in picks)

    def _useful_rows(self) -> list[str]:
        return sorted(row_id for row_id, kind in self.kinds.items() if kind in self.useful)


def read_planted(settings: PlantedSettings, pool: pd.DataFrame) -> Planted:
    """The kinds of the pool's rows.

    Raises BadInput where a row has no kind or two, where a useful kind occurs nowhere, and where
    the oracle asks for more rows than are useful.
    """
    file, column = settings.file, settings.column
    table = read_table(file)
    for name in ("row_id", column):
        if name not in table.column_names:
            raise BadInput(f'{file}: no column "{name}"; it has {", ".join(table.column_names)}')
    ids = [str(row_id) for row_id in table["row_id"].to_pylist()]
    for row_id, times in Counter(ids).most_common(1):
        if times > 1:
            raise BadInput(f'{file}: row_id "{row_id}" is there {times} times')
    kind_of = dict(zip(ids, table[column].to_pylist(), strict=True))
    kinds = {}
    for row_id in pool["row_id"]:
        if kind_of.get(row_id) is None:
            raise BadInput(f'{file}: no {column} for row_id "{row_id}" of the pool')
        kinds[row_id] = str(kind_of[row_id])
    present = sorted(set(kinds.values()))
    for kind in settings.useful:
        if kind not in present:
            near = difflib.get_close_matches(kind, present, n=1)
            hint = f'did you mean "{near[0]}"? ' if near else ""
            raise BadInput(
                f'planted.useful: no row of the pool is "{kind}"; {hint}in {file} the pool\'s rows '
                f"are {', '.join(present)}"
            )
    useful = sum(kind in settings.useful for kind in kinds.values())
    if settings.oracle is not None and settings.oracle > useful:
        raise BadInput(
            f"planted.oracle {settings.oracle}: only {useful} rows of the pool are useful"
        )
    return Planted(kinds, settings.useful, settings.oracle)


def planted_summary(
    planted: Planted,
    taken: Mapping[str, Sequence[Sequence[str]]],
    ranking: pd.DataFrame,
    rankings: Mapping[str, pd.DataFrame] | None = None,
    name: str = "attribution",
) -> dict[str, Any]:
    """What each arm took, by kind, and how the ranking compares with trivial ones.

    taken: arm → its rows, one list per seed; shares are means over seeds. The trivial rankings put
    the longest, shortest, hardest (highest loss) and easiest rows first; `k` is the number of
    useful rows in the pool, so that a perfect ranking has precision 1, and chance is their share.
    Losses that a given ranking does not know rank nothing. `name` is what `ranking` is called;
    rankings: others that arms were drawn by, told under their names.
    """
    kinds, useful = planted.kinds, planted.useful
    is_useful = ranking["row_id"].map(lambda row_id: kinds[row_id] in useful)
    k = int(is_useful.sum())
    orders = {
        name: ranking["score"],
        "longest": ranking["length_tokens"],
        "shortest": -ranking["length_tokens"],
    }
    if ranking["loss"].notna().all():
        orders |= {"highest_loss": ranking["loss"], "lowest_loss": -ranking["loss"]}
    for other, table in (rankings or {}).items():
        orders[other] = ranking["row_id"].map(table.set_index("row_id")["score"])
    precision = {
        order: precision_at_k(values, is_useful, k).value for order, values in orders.items()
    }
    names = sorted(set(kinds.values()))
    composition = {}
    for arm, draws in taken.items():
        counted = Counter(kinds[row_id] for rows in draws for row_id in rows)
        composition[arm] = {name: counted[name] / counted.total() for name in names}
    return {
        "useful": list(useful),
        "k": k,
        "precision_at_k": {**precision, "chance": k / len(ranking)},
        "useful_share": {
            arm: sum(shares[kind] for kind in useful) for arm, shares in composition.items()
        },
        "composition": composition,
    }
